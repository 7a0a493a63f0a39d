"""The tables of a written dataset folder, opened for counting: DuckDB over Parquet, in bounded memory.

Each table is a view, with the row's number beside its columns, under a name (`row`) that no column of the folder has. Times are read in microseconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.manifest import DatasetManifest, TableSpec

from distributed.schema.duckdb_sql import limit_memory, quoted

MEMORY_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class FolderTables:
    """The tables of one folder; every query is a function of their bytes."""

    con: duckdb.DuckDBPyConnection
    folder: Path
    manifest: DatasetManifest
    schemas: Mapping[str, pa.Schema]
    row: str
    """Column of the row's number, quoted."""

    @property
    def specs(self) -> Mapping[str, TableSpec]:
        """Keys and time of each table."""
        return self.manifest.tables

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Returns all rows of a query."""
        return self.con.execute(query).fetchall()

    def one(self, query: str) -> tuple[Any, ...]:
        """Returns the one row of an aggregate."""
        return self.rows(query)[0]

    def attributes(self, table: str) -> dict[str, pa.DataType]:
        """Returns the columns of a table that are neither keys nor its time."""
        spec = self.specs[table]
        keys = {spec.pkey, spec.time_col, *spec.fkeys}
        return {field.name: field.type for field in self.schemas[table] if field.name not in keys}

    def time(self, table: str, alias: str = "") -> str | None:
        """Returns the expression of a table's time, None where its rows have none."""
        time_col = self.specs[table].time_col
        return None if time_col is None else f"{alias + '.' if alias else ''}{quoted(time_col)}"


@contextmanager
def opened_tables(folder: Path, manifest: DatasetManifest) -> Iterator[FolderTables]:
    """Opens the tables of `folder`; what DuckDB spills goes to a temporary folder beside them."""
    schemas = {name: pq.read_schema(folder / "db" / f"{name}.parquet") for name in manifest.tables}
    with tempfile.TemporaryDirectory(dir=folder) as spill, duckdb.connect() as con:
        limit_memory(con, MEMORY_BYTES, Path(spill))
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")
        row = quoted(_free_name("__row", schemas))
        for name, schema in schemas.items():
            columns = [
                f"CAST({quoted(c.name)} AS TIMESTAMP) AS {quoted(c.name)}"
                if pa.types.is_timestamp(c.type)
                else quoted(c.name)
                for c in schema
            ]
            path = literal(str(folder / "db" / f"{name}.parquet"))
            # DuckDB's own column of row numbers, unless the table has one of that name.
            is_taken = "file_row_number" in {column.casefold() for column in schema.names}
            number, option = (
                ("row_number() OVER () - 1", "") if is_taken else ("file_row_number", ", file_row_number = true")
            )
            con.execute(
                f"CREATE VIEW {view(name)} AS SELECT {', '.join([*columns, f'{number} AS {row}'])} "
                f"FROM read_parquet([{path}]{option})"
            )
        yield FolderTables(con=con, folder=folder, manifest=manifest, schemas=schemas, row=row)


def view(table: str) -> str:
    """Returns the view of a table as SQL."""
    return quoted(f"of_{table}")


def literal(text: str) -> str:
    """Returns a text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _free_name(name: str, schemas: Mapping[str, pa.Schema]) -> str:
    taken = {column.casefold() for schema in schemas.values() for column in schema.names}
    while name in taken:
        name += "_"
    return name
