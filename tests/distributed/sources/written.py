"""RelBench folders written into SQL databases, with their keys declared: what an import must bring back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from relbench.manifest import DatasetManifest, TableSpec

TYPES = {
    "postgresql": ("bigint", "double precision", "boolean", "timestamp", "text"),
    "mysql": ("bigint", "double", "boolean", "datetime(6)", "longtext"),
    "sqlite": ("INTEGER", "REAL", "BOOLEAN", "DATETIME", "TEXT"),
    "duckdb": ("BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "VARCHAR"),
}
TESTS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_timestamp,
    lambda kind: True,
)


def write_database(folder: Path, source: str) -> None:
    """Writes all tables of a folder into the empty database at an SQLAlchemy URL, or at duckdb:///path."""
    backend = source.partition(":")[0].partition("+")[0]
    tables = DatasetManifest.load(folder / "manifest.yaml").tables
    run = {"duckdb": _into_duckdb, "sqlite": _into_sqlite}.get(backend, _into_server)
    run(source, _contents(folder, tables, backend))


def _contents(folder: Path, tables: dict[str, TableSpec], backend: str) -> Iterator[tuple[str, str, pa.Table]]:
    """Yields (name, CREATE TABLE, rows), parents first."""
    done: set[str] = set()
    while len(done) < len(tables):
        for name in sorted(set(tables) - done):
            if set(tables[name].fkeys.values()) <= {*done, name}:
                rows = pq.read_table(folder / "db" / f"{name}.parquet")
                yield name, _create(backend, name, rows.schema, tables), rows
                done.add(name)


def _create(backend: str, name: str, schema: pa.Schema, tables: dict[str, TableSpec]) -> str:
    mark = "`" if backend == "mysql" else '"'
    types = [next(t for t, test in zip(TYPES[backend], TESTS, strict=True) if test(field.type)) for field in schema]
    parts = [f"{mark}{field.name}{mark} {sql_type}" for field, sql_type in zip(schema, types, strict=True)]
    parts += [f"PRIMARY KEY ({mark}{tables[name].pkey}{mark})"] if tables[name].pkey else []
    parts += [
        f"FOREIGN KEY ({mark}{column}{mark}) REFERENCES {mark}{parent}{mark} ({mark}{tables[parent].pkey}{mark})"
        for column, parent in tables[name].fkeys.items()
    ]
    return f"CREATE TABLE {mark}{name}{mark} ({', '.join(parts)})"


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us"))
        columns.append(column.to_pylist())
    return list(zip(*columns, strict=True))


def _into_duckdb(source: str, contents: Iterator[tuple[str, str, pa.Table]]) -> None:
    with duckdb.connect(source.removeprefix("duckdb:///")) as con:
        for name, create, table in contents:
            con.execute(create)
            if f'REFERENCES "{name}"' in create:  # rows of one statement may not refer to each other
                con.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * table.num_columns)})', _rows(table))
                continue
            con.register("arrow_rows", table)
            con.execute(f'INSERT INTO "{name}" SELECT * FROM arrow_rows')
            con.unregister("arrow_rows")


def _into_sqlite(source: str, contents: Iterator[tuple[str, str, pa.Table]]) -> None:
    with sqlite3.connect(source.removeprefix("sqlite:///")) as connection:
        for name, create, table in contents:
            connection.execute(create)
            rows = [[v if isinstance(v, int | float | str | None) else str(v) for v in row] for row in _rows(table)]
            connection.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * table.num_columns)})', rows)
    connection.close()


def _into_server(source: str, contents: Iterator[tuple[str, str, pa.Table]]) -> None:
    engine = sa.create_engine(source)
    with engine.begin() as connection:
        driver: Any = connection.connection.dbapi_connection
        for name, create, table in contents:
            connection.exec_driver_sql(create)
            with driver.cursor() as cursor:
                if engine.dialect.name == "postgresql":
                    with cursor.copy(f'COPY "{name}" FROM STDIN') as copy:
                        for row in _rows(table):
                            copy.write_row(row)
                else:
                    values = ", ".join(["%s"] * table.num_columns)
                    cursor.executemany(f"INSERT INTO `{name}` VALUES ({values})", _rows(table))
    engine.dispose()
