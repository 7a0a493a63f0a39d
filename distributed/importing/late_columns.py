"""The times at which rows and cells become known, as the schema file says, checked against the typed tables and named as in the folder.

In: ordered tables, and the written folder, in which keys that are filled in later are found. Out: `TableSettings`, which the import writes to
settings.yaml and materialize obeys. Promise: a column that is left out of
the import takes its settings with it; all else that does not fit is refused with table, column and remedy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import relbench
from relbench.manifest import DatasetManifest

from distributed.importing.keys import OrderedTable
from distributed.schema.refusals import ImportRefused, Refusals
from rdl_core.database.table_settings import TableSettings, settings_problems
from rdl_core.graph.filled_later import declared_late_keys, late_keys, may_be_filled_later
from rdl_core.graph.keys import read_keys


def settings_of(ordered: Mapping[str, OrderedTable]) -> dict[str, TableSettings]:
    """Returns the settings of all tables.

    Raises:
        ImportRefused: A column of times is none, is a key or is left out; a setting is of a key; it holds all such problems.
    """
    refusals, settings = Refusals(), {}
    for name, table in ordered.items():
        with refusals.each():
            settings[name] = _settings(table)
    refusals.refuse()
    return settings


def _settings(table: OrderedTable) -> TableSettings:
    plan, declared = table.plan, table.plan.schema
    refusals = Refusals()
    for column in sorted({*declared.stypes, *declared.known_from} & plan.key_cols):
        what = "known_from" if column in declared.known_from else "stype"
        refusals.problems.append(
            f"table {plan.name!r}, column {column!r}: {what} is for attributes, and this is a key; "
            "leave the setting out, or put a key that is filled in later into a table of its own with that time"
        )
    stypes = {column: stype for column, stype in declared.stypes.items() if column in plan.columns}
    known_from = {}
    for column, time in declared.known_from.items():
        if column in plan.columns:
            with refusals.each():
                known_from[column] = _time(table, time, f"known_from of {column!r}")
    if table.time_col in known_from:
        refusals.problems.append(
            f"table {plan.name!r}, column {table.time_col!r}: it is the time of the row, known from itself on; "
            "leave its known_from out"
        )
    valid_from = valid_to = None
    with refusals.each():
        if declared.valid_from is not None:
            valid_from = _time(table, declared.valid_from, "valid_from")
            if declared.valid_from != table.time_col:
                refusals.problems.append(
                    f"table {plan.name!r}: valid_from {declared.valid_from!r} is the time of its rows, but the time column "
                    f"is {table.time_col!r}; leave time_col (--time-cols) out or name the same column"
                )
        if declared.valid_to is not None:
            valid_to = _time(table, declared.valid_to, "valid_to")
            if table.time_col in (None, declared.valid_to):
                refusals.problems.append(
                    f"table {plan.name!r}: valid_to {declared.valid_to!r} needs a time from which a version holds; name it "
                    "as valid_from"
                )
    refusals.refuse()
    keys = {
        setting: _keys(table, setting, getattr(declared, setting)) for setting in ("filled_later", "known_with_row")
    }
    return TableSettings(stypes=stypes, known_from=known_from, valid_from=valid_from, valid_to=valid_to, **keys)


def _keys(table: OrderedTable, setting: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names in the folder of foreign keys, each given by its column, or as a+b by its columns."""
    names = {link.shown: link.out_column for link in table.plan.links}
    if unknown := [column for column in columns if column not in names and column in table.plan.schema.columns]:
        raise ImportRefused(
            f"table {table.plan.name!r}, column {unknown[0]!r}: {setting} is for foreign keys, which are {sorted(names)}; "
            "correct the name in the schema file"
        )
    return tuple(names[column] for column in columns if column in names)


def check_settings(folder: Path, manifest: DatasetManifest, settings: Mapping[str, TableSettings]) -> None:
    """Refuses settings that the written tables contradict, such as a semantic type that a column cannot have.

    Raises:
        ImportRefused: It holds all such problems.
    """
    problems = [
        str(problem)
        for table, spec in manifest.tables.items()
        for problem in settings_problems(
            table, spec, pq.read_schema(folder / "db" / f"{table}.parquet"), settings[table]
        )
    ]
    if problems:
        raise ImportRefused(*(problem.replace("settings.yaml, ", "schema file, ") for problem in problems))


def with_late_keys(
    folder: Path, manifest: DatasetManifest, settings: Mapping[str, TableSettings]
) -> tuple[dict[str, TableSettings], list[str]]:
    """Returns the settings with the keys that the times of rows show to be filled in later, and a note on each such key.

    Args:
        folder: The folder of the manifest and the tables.
        manifest: Its manifest.
        settings: The settings so far, by which a key may be known to be one, or none.
    """
    edge_types = [(t, column, parent) for t, spec in manifest.tables.items() for column, parent in spec.fkeys.items()]
    dated = [table for table, spec in manifest.tables.items() if spec.time_col is not None]
    late = declared_late_keys(edge_types, settings)
    if may_be_filled_later(edge_types, dated):
        keys = read_keys(relbench.load_dataset(folder))
        late = late_keys(keys.num_rows, keys.parents, keys.own_times, settings)
    changed = dict(settings)
    for key in late:
        table, column, _ = key.edge_type
        if key.is_left_out and not key.is_declared:
            filled_later = (*changed[table].filled_later, column)
            changed[table] = dataclasses.replace(changed[table], filled_later=filled_later)
    return changed, [str(key) for key in late]


def _time(table: OrderedTable, column: str, role: str) -> str:
    """Returns the name in the folder of a column of times."""
    plan = table.plan
    if column in plan.columns and column not in plan.key_cols and table.kinds[column] == "timestamp":
        return str(table.time_out) if column == table.time_col else column
    times = [c for c, kind in table.kinds.items() if kind == "timestamp" and c not in plan.key_cols]
    got = (
        "a key"
        if column in plan.key_cols
        else f"a column of {table.kinds[column]}"
        if column in plan.columns
        else plan.left_out.get(column, "no such column")
    )
    raise ImportRefused(
        f"table {plan.name!r}, column {column!r}: expected a column of times as {role}, one of {times}; got {got}; "
        "correct the name in the schema file"
    )
