"""Reads SQLite's catalogue: the user's tables, without those that SQLite keeps for itself, and each column by its declared type or by what it holds.

Rules: shadow tables of virtual tables (FTS5, R*Tree) and `sqlite_...` are left out; a virtual table is one of ours if it stores rows of its own, else
(a full-text index over another table, a view of other data) it is left out unless asked for, as views are. A declared type that names a kind is
believed, and each row is held to it; where there is none, or one that means nothing to SQLite, the values say what the column is, over all rows.
DATETIME columns are delivered as text, also their numbers (UNIX seconds, Julian days), for `notations` to read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from distributed.schema.source_table import Kind
from distributed.sources.catalogue import Catalogue, SqlColumn, SqlKey, SqlTable, Wanted, spelled_as_parent, sql_name

_STORING = ("fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly")
_TRUTH = {"t": True, "true": True, "f": False, "false": False}
_EXACT_FLOAT = 2**53


def prepare(connection: sa.Connection) -> None:
    """Opens the transaction, which the standard library's driver does not do for SELECTs; nothing can be written in it."""
    connection.exec_driver_sql("PRAGMA query_only = ON")
    driver: Any = connection.connection.dbapi_connection
    driver.text_factory = _text
    connection.exec_driver_sql("BEGIN")


def _text(encoded: bytes) -> str | bytes:
    """Returns text, or the bytes where they are no UTF-8: the driver's own error would name no row."""
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return encoded


def read_catalogue(connection: sa.Connection, wanted: Wanted) -> Catalogue:
    """Returns the catalogue of the main database."""
    catalogue = Catalogue(default_schema="", schemas=("",))
    listed = connection.exec_driver_sql(
        "SELECT l.name, l.type, coalesce(m.sql, '') FROM pragma_table_list l LEFT JOIN sqlite_master m USING (name) "
        "WHERE l.schema = 'main' AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY l.name"
    )
    for name, kind, sql in listed.fetchall():
        if reason := _left_out(name, kind, sql, wanted):
            catalogue.left_out["", name] = reason
            continue
        catalogue.tables.append(_table(connection, name, is_read=wanted.table("", name)))
    spelled = {table.name.casefold(): table for table in catalogue.tables}
    catalogue.tables = [_compared_as_declared(connection, table, spelled) for table in catalogue.tables]
    return catalogue


def _left_out(name: str, kind: str, sql: str, wanted: Wanted) -> str:
    if kind == "shadow":
        return "a shadow table, in which SQLite keeps a virtual table"
    if kind == "view" and not wanted.view("", name):
        return f"a view; --views {name} imports it"
    if kind == "virtual" and not wanted.view("", name):
        module = re.search(r"USING\s+[\"'`\[]?(\w+)", sql, re.IGNORECASE)
        if module is None or module[1].casefold() not in _STORING:
            return f"a virtual table, which may show other tables' rows again; --views {name} imports it"
        if re.search(r"[(,]\s*content\s*=", sql, re.IGNORECASE):
            return "a full-text index of rows that another table has"
    return ""


def _table(connection: sa.Connection, name: str, *, is_read: bool) -> SqlTable:
    described = connection.exec_driver_sql(
        "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid", (name,)
    ).fetchall()
    pkey = tuple(column for column, _, place in sorted(described, key=lambda row: row[2]) if place)
    fkeys: dict[int, list[tuple[Any, ...]]] = {}
    for number, *key in connection.exec_driver_sql(
        'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
    ):
        fkeys.setdefault(number, []).append(tuple(key))
    columns = [_declared(column, sql_type) for column, sql_type, _ in described]
    by_values = [
        column for column in columns if column.kind in ("unsupported", "float") and "BLOB" not in column.sql_type
    ]
    if is_read and by_values:
        held = _held(connection, name, [column.name for column in by_values])
        found = {column.name: _by_values(column, held[column.name]) for column in by_values}
        columns = [found.get(column.name, column) for column in columns]
    return SqlTable(
        schema="",
        name=name,
        columns={column.name: column for column in columns},
        pkey=pkey,
        fkeys=tuple(
            SqlKey(
                columns=tuple(key[1] for key in keys),
                parent_schema="",
                parent=keys[0][0],
                parent_columns=tuple(key[2] for key in keys if key[2] is not None),
            )
            for keys in fkeys.values()
        ),
    )


