"""Databases without a catalogue reader of their own: SQLAlchemy's inspector gives tables, keys, kinds, and what is left out."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from distributed.sources.catalogue import Catalogue, SqlKey, Wanted
from distributed.sources.inspected_catalogue import read_catalogue
from tests.distributed.importing.small_imports import sqlite_file

SCRIPT = """CREATE TABLE a (id INTEGER PRIMARY KEY, price NUMERIC, at DATETIME, face BLOB, odd GEOMETRY);
CREATE TABLE b (a INTEGER REFERENCES a (id)); CREATE VIEW late AS SELECT id FROM a;"""


def found(path: Path, wanted: Wanted) -> Catalogue:
    engine = sa.create_engine(sqlite_file(path, SCRIPT), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        return read_catalogue(connection, wanted)


def test_tables_have_their_keys_and_kinds(tmp_path: Path) -> None:
    a, b = found(tmp_path / "x.db", Wanted()).tables
    kinds = {name: column.kind for name, column in a.columns.items()}
    assert kinds == {"id": "integer", "price": "float", "at": "timestamp", "face": "unsupported", "odd": "float"}
    assert "BLOB" in a.columns["face"].reason and a.columns["price"].as_key is not None
    assert a.pkey == ("id",)
    assert b.fkeys == (SqlKey(columns=("a",), parent_schema="main", parent="a", parent_columns=("id",)),)


def test_views_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    assert "--views late" in found(tmp_path / "x.db", Wanted()).left_out["main", "late"]
    asked = found(tmp_path / "y.db", Wanted(views=("late",)))
    assert [table.name for table in asked.tables] == ["a", "b", "late"] and not asked.left_out
