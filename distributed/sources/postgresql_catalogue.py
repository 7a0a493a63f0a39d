"""Reads PostgreSQL's catalogue: each row of the user's tables once, whatever they inherit or are partitioned into.

Rules: a partitioned table is read as one, its partitions are left out. A table with inheritance children is read with them if they only divide its
rows (no columns of their own, nothing refers to them; TimescaleDB's chunks, partitions of before PostgreSQL 10), else each is read without the
others' rows. What belongs to an extension, views, materialized views and foreign tables are left out unless asked for. Values keep their meaning:
what `numeric`, `money`, `interval` and arrays become is in `_kind`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from distributed.sources.catalogue import MAX_EXACT_DIGITS, Catalogue, SqlColumn, SqlKey, SqlTable, Wanted, wide_integer

_RELATIONS = """
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relispartition,
    EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname"""
_INHERITS = "SELECT inhrelid, inhparent FROM pg_inherits ORDER BY inhrelid, inhseqno"
_COLUMNS = """
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod
FROM pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum"""
_TYPES = "SELECT oid, typname, typtype, typbasetype, typtypmod, typelem, typcategory FROM pg_type"
_KEYS = """
SELECT con.contype, con.conrelid, con.confrelid,
    (SELECT array_agg(a.attname::text ORDER BY k.i) FROM unnest(con.conkey) WITH ORDINALITY k (n, i)
        JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.n),
    (SELECT array_agg(a.attname::text ORDER BY k.i) FROM unnest(con.confkey) WITH ORDINALITY k (n, i)
        JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.n)
