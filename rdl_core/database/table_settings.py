"""The settings of a dataset folder that RelBench's manifest has no place for: `settings.yaml`, beside manifest.yaml.

In: the file, which the import writes from the schema file, and a person may. Out: `TableSettings` per table of the manifest; all defaults where there
is no file. Promise: a name that is no table or no fitting column is refused with table, column, what was expected and the remedy; a setting is never
ignored. The file is part of a store's identity, so that another one makes another store.

    tables:
      orders:
        stypes: {status_code: categorical}
        known_from: {status: closed_at, shipped_at: shipped_at}
      prices:
        valid_from: since
        valid_to: until
      customers:
        filled_later: [last_order_id]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import yaml
from relbench.manifest import DatasetManifest, TableSpec

from rdl_core.config import checked, decode
from rdl_core.database.column_checks import DatabaseError, Problem
from rdl_core.timestamps import is_time

FILE_NAME = "settings.yaml"

StypeName = Literal["numerical", "categorical", "multicategorical", "timestamp", "text", "embedding"]


@checked
class TableSettings:
    """The settings of one table.

    Args:
        stypes: Semantic types that take the place of the rules of `rdl_core/graph/schema.py`, by column.
        known_from: The column that says when a cell becomes known, by column. The cell is null for a seed that is not later than it; where it is
            null, the cell never becomes known.
        valid_from: The time from which a version of an entity holds; it is the table's time column.
        valid_to: The time up to which it holds: a seed later than it does not see the row. It is never a feature.
        filled_later: Foreign keys that are filled in, or changed, after their row came to be: they date no row, and their links are not shown.
        known_with_row: Foreign keys that are none of these, whatever the times of rows say (`rdl_core/graph/filled_later.py`).
    """

    stypes: dict[str, StypeName] = field(default_factory=dict)
    known_from: dict[str, str] = field(default_factory=dict)
    valid_from: str | None = None
    valid_to: str | None = None
    filled_later: tuple[str, ...] = ()
    known_with_row: tuple[str, ...] = ()

    def late_columns(self, time_col: str | None) -> dict[str, str]:
        """Returns `known_from`, and with it the columns that it names: a time from which something is known is known from then on itself."""
        return {time: time for time in self.known_from.values() if time != time_col} | self.known_from


@checked
class _SettingsFile:
    tables: dict[str, TableSettings] = field(default_factory=dict)


def write_table_settings(folder: Path, settings: Mapping[str, TableSettings]) -> None:
    """Writes settings.yaml into a dataset folder: only what differs from the defaults, and no file where nothing does."""
    tables = {}
    for table in sorted(settings):
        default = asdict(TableSettings())
        changed = {name: value for name, value in asdict(settings[table]).items() if value != default[name]}
        if changed:
            tables[table] = {
                name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()
            }
    if tables:
        text = yaml.safe_dump({"tables": tables}, sort_keys=True, allow_unicode=True)
        (folder / FILE_NAME).write_text(text, encoding="utf-8")


def read_table_settings(folder: Path, manifest: DatasetManifest) -> dict[str, TableSettings]:
    """Returns the settings of every table of the manifest.

    Raises:
        DatabaseError: The file is no YAML, names no table of the manifest, or has a field that is unknown or of another type.
    """
    path = folder / FILE_NAME
    found: dict[str, TableSettings] = {}
    if path.is_file():
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(loaded, dict):
                raise ValueError(f"a mapping with `tables:` was expected, got {loaded!r}")
            found = decode(_SettingsFile, loaded, "settings").tables
        except (yaml.YAMLError, ValueError) as error:
            raise _refused(
                folder, "tables: a mapping of tables to their settings", " ".join(str(error).split())
            ) from error
        if unknown := sorted(set(found) - set(manifest.tables)):
            raise _refused(folder, f"tables of manifest.yaml: {', '.join(sorted(manifest.tables))}", repr(unknown))
    return {table: found.get(table, TableSettings()) for table in manifest.tables}


def settings_problems(table: str, spec: TableSpec, schema: pa.Schema, settings: TableSettings) -> Iterator[Problem]:
    """Yields what a table's settings have wrong, given its keys, its time column and the columns of its file."""
    place = f"{FILE_NAME}, table {table!r}"
    keys = {spec.pkey, *spec.fkeys} - {None}
    attributes = [name for name in schema.names if name not in keys]

    def problem(column: str, expected: str, got: str, remedy: str) -> Problem:
        return Problem(place=place, column=column, expected=expected, got=got, remedy=remedy)

    def time_problem(column: str, role: str) -> Iterator[Problem]:
        times = [name for name in attributes if is_time(schema.field(name).type)]
        if column not in times:
            got = (
                "a key"
                if column in keys
                else f"type {schema.field(column).type}"
                if column in schema.names
                else "no such column"
            )
            yield problem(
                column, f"a column of times as {role}; there are: {', '.join(times) or 'none'}", got, "correct the name"
            )

    for column in (*settings.stypes, *settings.known_from):
        if column not in attributes:
            got = "a key" if column in keys else "no such column"
            remedy = "correct the name, or leave it out of the settings"
            if column in keys and column in settings.known_from:
                remedy = "a key that is filled in later can be left out as a whole (import --exclude), or go into a table of its own with that time"
            yield problem(column, f"an attribute: {', '.join(attributes)}", got, remedy)
    for column, stype in settings.stypes.items():
        if column in attributes and not stype_fits(kind := schema.field(column).type, stype):
            fitting = ", ".join(name for name in get_args(StypeName) if stype_fits(kind, name))
            yield problem(
                column,
                f"a column that can be {stype}",
                f"type {kind}",
                f"its stype can be {fitting or 'none: leave it out'}",
            )
    for column, known_from in settings.known_from.items():
        yield from time_problem(known_from, f"known_from of {column!r}")
        if column == spec.time_col:
            yield problem(
                column, "a column other than the time of its row", "time_col", "a row's time is known from that time on"
            )
    if settings.valid_from is not None and settings.valid_from != spec.time_col:
        got = f"time_col {spec.time_col!r} in manifest.yaml"
        yield problem(settings.valid_from, "valid_from to be the table's time_col", got, "name one column as both")
    if settings.valid_to is not None:
        yield from time_problem(settings.valid_to, "valid_to")
        if spec.time_col is None or settings.valid_to == spec.time_col:
            got = f"time_col {spec.time_col!r} in manifest.yaml"
            yield problem(
                settings.valid_to, "a time_col from which a version holds beside valid_to", got, "name valid_from"
            )
    for column in (*settings.filled_later, *settings.known_with_row):
        if column not in spec.fkeys:
            yield problem(
                column, f"a foreign key: {', '.join(spec.fkeys) or 'there is none'}", "no key", "correct the name"
            )


def stype_fits(kind: pa.DataType, stype: StypeName) -> bool:
    """Returns whether values of an Arrow type can have a semantic type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration, pa.types.is_time)
    return {
        "numerical": any(test(kind) for test in numbers),
        "categorical": is_text or pa.types.is_boolean(kind) or pa.types.is_integer(kind),
        "multicategorical": is_list,
        "timestamp": is_time(kind),
        "text": is_text,
        "embedding": pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type),
    }[stype]


def _refused(folder: Path, expected: str, got: str) -> DatabaseError:
    names = ", ".join(f.name for f in fields(TableSettings))
    remedy = f"correct {FILE_NAME} (a table may have {names}), or remove the file"
    return DatabaseError(str(folder), [Problem(place=FILE_NAME, expected=expected, got=got, remedy=remedy)])
