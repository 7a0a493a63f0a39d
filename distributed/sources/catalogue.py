"""The tables of a SQL database, in the form that every dialect's catalogue is read into; and the names that tables have inside.

Each dialect has a reader (`postgresql_catalogue.py`, `mysql_catalogue.py`, `sqlite_catalogue.py`, `inspected_catalogue.py` for all others) that
returns a `Catalogue`. Promises: a relation is a table here or a line in `notes`; a column has a kind or a reason; a column that is read as something
else than it is has a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from distributed.schema.source_table import ForeignKey, Kind, SourceTable, TextTypes

MAX_EXACT_DIGITS = 18
INT64 = range(-(2**63), 2**63)
Convert = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class SqlColumn:
    """One column.

    Args:
        sql_type: The type as messages show it.
        select: The SQL that delivers it, `{}` in place of the column; "" for the column itself. The row's table is called t.
        reason: Why a column of kind "unsupported" is.
        as_key: What is read instead where the column is a key.
        note: What is to be said of how it is read.
        convert: Python that is applied to each value that is not null.
    """

    name: str
    sql_type: str
    kind: Kind
    select: str = ""
    reason: str = ""
    as_key: SqlColumn | None = None
    note: str = ""
    convert: Convert | None = None


@dataclass(frozen=True, kw_only=True)
class SqlKey:
    """A declared foreign key; `parent_columns` is () where the primary key is meant."""

    columns: tuple[str, ...]
    parent_schema: str
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SqlTable:
    """One table; with `only`, the rows of its inheritance children are not read with it."""

    schema: str
    name: str
    columns: dict[str, SqlColumn]
    pkey: tuple[str, ...] = ()
    fkeys: tuple[SqlKey, ...] = ()
    only: bool = False


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The user's choice of tables; `schemas` and `tables` are None for the default schema and all tables."""

    schemas: tuple[str, ...] | None = None
    views: tuple[str, ...] = ()
    tables: tuple[str, ...] | None = None

    def view(self, schema: str, name: str) -> bool:
        """Returns whether a view, a foreign table or another relation that is left out unless asked for is asked for."""
        return bool({name, f"{schema}.{name}", qualified(schema, name)} & {*self.views, *(self.tables or ())})

    def table(self, schema: str, name: str) -> bool:
        """Returns whether the rows of a table will be read, as far as its name tells."""
        return self.tables is None or self.view(schema, name)


@dataclass(kw_only=True)
class Catalogue:
    """The tables of the chosen schemas, and why other relations are none.

    Args:
        default_schema: The schema of names without one.
        schemas: The schemas that are read.
        left_out: Why a relation, by (schema, name), is no table.
        elsewhere: How many tables the schemas have that are not chosen.
    """

    default_schema: str
    schemas: tuple[str, ...]
    tables: list[SqlTable] = field(default_factory=list)
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)
    elsewhere: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def qualified(schema: str, name: str) -> str:
    """Returns the name inside of a table whose own name comes in several schemas: no dot, which SQL would take for a schema."""
    return f"{schema}__{name}"


def named(tables: Sequence[SqlTable], notes: list[str]) -> dict[str, SqlTable]:
    """Returns the tables by their names inside: their own, or schema__name where that comes twice (in any case); each such name is a note."""
    times = Counter(table.name.casefold() for table in tables if table.schema)
    several = len({table.schema for table in tables}) > 1
    names: dict[str, SqlTable] = {}
    for table in tables:
        clashes = several and times[table.name.casefold()] > 1 and _in_two_schemas(table, tables)
        name = qualified(table.schema, table.name) if clashes else table.name
        if clashes:
            notes.append(
                f"{name}: the table {table.schema}.{table.name}, since another schema has a table of this name, too"
            )
        names[name] = table
    return names


def _in_two_schemas(table: SqlTable, tables: Sequence[SqlTable]) -> bool:
    return any(other.schema != table.schema and other.name.casefold() == table.name.casefold() for other in tables)