FROM pg_constraint con WHERE con.contype IN ('p', 'f') AND con.conparentid = 0 ORDER BY con.oid"""
_UNLESS_ASKED = {"v": "view", "m": "materialized view", "f": "foreign table"}
_PLAIN = {"text", "varchar"}
_TEXT = {"bpchar", "name", "char", "citext", "uuid", "json", "jsonb", "xml", "inet", "cidr", "macaddr", "macaddr8"}
_TEXT |= {"bit", "varbit", "time", "timetz", "ltree"}
_INTEGERS = {"int2", "int4", "int8", "oid"}


@dataclass(frozen=True)
class _Type:
    name: str
    kind: str
    base: int
    base_modifier: int
    element: int
    category: str


@dataclass(frozen=True)
class _Relation:
    oid: int
    schema: str
    name: str
    kind: str
    is_partition: bool
    is_of_extension: bool


def prepare(connection: sa.Connection) -> None:
    """Sets what the values of a session depend on; row security raises instead of hiding rows in silence."""
    for setting in ("TIME ZONE 'UTC'", "row_security = off", "extra_float_digits = 1", "bytea_output = 'hex'"):
        connection.exec_driver_sql(f"SET {setting}")
    if connection.dialect.driver == "psycopg":
        _let_through_odd_times(connection.connection.dbapi_connection)


def _let_through_odd_times(driver_connection: Any) -> None:
    """Makes psycopg deliver a time that Python cannot hold (infinity, 44 BC) as its text, whose row can be named, instead of an error without one."""
    import psycopg
    from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

    for name, loader in (("date", DateLoader), ("timestamp", TimestampLoader), ("timestamptz", TimestamptzLoader)):

        class Loader(loader):  # type: ignore[valid-type,misc]
            def load(self, data: Any) -> Any:
                try:
                    return super().load(data)
                except psycopg.DataError:
                    return bytes(data).decode()

        driver_connection.adapters.register_loader(name, Loader)


def read_catalogue(connection: sa.Connection, wanted: Wanted) -> Catalogue:
    """Returns the catalogue of the wanted schemas."""
    return _Reader(connection, wanted).catalogue


class _Reader:
    def __init__(self, connection: sa.Connection, wanted: Wanted) -> None:
        self.connection, self.wanted = connection, wanted
        default = str(connection.scalar(sa.text("SELECT coalesce(current_schema(), 'public')")))
        self.catalogue = Catalogue(default_schema=default, schemas=wanted.schemas or (default,))
        self.relations = {row[0]: _Relation(*row) for row in self._rows(_RELATIONS)}
        self.parents: dict[int, list[int]] = {}
        self.children: dict[int, list[int]] = {}
        for child, parent in self._rows(_INHERITS):
            self.parents.setdefault(child, []).append(parent)
            self.children.setdefault(parent, []).append(child)
        self.types = {row[0]: _Type(*row[1:]) for row in self._rows(_TYPES)}
        self.columns: dict[int, list[tuple[Any, ...]]] = {}
        for oid, *column in self._rows(_COLUMNS):
            self.columns.setdefault(oid, []).append(tuple(column))
        self.pkeys: dict[int, tuple[str, ...]] = {}
        self.fkeys: dict[int, list[tuple[int, tuple[str, ...], tuple[str, ...]]]] = {}
        for kind, oid, parent, columns, parent_columns in self._rows(_KEYS):
            if kind == "p":
                self.pkeys[oid] = tuple(columns)
            else:
                self.fkeys.setdefault(oid, []).append((parent, tuple(columns), tuple(parent_columns)))
        self.referred = {parent for keys in self.fkeys.values() for parent, _, _ in keys}
        for relation in self.relations.values():
            self._add(relation)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.connection.execute(sa.text(query))]

    def _add(self, relation: _Relation) -> None:
        place = (relation.schema, relation.name)
        why = self._left_out(relation)
        if relation.schema not in self.catalogue.schemas:
            if not why:
                self.catalogue.elsewhere[relation.schema] = self.catalogue.elsewhere.get(relation.schema, 0) + 1
            return
        if why:
            self.catalogue.left_out[place] = why
            return
        only = self._is_read_alone(relation)
        self._note_on_rows(relation, only)
        columns = {name: self._column(relation, name, *rest) for name, *rest in self.columns.get(relation.oid, [])}
        self.catalogue.tables.append(
            SqlTable(
                schema=relation.schema,
                name=relation.name,
                columns=columns,
                pkey=self.pkeys.get(relation.oid, ()),
                fkeys=tuple(self._fkey(*key) for key in self.fkeys.get(relation.oid, [])),
                only=only,
            )
        )

    def _left_out(self, relation: _Relation) -> str:
        if relation.is_partition:
            return f"a partition of {self._root(relation).name!r}, with which its rows are read"
        if relation.is_of_extension or relation.schema.startswith("_timescaledb"):
            return "a table of an extension"
        if relation.kind in _UNLESS_ASKED and not self.wanted.view(relation.schema, relation.name):
            return f"a {_UNLESS_ASKED[relation.kind]}; --views {relation.name} imports it"
        whole = [parent for parent in self._ancestors(relation) if not self._is_read_alone(parent)]
        return f"an inheritance child of {whole[0].name!r}, with which its rows are read" if whole else ""

    def _root(self, relation: _Relation) -> _Relation:
        while relation.is_partition:
            relation = self.relations[self.parents[relation.oid][0]]
        return relation

    def _ancestors(self, relation: _Relation) -> list[_Relation]:
        direct = [self.relations[oid] for oid in self.parents.get(relation.oid, []) if oid in self.relations]
        return direct + [above for parent in direct for above in self._ancestors(parent)]

    def _descendants(self, relation: _Relation) -> list[_Relation]:
        direct = [self.relations[oid] for oid in self.children.get(relation.oid, []) if oid in self.relations]
        return direct + [below for child in direct for below in self._descendants(child)]

    def _is_read_alone(self, relation: _Relation) -> bool:
        """Returns whether a table is read without the rows of its inheritance children, which are then tables of their own."""
        if relation.kind == "p":
            return False
        names = [column[0] for column in self.columns.get(relation.oid, [])]
        return any(
            len(self.parents[child.oid]) > 1
            or (
                child.schema in self.catalogue.schemas
                and (
                    child.oid in self.referred
                    or sorted(column[0] for column in self.columns.get(child.oid, [])) != sorted(names)
                )
            )
            for child in self._descendants(relation)
        )

    def _note_on_rows(self, relation: _Relation, only: bool) -> None:
        children = self._descendants(relation)
        if relation.kind == "p" and children:
            own = [c.name for c in children if self.fkeys.get(c.oid)]
            self.catalogue.notes += [
                f"{relation.name}: the foreign keys that only its partition {name} declares are not followed; declare them on "
                f"{relation.name}"
                for name in own
            ]
        elif children and only:
            names = ", ".join(child.name for child in children)
            self.catalogue.notes.append(
                f"{relation.name}: read without the rows of its inheritance children ({names}), which are tables of their own"
            )

    def _fkey(self, parent: int, columns: tuple[str, ...], parent_columns: tuple[str, ...]) -> SqlKey:
        relation = self._root(self.relations[parent]) if parent in self.relations else None
        return SqlKey(
            columns=columns,
            parent_schema=relation.schema if relation else "pg_catalog",
            parent=relation.name if relation else str(parent),
            parent_columns=parent_columns,
        )

    def _column(self, relation: _Relation, name: str, sql_type: str, oid: int, modifier: int) -> SqlColumn:
        found = self.types[oid]
        while found.kind == "d":  # a domain is its base type
            oid, modifier = found.base, found.base_modifier if modifier < 0 else modifier
            found = self.types[oid]
        column = _kind(name, sql_type, found, modifier)
        if found.category == "A" and found.element in self.types:
            column = self._array(name, sql_type, self.types[found.element])
        if found.name == "numeric" and _is_whole(modifier) and _precision(modifier) > MAX_EXACT_DIGITS:
            is_read = self.wanted.table(relation.schema, relation.name)
            table = sa.table(relation.name, schema=relation.schema)
            return wide_integer(self.connection, table, column, "TEXT", is_read=is_read)
        return column

    def _array(self, name: str, sql_type: str, element: _Type) -> SqlColumn:
        while element.kind == "d":
            element = self.types[element.base]
        column = SqlColumn(name=name, sql_type=sql_type, kind="list")
        if element.name in _PLAIN | _TEXT | _INTEGERS or element.kind == "e":
            return replace(column, select="{}::text[]")
        return _unsupported(name, sql_type, "only lists of integers and of text have a semantic type")


def _kind(name: str, sql_type: str, found: _Type, modifier: int) -> SqlColumn:
    column = SqlColumn(name=name, sql_type=sql_type, kind="text")
    if found.name in _PLAIN:
        return column
    if found.name in _TEXT or found.kind == "e":
        return replace(column, select="{}::text")
    if found.kind in ("r", "m"):
        return replace(column, select="{}::text", note=f"{sql_type} is read as text, such as [1,10)")
    if found.name == "bool":
        return replace(column, kind="boolean")
    if found.name in _INTEGERS:
        return replace(column, kind="integer", select="" if found.name != "oid" else "{}::bigint")
    if found.name == "numeric":
        if _is_whole(modifier):
            return replace(column, kind="integer")
        # A float would merge neighbouring keys beyond 2**53.
        as_key = replace(column, kind="integer") if modifier < 0 else None
        return replace(column, kind="float", as_key=as_key)
    if found.name in ("float4", "float8"):
        return replace(column, kind="float", select="{}::float8")
    if found.name == "money":
        return replace(
            column, kind="float", select="{}::numeric", note="money is read as a number, without its currency"
        )
    if found.name == "interval":
        note = (
            "interval is read as seconds; a month counts 30 days and a year 365.25, as in PostgreSQL's extract(epoch)"
        )
        return replace(column, kind="float", select="extract(epoch FROM {})", note=note)
    if found.name in ("date", "timestamp", "timestamptz"):
        return replace(column, kind="timestamp")
    if found.name == "bytea":
        as_key = replace(column, select="encode({}, 'hex')", note="bytea is a key, read as hexadecimal text")
        return replace(_unsupported(name, sql_type, ""), as_key=as_key)
    return _unsupported(name, sql_type, "")


def _unsupported(name: str, sql_type: str, why: str) -> SqlColumn:
    reason = f"type {sql_type} is not supported" + (f": {why}" if why else "")
    return SqlColumn(name=name, sql_type=sql_type, kind="unsupported", reason=reason)


def _precision(modifier: int) -> int:
    return ((modifier - 4) >> 16) & 0xFFFF


def _is_whole(modifier: int) -> bool:
    """Returns whether a numeric has no digits after its point by declaration."""
    return modifier >= 4 and (modifier - 4) & 0x7FF == 0
