"""Reads the catalogue of a DuckDB file, and says in which SQL each column is delivered.

Rules as for other databases: views are left out unless asked for; integers of more than 64 bits are text, digit by digit, if a value needs
them; lists of text and of integers are lists; structs, maps, unions, arrays of floats and bytes are left out; nanoseconds are cut to microseconds.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import duckdb

from distributed.schema.duckdb_sql import first_row, quoted
from distributed.sources.catalogue import INT64, MAX_EXACT_DIGITS, Catalogue, SqlColumn, SqlKey, SqlTable, Wanted

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_WIDE = {"UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM"}
_TEXT = {"VARCHAR", "UUID", "JSON", "BIT", "TIME", "TIME_NS", "TIME WITH TIME ZONE"}
_ENUM = r"ENUM\(.*\)"
_TIMES = {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"}


def read_catalogue(con: duckdb.DuckDBPyConnection, wanted: Wanted) -> Catalogue:
    """Returns the catalogue of the wanted schemas."""
    catalogue = Catalogue(default_schema="main", schemas=wanted.schemas or ("main",))
    here = "database_name = current_database() AND NOT internal"
    tables = con.execute(f"SELECT schema_name, table_name FROM duckdb_tables() WHERE {here} ORDER BY ALL").fetchall()
    views = con.execute(f"SELECT schema_name, view_name FROM duckdb_views() WHERE {here} ORDER BY ALL").fetchall()
    columns: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for schema, table, column, sql_type in con.execute(
        f"SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() WHERE {here} ORDER BY column_index"
    ).fetchall():
        columns.setdefault((schema, table), []).append((column, sql_type))
    constraints = con.execute(
        "SELECT schema_name, table_name, constraint_type, constraint_column_names, referenced_table, referenced_column_names "
        "FROM duckdb_constraints() WHERE database_name = current_database() ORDER BY constraint_index"
    ).fetchall()
    for place in sorted([*tables, *views]):
        schema, name = place
        if place in views and not wanted.view(schema, name):
            if schema in catalogue.schemas:
                catalogue.left_out[place] = f"a view; --views {name} imports it"
        elif schema not in catalogue.schemas:
            catalogue.elsewhere[schema] = catalogue.elsewhere.get(schema, 0) + 1
        else:
            own = [row[2:] for row in constraints if row[:2] == place]
            catalogue.tables.append(_table(con, place, columns[place], own, is_read=wanted.table(schema, name)))
    return catalogue


def _table(
    con: duckdb.DuckDBPyConnection,
    place: tuple[str, str],
    columns: list[tuple[str, str]],
    constraints: list[tuple[Any, ...]],
    *,
    is_read: bool,
) -> SqlTable:
    schema, name = place
    found = {column: _kind(column, sql_type) for column, sql_type in columns}
    for column in [c for c in found.values() if is_read and _is_wide(c.sql_type)]:
        found[column.name] = _wide(con, f"{quoted(schema)}.{quoted(name)}", column)
    return SqlTable(
        schema=schema,
        name=name,
        columns=found,
        pkey=next((tuple(row[1]) for row in constraints if row[0] == "PRIMARY KEY"), ()),
        fkeys=tuple(
            SqlKey(columns=tuple(row[1]), parent_schema=schema, parent=row[2], parent_columns=tuple(row[3]))
            for row in constraints
            if row[0] == "FOREIGN KEY"
        ),
    )


def _kind(name: str, sql_type: str) -> SqlColumn:
    column = SqlColumn(name=name, sql_type=sql_type, kind="text", select="CAST({} AS VARCHAR)")
    if sql_type in _TEXT or re.fullmatch(_ENUM, sql_type):
        return column
    if sql_type == "BOOLEAN":
        return replace(column, kind="boolean", select="{}")
    if sql_type in _INTEGERS or _is_wide(sql_type) or re.fullmatch(r"DECIMAL\(\d+,0\)", sql_type):
        return replace(column, kind="integer", select="CAST({} AS BIGINT)")
    if sql_type in ("FLOAT", "DOUBLE") or sql_type.startswith("DECIMAL("):
        return replace(column, kind="float", select="CAST({} AS DOUBLE)")
    if sql_type in _TIMES:
        return replace(
            column, kind="timestamp", select="CAST({} AS TIMESTAMP)"
        )  # of a time with a zone, in UTC: the session's
    if sql_type == "INTERVAL":
        note = "INTERVAL is read as seconds; a month counts as DuckDB's epoch() counts it"
        return replace(column, kind="float", select="epoch({})", note=note)
    element = sql_type.removesuffix("[]")
    if sql_type.endswith("[]") and (element in _TEXT | _INTEGERS | _WIDE or re.fullmatch(_ENUM, element)):
        return replace(column, kind="list", select="CAST({} AS VARCHAR[])")
    reason = f"type {sql_type} is not supported"
    unsupported = replace(column, kind="unsupported", reason=reason)
    if sql_type == "BLOB":
        note = "BLOB is a key, read as hexadecimal text"
        return replace(unsupported, as_key=replace(column, select="hex({})", note=note))
    return unsupported


def _is_wide(sql_type: str) -> bool:
    whole = re.fullmatch(r"DECIMAL\((\d+),0\)", sql_type)
    return sql_type in _WIDE or (whole is not None and int(whole[1]) > MAX_EXACT_DIGITS)


def _wide(con: duckdb.DuckDBPyConnection, relation: str, column: SqlColumn) -> SqlColumn:
    extremes = first_row(con, f"SELECT min({quoted(column.name)}), max({quoted(column.name)}) FROM {relation}") or ()
    if all(value is None or int(value) in INT64 for value in extremes):
        return column
    largest = max(map(int, extremes), key=abs)
    note = f"{column.sql_type} is read as text, since values such as {largest} do not fit 64 bits and a float would round them"
    return replace(column, kind="text", select="CAST({} AS VARCHAR)", note=note)
