"""Reads the catalogue of MariaDB and MySQL: each row of the user's tables once, each value as it was stored.

Rules: of a system-versioned table, the rows of now are read, and neither history nor the columns of its periods. Views, sequences, and tables whose
rows are another table's or server's (MERGE, FEDERATED, CONNECT, SPIDER) are left out, all but sequences unless asked for. TINYINT(1) is boolean if it
holds nothing but 0 and 1. A FLOAT is read with all its bits, which the server itself would print with six digits. Keys that the server compares
without case are delivered as their parent spells them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from distributed.sources.catalogue import (
    MAX_EXACT_DIGITS,
    Catalogue,
    SqlColumn,
    SqlKey,
    SqlTable,
    Wanted,
    spelled_as_parent,
    sql_name,
    wide_integer,
)

_SYSTEM = ("mysql", "information_schema", "performance_schema", "sys")
_OTHERS_ROWS = ("MRG_MYISAM", "MRG_MyISAM", "FEDERATED", "CONNECT", "SPIDER", "BLACKHOLE")
_TRANSACTIONAL = ("InnoDB", "ROCKSDB", "TokuDB")
_TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "json", "uuid", "inet4", "inet6")
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_INTEGERS = ("tinyint", "smallint", "mediumint", "int", "integer", "year")
_TABLES = """
SELECT table_schema, table_name, table_type, coalesce(engine, '') FROM information_schema.tables
WHERE table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY table_schema, table_name"""
_COLUMNS = """
SELECT table_schema, table_name, column_name, lower(data_type), column_type, coalesce(numeric_precision, 0), coalesce(numeric_scale, 0),
    coalesce(collation_name, ''), coalesce(extra, ''), coalesce(generation_expression, '')
FROM information_schema.columns
WHERE table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY table_schema, table_name, ordinal_position"""
_KEYS = """
SELECT table_schema, table_name, constraint_name, column_name, referenced_table_schema, referenced_table_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')
    AND (constraint_name = 'PRIMARY' OR referenced_table_name IS NOT NULL)
