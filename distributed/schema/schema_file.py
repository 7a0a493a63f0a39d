"""The schema file of a source: a YAML that declares, per table, what the source itself does not.

Promises: it is for files and databases alike. What the source declares wins, the file adds to it; where the two contradict each other, the import
is refused. A name that no table or column has, or a word that means nothing here, is refused with the table and what was expected. A table that is
not imported (--tables) needs no entry, and its entry is not looked at. All but null is text: a column may be called no, on, 1 or 2024-01-01.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from distributed.schema.declared_table import DeclaredKey, DeclaredTable
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.source_table import ForeignKey, SourceTable
from rdl_core.config import decode

MINIMAL_SCHEMA = """\
customers:
  pkey: customer_id
  time_col: signed_up
orders:
  pkey: order_id
  time_col: ordered_at
  fkeys:
    customer_id: customers"""


_OF_A_COLUMN = {"stype": "stype", "known_from": "known_from", "format": "formats"}
"""The words that may be said below `columns`, column by column, and the field of the table that has the same for all columns."""


class _TextLoader(yaml.SafeLoader):
    """YAML in which no, on, 1 and dates are text, as names are."""


_TextLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_schema_file(schema_file: Path) -> dict[str, DeclaredTable]:
    """Reads a schema file: a mapping of tables, or of `tables` to one.

    Raises:
        ImportRefused: The file cannot be read, is no YAML, or says of a table what means nothing; it holds all problems.
    """
    where = f"--schema-file {schema_file.name}"
    try:
        loaded = yaml.load(schema_file.read_text(encoding="utf-8-sig"), _TextLoader)  # noqa: S506 it is a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ImportRefused(f"{where}: {error}; expected YAML in UTF-8") from error
    except OSError as error:
        raise ImportRefused(f"{where}: cannot be read: {error.strerror}; correct --schema-file") from error
    tables = loaded
    if (
        isinstance(loaded, dict)
        and list(loaded) == ["tables"]
        and all(isinstance(entry, dict | None) for entry in (loaded["tables"] or {"": ""}).values())
    ):
        tables = loaded["tables"]
    if not isinstance(tables, dict) or not tables:
        raise ImportRefused(f"{where}: expected a mapping of tables, for example:\n{MINIMAL_SCHEMA}")
    refusals, declared = Refusals(), {}
    for name, entry in tables.items():
        with refusals.each():
            declared[name] = _declared_table(where, name, entry)
    refusals.refuse()
    return declared


def _declared_table(where: str, name: Any, entry: Any) -> DeclaredTable:
    if not isinstance(name, str) or not isinstance(entry, dict | None):
        raise ImportRefused(f"{where}, table {name!r}: expected a name and a mapping such as `pkey: id`, got {entry!r}")
    entry = entry or {}
    values = {key: value for key, value in entry.items() if value is not None and key != "time_col_is_declared"}
    if isinstance(values.get("pkey"), str):
        values["pkey"] = [values["pkey"]]
    if isinstance(values.get("fkeys"), dict):
        values["fkeys"] = [{"columns": [column], "table": parent} for column, parent in values["fkeys"].items()]
    _take_columns(values, f"{where}, table {name!r}")
    try:
        return decode(DeclaredTable, {**values, "time_col_is_declared": "time_col" in entry}, "")
    except (TypeError, ValueError) as error:
        raise ImportRefused(f"{where}, table {name!r}: {error}") from error


def _take_columns(values: dict[str, Any], where: str) -> None:
    """Moves what is said column by column, below `columns`, into the fields that say it of all columns."""
    columns = values.pop("columns", {})
    for name, settings in columns.items() if isinstance(columns, dict) else [("columns", columns)]:
        if not isinstance(settings, dict | None) or set(settings or {}) - set(_OF_A_COLUMN):
            raise ImportRefused(
                f"{where}, columns: {name!r} is {settings!r}; expected a mapping with some of {list(_OF_A_COLUMN)}"
            )
        for setting, value in (settings or {}).items():
            of_table = values.setdefault(_OF_A_COLUMN[setting], {})
            if isinstance(of_table, dict):
                of_table[name] = value


def with_declared(
    tables: Mapping[str, SourceTable], declared: Mapping[str, DeclaredTable], only: Sequence[str] | None
) -> dict[str, SourceTable]:
    """Returns the source's tables with what the schema file adds to them.

    Args:
        tables: What the source declares, all tables.
        declared: What the schema file says.
        only: Tables that are imported, None for all; entries of others are not looked at.

    Raises:
        ImportRefused: The file names what the source does not have, contradicts it, or lacks a file that is imported; it holds all problems.
    """
    refusals, added = Refusals(), dict(tables)
    unlisted = [name for name, table in tables.items() if not table.declares_keys and name not in declared]
    if unlisted := sorted(set(unlisted) & set(tables if only is None else only)):
        refusals.problems.append(
            f"--schema-file: tables {unlisted} have files but no entry; add `{unlisted[0]}: {{}}` (no keys), or import "
            "the others only, by --tables"
        )
    for name, entry in declared.items():
        if only is not None and name not in only:
            continue
        with refusals.each():
            if name not in tables:
                raise ImportRefused(f"--schema-file: no table {name!r}; the source has {sorted(tables)}")
            added[name] = _with_entry(tables[name], entry, tables, declared)
    refusals.refuse()
    return added


def _with_entry(
    table: SourceTable, entry: DeclaredTable, tables: Mapping[str, SourceTable], declared: Mapping[str, DeclaredTable]
) -> SourceTable:
    refusals = Refusals()
    for field_name, columns in entry.columns_by_field().items():
        refusals.problems += [
            f"--schema-file, table {table.name!r}: no column {column!r} ({field_name}); it has {list(table.columns)}"
            for column in dict.fromkeys(columns)
            if column not in table.columns
        ]
    if table.pkey and entry.pkey and set(table.pkey) != set(entry.pkey):
        refusals.problems.append(
            f"--schema-file, table {table.name!r}: pkey {list(entry.pkey)} contradicts the source, which "
            f"declares {list(table.pkey)}; take it out of the schema file"
        )
    fkeys = list(table.fkeys)
    for key in entry.fkeys:
        with refusals.each():
            fkeys.append(_foreign_key(table.name, key, tables, declared))
            _refuse_another_parent(table, fkeys[-1])
    refusals.refuse()
    pkey, fkeys = table.pkey or entry.pkey, list(dict.fromkeys(fkeys))
    # pandas writes integer keys with nulls as floats; the cast back fails on values that are no integers.
    keys = {*pkey, *(column for fkey in fkeys for column in fkey.columns)}
    return replace(
        table,
        columns={c: "integer" if kind == "float" and c in keys else kind for c, kind in table.columns.items()},
        pkey=pkey,
        fkeys=tuple(fkeys),
        time_col=entry.time_col if entry.time_col_is_declared else table.time_col,
        time_col_is_declared=entry.time_col_is_declared or table.time_col_is_declared,
        stypes={column: entry.stype_of(column) for column in entry.stype},
        known_from=dict(entry.known_from),
        valid_from=entry.valid_from,
        valid_to=entry.valid_to,
        filled_later=entry.filled_later,
        known_with_row=entry.known_with_row,
        declared=entry,
    )


def _refuse_another_parent(table: SourceTable, added: ForeignKey) -> None:
    """Refuses a foreign key whose columns the source declares as the key of another parent."""
    for fkey in table.fkeys:
        if fkey.columns == added.columns and fkey != added:
            raise ImportRefused(
                f"--schema-file, table {table.name!r}: fkey {list(added.columns)} to {added.parent!r} {list(added.parent_columns)} "
                f"contradicts the source, which declares it to {fkey.parent!r} {list(fkey.parent_columns)}; take it out of the schema file"
            )


def _foreign_key(
    table: str, key: DeclaredKey, tables: Mapping[str, SourceTable], declared: Mapping[str, DeclaredTable]
) -> ForeignKey:
    shown = repr(key.columns[0]) if len(key.columns) == 1 else list(key.columns)
    where = f"--schema-file, table {table!r}: fkey {shown} refers to {key.table!r}"
    if key.table not in tables:
        raise ImportRefused(f"{where}, which is no table of the source; it has {sorted(tables)}")
    parent = tables[key.table]
    own = declared[key.table].pkey if key.table in declared else ()
    parent_columns = key.parent_columns or parent.pkey or own
    if not parent_columns:
        raise ImportRefused(
            f"{where}, which has no pkey in the schema file; add one, or name the columns: "
            f"fkeys: [{{columns: {list(key.columns)}, table: {key.table}, parent_columns: [...]}}]"
        )
    if len(parent_columns) != len(key.columns):
        raise ImportRefused(
            f"{where}, whose pkey is {list(parent_columns)}; expected as many columns: "
            f"fkeys: [{{columns: [...], table: {key.table}}}]"
        )
    return ForeignKey(columns=key.columns, parent=key.table, parent_columns=parent_columns)
