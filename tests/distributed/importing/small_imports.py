"""Nasty SQLite databases to be imported, and readers of an imported folder."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from distributed.importing.importer import ImportConfig, import_database

NASTY = """
CREATE TABLE person (code TEXT PRIMARY KEY, name TEXT, born DATE, birthdate DATE, boss TEXT REFERENCES person,
    photo BLOB, tag TEXT UNIQUE);
CREATE TABLE "order" ("the id" INTEGER PRIMARY KEY, buyer TEXT REFERENCES person (code),
    seller TEXT REFERENCES person (code), "order time" DATETIME, price NUMERIC, paid BOOLEAN, note JSON);
CREATE TABLE label (tag TEXT REFERENCES person (tag), made TEXT, said TEXT);
CREATE TABLE part ("the id" INTEGER REFERENCES "order", position INTEGER, PRIMARY KEY ("the id", position));
CREATE TABLE badge (code TEXT PRIMARY KEY REFERENCES person (code), colour TEXT);
CREATE VIEW rich AS SELECT * FROM "order" WHERE price > 10;
INSERT INTO person VALUES ('Ž-9', 'Žofie', '1990-01-01', '1990-01-01', NULL, x'00ff', 'z'),
    ('a-10', 'Ann', '1991-05-05', NULL, 'Ž-9', NULL, NULL), ('B-2', '名前', NULL, NULL, 'B-2', NULL, 'b');
INSERT INTO "order" VALUES (40, 'a-10', 'B-2', '2020-02-01 10:00:00', 1.5, 1, '{"a": 1}'),
    (7, 'B-2', NULL, '2020-02-01T10:00:00', 12, 0, NULL), (100, 'Ž-9', 'a-10', NULL, NULL, NULL, '[2]'),
    (9, NULL, 'Ž-9', '2020-01-01 00:00:00+02:00', 3, 1, 'null');
INSERT INTO label VALUES ('b', '2020-03-01', 'x'), ('z', '2020-02-01', '2020-02-01'), ('b', '2020-03-01', 'x');
INSERT INTO part VALUES (40, 2), (40, 1), (7, 1);
INSERT INTO badge VALUES ('a-10', 'red'), ('B-2', 'blue');
"""
PAIR = """
CREATE TABLE shop (town TEXT, no INTEGER, PRIMARY KEY (town, no));
CREATE TABLE sale (id INTEGER PRIMARY KEY, town TEXT, no INTEGER, at DATETIME, seen DATETIME, dob DATE,
    FOREIGN KEY (town, no) REFERENCES shop (town, no));
INSERT INTO shop VALUES ('Brno', 1), ('Praha', 1);
INSERT INTO sale VALUES (5, 'Brno', 1, '2020-01-01', '2020-01-01', '2020-01-01'),
    (3, 'Praha', 1, '2020-03-01', '2020-03-03', '2020-03-01');
"""


def sqlite_file(path: Path, script: str = NASTY) -> str:
    """Makes a SQLite database by a script; returns its URL."""
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()
    return f"sqlite:///{path}"


def config(source: str, out: Path, **options: Any) -> ImportConfig:
    """Returns the configuration of an import; `options` are fields that differ."""
    defaults = {"name": "nasty", "val_timestamp": "2020-01-15", "test_timestamp": "2020-02-15", "timeless": True}
    return ImportConfig(source=source, out=out, **{**defaults, **options})


def run(source: str, out: Path, **options: Any) -> list[str]:
    """Imports; returns the lines that it said."""
    lines: list[str] = []
    import_database(config(source, out, **options), lines.append)
    return lines


def column(out: Path, table: str, name: str) -> list[Any]:
    """Returns the values of a column of an imported table."""
    values: list[Any] = pq.read_table(out / "db" / f"{table}.parquet")[name].to_pylist()
    return values


def files(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of all files of an import but its report, which holds times of the clock."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "import.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
