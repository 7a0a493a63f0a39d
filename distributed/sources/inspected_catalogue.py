"""Reads the catalogue of any other database by SQLAlchemy's inspector: its types, its tables of the wanted schemas, no views unless asked for."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import NullType, TypeEngine

from distributed.schema.source_table import Kind
from distributed.sources.catalogue import Catalogue, SqlColumn, SqlKey, SqlTable, Wanted

_KINDS: tuple[tuple[type[TypeEngine[Any]] | tuple[type[TypeEngine[Any]], ...], Kind], ...] = (
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    ((sa.Numeric, sa.Float), "float"),
    ((sa.DateTime, sa.Date), "timestamp"),
    ((sa.String, sa.Uuid, sa.JSON, sa.Time), "text"),
)


def read_catalogue(connection: sa.Connection, wanted: Wanted) -> Catalogue:
    """Returns the catalogue of the wanted schemas."""
    inspector = sa.inspect(connection)
    default = inspector.default_schema_name or ""
    catalogue = Catalogue(default_schema=default, schemas=wanted.schemas or (default,))
    for schema in catalogue.schemas:
        views = inspector.get_view_names(schema or None)
        asked = [name for name in views if wanted.view(schema, name)]
        for name in views:
            if name not in asked:
                catalogue.left_out[schema, name] = f"a view; --views {name} imports it"
        for name in sorted([*inspector.get_table_names(schema or None), *asked]):
            catalogue.tables.append(_table(inspector, schema, name))
    return catalogue


def _table(inspector: sa.Inspector, schema: str, name: str) -> SqlTable:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", sa.exc.SAWarning
        )  # of types that it does not know: they are left out with a line
        columns = [_column(found) for found in inspector.get_columns(name, schema or None)]
    fkeys = [
        SqlKey(
            columns=tuple(found["constrained_columns"]),
            parent_schema=found["referred_schema"] or schema,
            parent=found["referred_table"],
            parent_columns=tuple(found["referred_columns"]),
        )
        for found in inspector.get_foreign_keys(name, schema or None)
    ]
    pkey = tuple(inspector.get_pk_constraint(name, schema or None)["constrained_columns"])
    return SqlTable(schema=schema, name=name, columns={c.name: c for c in columns}, pkey=pkey, fkeys=tuple(fkeys))


def _column(found: ReflectedColumn) -> SqlColumn:
    sql_type = found["type"]
    kind: Kind = next((kind for classes, kind in _KINDS if isinstance(sql_type, classes)), "unsupported")
    shown = "(unknown)" if isinstance(sql_type, NullType) else str(sql_type)
    column = SqlColumn(name=found["name"], sql_type=shown, kind=kind)
    if kind == "unsupported":
        return replace(column, reason=f"type {shown} is not supported")
    if kind == "float" and not getattr(sql_type, "scale", None):  # a float would merge neighbouring keys beyond 2**53
        return replace(column, as_key=replace(column, kind="integer"))
    return column