def source_tables(names: Mapping[str, SqlTable], catalogue: Catalogue, text_types: TextTypes) -> dict[str, SourceTable]:
    """Returns the tables as the import plans them: keys by the names inside, columns by kind."""
    inside = {(table.schema, table.name): name for name, table in names.items()}
    return {
        name: SourceTable(
            name=name,
            columns={column.name: column.kind for column in table.columns.values()},
            pkey=table.pkey,
            fkeys=tuple(_fkey(key, names, inside, catalogue) for key in table.fkeys),
            text_types=text_types,
            unsupported={c.name: c.reason for c in table.columns.values() if c.kind == "unsupported"},
        )
        for name, table in sorted(names.items())
    }


def _fkey(
    key: SqlKey, names: Mapping[str, SqlTable], inside: Mapping[tuple[str, str], str], catalogue: Catalogue
) -> ForeignKey:
    place = (key.parent_schema, key.parent)
    if place in inside:
        parent = inside[place]
        return ForeignKey(columns=key.columns, parent=parent, parent_columns=key.parent_columns or names[parent].pkey)
    parent = key.parent if key.parent_schema in ("", catalogue.default_schema) else f"{key.parent_schema}.{key.parent}"
    reason = catalogue.left_out.get(place, "which is not imported")
    if key.parent_schema not in catalogue.schemas:
        both = " ".join([*catalogue.schemas, key.parent_schema])
        reason = f"whose schema is not imported; --schemas {both} imports both"
    return ForeignKey(
        columns=key.columns,
        parent=parent,
        parent_columns=key.parent_columns,
        left_out=f"foreign key to {parent!r}, {reason}",
    )


def with_keys(table: SqlTable, referenced: Collection[str]) -> SqlTable:
    """Returns the table with its key columns read as keys: bytes as hexadecimal text, numbers without a scale as integers.

    Args:
        table: The table.
        referenced: Its columns that foreign keys of other tables refer to.
    """
    keys = {column for key in table.fkeys for column in key.columns} | set(referenced)
    keys |= set(table.pkey) if len(table.pkey) == 1 else set()
    columns = {
        name: column.as_key if name in keys and column.as_key else column for name, column in table.columns.items()
    }
    return replace(table, columns=columns)


def sql_name(connection: sa.Connection, name: str) -> str:
    """Returns a quoted name for literal SQL; SQLAlchemy's own has its percent signs doubled for some drivers, and literals double them again."""
    mark = connection.dialect.identifier_preparer.initial_quote
    return mark + name.replace(mark, 2 * mark) + mark


def spelled_as_parent(parent: str, column: str) -> str:
    """Returns the `select` of a foreign key whose parent is compared without case (or by another collation): the key as its parent spells it.

    Args:
        parent: The parent's quoted name.
        column: Its quoted column.
    """
    return f"coalesce((SELECT min(p.{column}) FROM {parent} p WHERE p.{column} = {{}}), {{}})"


def wide_integer(
    connection: sa.Connection, table: sa.TableClause, column: SqlColumn, text_type: str, *, is_read: bool
) -> SqlColumn:
    """Returns a column of integers that may not fit 64 bits (NUMERIC(20), unsigned BIGINT) as integers if all do, else as text, digit by digit.

    Cost: one query for the smallest and the largest value.

    Args:
        table: The table that has it.
        text_type: The dialect's type to cast to.
        is_read: Whether the rows will be read; a table that is left out is not looked through.
    """
    if not is_read:
        return replace(column, kind="integer")
    select = column.select or "{}"
    value: sa.ColumnElement[int] = sa.literal_column(select.replace("{}", sql_name(connection, column.name)))
    extremes = connection.execute(sa.select(sa.func.min(value), sa.func.max(value)).select_from(table)).one()
    if all(value is None or int(value) in INT64 for value in extremes):
        return replace(column, kind="integer")
    largest = max(extremes, key=abs)
    note = f"{column.sql_type} is read as text, since values such as {largest} do not fit 64 bits and a float would round them"
    return replace(column, kind="text", select=f"CAST({select} AS {text_type})", note=note)