def _declared(name: str, declared: str) -> SqlColumn:
    """Returns a column by its declared type; "unsupported" where the values have to tell, "float" where they may hold long integers."""
    sql_type = re.sub(r"\(.*", "", declared).strip().upper()
    column = SqlColumn(name=name, sql_type=declared.upper() or "(none declared)", kind="unsupported")
    if re.search(r"BLOB|BINARY|BYTEA|IMAGE", sql_type):
        as_key = replace(column, kind="text", select="hex({})", note="bytes are a key, read as hexadecimal text")
        return replace(column, sql_type="BLOB", reason=f"type {column.sql_type} is not supported", as_key=as_key)
    if "BOOL" in sql_type:
        return replace(column, kind="boolean", convert=_truth)
    if re.search(r"DATE|TIMESTAMP", sql_type):
        return replace(column, kind="text_time")
    if "INT" in sql_type and "POINT" not in sql_type and "INTERVAL" not in sql_type:
        return replace(column, kind="integer")
    if re.search(r"CHAR|CLOB|TEXT|STRING|JSON|UUID|ENUM|^TIME$", sql_type):
        return replace(column, kind="text")
    if re.search(r"REAL|FLOA|DOUBLE|NUM|DEC|MONEY", sql_type):
        return replace(column, kind="float")
    return column


def _truth(value: Any) -> Any:
    return _TRUTH.get(value.casefold(), value) if isinstance(value, str) else value


def _held(connection: sa.Connection, table: str, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns per column how many values of each storage class it has, and of integers that a float would round."""
    held: dict[str, dict[str, int]] = {}
    for start in range(0, len(names), 100):  # SQLite has at most 2,000 result columns
        part = names[start : start + 100]
        figures = [
            f"sum(typeof({sql_name(connection, c)}) = '{storage}')"
            for c in part
            for storage in ("integer", "real", "text", "blob")
        ]
        figures += [
            f"sum(typeof({sql_name(connection, c)}) = 'integer' AND abs({sql_name(connection, c)} / 2) >= {_EXACT_FLOAT // 2})"
            for c in part
        ]
        found = connection.exec_driver_sql(f"SELECT {', '.join(figures)} FROM main.{sql_name(connection, table)}").one()
        row = [value or 0 for value in found]
        for place, column in enumerate(part):
            integer, real, text, blob = row[4 * place : 4 * place + 4]
            long = row[4 * len(part) + place]
            held[column] = {"integer": integer, "real": real, "text": text, "blob": blob, "long": long}
    return held


def _by_values(column: SqlColumn, held: dict[str, int]) -> SqlColumn:
    whole = not (held["real"] or held["text"] or held["blob"])
    if (
        column.kind == "float"
    ):  # NUMERIC holds integers and reals; as a key, or beyond 2**53, an integer has to stay one
        as_key = replace(column, kind="integer") if whole else None
        return replace(column, kind="integer" if held["long"] and whole else "float", as_key=as_key)
    if not any(held.values()):
        return replace(column, kind="text", note="no type is declared, and it has no value")
    if held["blob"] and not (held["text"] or held["integer"] or held["real"]):
        as_key = replace(column, kind="text", select="hex({})", note="bytes are a key, read as hexadecimal text")
        return replace(column, reason=f"type {column.sql_type}, and all values are bytes", as_key=as_key)
    kind: Kind = "float" if held["real"] else "integer"
    if held["text"] or held["blob"]:
        kind = "text"
    what = {"text": "text", "float": "numbers"}.get(kind, "integers")
    note = f"type {column.sql_type}: read as {what}, since that is what it holds"
    return replace(column, kind=kind, note=note)


def _has_collation(connection: sa.Connection, table: str, column: str) -> bool:
    """Returns whether a unique column is compared in another way than byte by byte."""
    query = (
        "SELECT count(*) FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x "
        "WHERE l.\"unique\" AND x.name = ? AND x.coll <> 'BINARY'"
    )
    return bool(connection.exec_driver_sql(query, (table, column)).scalar())


def _compared_as_declared(connection: sa.Connection, table: SqlTable, tables: dict[str, SqlTable]) -> SqlTable:
    """Returns the table with its references spelled as the tables are, and its foreign keys as their parents spell them (COLLATE NOCASE)."""
    columns, fkeys = dict(table.columns), []
    for key in table.fkeys:
        parent = tables.get(key.parent.casefold())
        if parent is None:
            fkeys.append(key)
            continue
        spelled = {name.casefold(): name for name in parent.columns}
        parent_columns = tuple(spelled.get(name.casefold(), name) for name in key.parent_columns) or parent.pkey
        own = {name.casefold(): name for name in table.columns}
        names = tuple(own.get(name.casefold(), name) for name in key.columns)
        fkeys.append(replace(key, columns=names, parent=parent.name, parent_columns=parent_columns))
        column = columns.get(names[0])
        is_text = len(names) == len(parent_columns) == 1 and column is not None and column.kind == "text"
        if column is not None and is_text and _has_collation(connection, parent.name, parent_columns[0]):
            select = spelled_as_parent(
                f"main.{sql_name(connection, parent.name)}", sql_name(connection, parent_columns[0])
            )
            columns[names[0]] = replace(column, select=select)
    return replace(table, columns=columns, fkeys=tuple(fkeys))