ORDER BY table_schema, table_name, constraint_name, ordinal_position"""

Place = tuple[str, str]


def prepare(connection: sa.Connection) -> None:
    """Sets what the values of a session depend on, and lets a slow reader of a long result be waited for."""
    for setting in ("time_zone = '+00:00'", "net_write_timeout = 3600"):
        connection.exec_driver_sql(f"SET SESSION {setting}")
    connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


def read_catalogue(connection: sa.Connection, wanted: Wanted) -> Catalogue:
    """Returns the catalogue of the wanted databases, which MySQL calls schemas, too."""
    return _Reader(connection, wanted).catalogue


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    full_type: str
    precision: int
    scale: int
    collation: str
    extra: str
    generated: str

    @property
    def is_compared_loosely(self) -> bool:
        return bool(self.collation) and not self.collation.endswith("_bin") and self.collation != "binary"


class _Reader:
    def __init__(self, connection: sa.Connection, wanted: Wanted) -> None:
        self.connection, self.wanted = connection, wanted
        default = str(connection.scalar(sa.text("SELECT database()")) or "")
        self.catalogue = Catalogue(default_schema=default, schemas=wanted.schemas or (default,))
        self.columns: dict[Place, dict[str, _Column]] = {}
        for schema, table, *column in self._rows(_COLUMNS):
            found = _Column(*column)
            self.columns.setdefault((schema, table), {})[found.name] = found
        self.pkeys: dict[Place, list[str]] = {}
        self.fkeys: dict[Place, dict[str, list[tuple[str, str, str, str]]]] = {}
        for schema, table, constraint, column, *parent in self._rows(_KEYS):
            if constraint == "PRIMARY":
                self.pkeys.setdefault((schema, table), []).append(column)
            else:
                keys = self.fkeys.setdefault((schema, table), {})
                keys.setdefault(constraint, []).append((column, *parent))
        for schema, table, kind, engine in self._rows(_TABLES):
            self._add((schema, table), kind, engine)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return [
            tuple(value.decode() if isinstance(value, bytes) else value for value in row)
            for row in self.connection.execute(sa.text(query))
        ]

    def _add(self, place: Place, kind: str, engine: str) -> None:
        schema, table = place
        why = self._left_out(place, kind, engine)
        if schema not in self.catalogue.schemas:
            if not why:
                self.catalogue.elsewhere[schema] = self.catalogue.elsewhere.get(schema, 0) + 1
            return
        if why:
            self.catalogue.left_out[place] = why
            return
        if kind == "SYSTEM VERSIONED":
            self.catalogue.notes.append(f"{table}: system-versioned; its rows of now are imported, not their history")
        if engine not in ("", *_TRANSACTIONAL) and self.wanted.table(schema, table):
            self.catalogue.notes.append(
                f"{table}: the engine {engine} has no transactions; rows that were written during the import may be in it"
            )
        columns = {c.name: self._column(place, c) for c in self.columns.get(place, {}).values()}
        self.catalogue.tables.append(
            SqlTable(
                schema=schema,
                name=table,
                columns=columns,
                pkey=tuple(column for column in self.pkeys.get(place, ()) if column in columns),
                fkeys=tuple(self._fkey(keys) for keys in self.fkeys.get(place, {}).values()),
            )
        )

    def _left_out(self, place: Place, kind: str, engine: str) -> str:
        schema, table = place
        if kind == "SEQUENCE":
            return "a sequence"
        if "VIEW" in kind and not self.wanted.view(schema, table):
            return f"a view; --views {table} imports it"
        if engine in _OTHERS_ROWS and not self.wanted.view(schema, table):
            return f"a table of the engine {engine}, which shows rows of other tables or servers; --views {table} imports it"
        return ""

    def _fkey(self, keys: list[tuple[str, str, str, str]]) -> SqlKey:
        parent = (keys[0][1], keys[0][2])
        # Where names are compared without case, references are kept as they were typed.
        spelled = {(s.casefold(), t.casefold()): (s, t) for s, t in self.columns}
        parent = parent if parent in self.columns else spelled.get((parent[0].casefold(), parent[1].casefold()), parent)
        columns = {name.casefold(): name for name in self.columns.get(parent, {})}
        return SqlKey(
            columns=tuple(key[0] for key in keys),
            parent_schema=parent[0],
            parent=parent[1],
            parent_columns=tuple(columns.get(key[3].casefold(), key[3]) for key in keys),
        )

    def _column(self, place: Place, column: _Column) -> SqlColumn:
        found = _kind(column)
        table = sa.table(place[1], schema=place[0])
        is_read = self.wanted.table(*place)
        if column.type == "tinyint" and column.full_type.startswith("tinyint(1)") and is_read:
            return self._truth(table, found)
        unsigned = column.type == "bigint" and "unsigned" in column.full_type
        long = column.type == "decimal" and not column.scale and column.precision > MAX_EXACT_DIGITS
        if unsigned or long or (column.type == "bit" and column.precision > 63):
            return wide_integer(self.connection, table, found, "CHAR", is_read=is_read)
        for key in self.fkeys.get(place, {}).values():
            link = self._fkey(key)
            parent = self.columns.get((link.parent_schema, link.parent), {}).get(link.parent_columns[0])
            if link.columns == (column.name,) and parent is not None and parent.is_compared_loosely:
                relation = f"{sql_name(self.connection, link.parent_schema)}.{sql_name(self.connection, link.parent)}"
                return replace(found, select=spelled_as_parent(relation, sql_name(self.connection, parent.name)))
        return found

    def _truth(self, table: sa.TableClause, column: SqlColumn) -> SqlColumn:
        name: sa.ColumnElement[int] = sa.column(column.name)
        extremes = self.connection.execute(sa.select(sa.func.min(name), sa.func.max(name)).select_from(table)).one()
        if all(value in (None, 0, 1) for value in extremes):
            return replace(
                column, kind="boolean", note="tinyint(1) is read as boolean, since it holds nothing but 0 and 1"
            )
        return replace(column, note="tinyint(1) is read as an integer, since it holds more than 0 and 1")


def _kind(found: _Column) -> SqlColumn:
    column = SqlColumn(name=found.name, sql_type=found.full_type, kind="text")
    if found.generated.upper() in ("ROW START", "ROW END") or "AS ROW" in found.extra.upper():
        return replace(column, kind="unsupported", reason="a time of the system's versions, not of the row")
    if found.type in _TEXT:
        return column
    if found.type in (*_INTEGERS, "bigint"):
        return replace(column, kind="integer")
    if found.type == "decimal":
        return replace(column, kind="integer" if not found.scale else "float")
    if found.type in ("float", "double"):
        return replace(column, kind="float", select="({} + 0e0)")
    if found.type in ("date", "datetime", "timestamp"):
        return replace(column, kind="timestamp")
    if found.type == "time":
        return replace(column, select="CAST({} AS CHAR)")
    if found.type == "bit":
        return replace(column, kind="boolean" if found.precision == 1 else "integer", select="CAST({} AS UNSIGNED)")
    if found.type == "set":
        return replace(column, kind="list", convert=lambda value: value.split(",") if value else [])
    unsupported = replace(column, kind="unsupported", reason=f"type {found.full_type} is not supported")
    if found.type in _BYTES:
        as_key = replace(column, select="hex({})", note=f"{found.full_type} is a key, read as hexadecimal text")
        return replace(unsupported, as_key=as_key)
    return unsupported
