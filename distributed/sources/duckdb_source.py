"""A DuckDB file as an import source: tables, keys and types by its catalogue, rows as DuckDB streams them.

In: `duckdb:///shop.duckdb`, or the path of a DuckDB file. Promises: the file is opened for reading only; all tables are of one transaction. Memory:
one batch of rows, beside what DuckDB itself takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from distributed.schema.duckdb_sql import quoted
from distributed.schema.refusals import ImportRefused, exclude_option
from distributed.schema.source_table import SourceTable
from distributed.schema.table_plan import TablePlan
from distributed.sources.arrow_values import ARROW_TYPES
from distributed.sources.catalogue import SqlTable, Wanted, source_tables
from distributed.sources.chosen_tables import choose_tables
from distributed.sources.duckdb_catalogue import read_catalogue
from rdl_core.checksums import sha256_of

_SCHEME = "duckdb:///"
_INFINITE_US = 2**63 - 1


def is_duckdb(source: str) -> bool:
    """Returns whether a --source is a DuckDB file: by its URL, or by what the file says it is."""
    if source.startswith("duckdb:"):
        return True
    path = Path(source)
    if "://" in source or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"


class DuckdbSource:
    """A DuckDB file as a source; a context manager that holds it open inside.

    Args:
        source: `duckdb:///path` or a path.
        batch_rows: The most rows of a batch.
        wanted: Schemas, views and tables to read.

    Raises:
        ImportRefused: There is no such file.
    """

    def __init__(self, source: str, batch_rows: int, wanted: Wanted) -> None:
        self.path = Path(source.removeprefix(_SCHEME))
        self.display = f"{_SCHEME}{self.path.name}"
        self.batch_rows, self.wanted = batch_rows, wanted
        self._tables: dict[str, SqlTable] = {}
        self._notes: list[str] = []
        if not self.path.is_file():
            raise ImportRefused(
                f"--source: no DuckDB file at {str(self.path)!r}; expected duckdb:///path/to/file.duckdb"
            )

    def __enter__(self) -> DuckdbSource:
        with ExitStack() as opened:
            try:
                self._con = opened.enter_context(duckdb.connect(str(self.path), read_only=True))
                self._con.execute("SET TimeZone = 'UTC'")
                self._con.execute("BEGIN TRANSACTION")
            except duckdb.Error as error:
                raise ImportRefused(
                    f"--source {self.display}: cannot be opened: {error}; close the program that writes to it, and check that it is "
                    "a DuckDB file of this version or older"
                ) from error
            self._closing = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def schemas(self) -> dict[str, SourceTable]:
        """Returns every table of the chosen schemas, by its name inside.

        Raises:
            ImportRefused: The catalogue cannot be read, or there is no table in it.
        """
        try:
            catalogue = read_catalogue(self._con, self.wanted)
        except duckdb.Error as error:
            raise ImportRefused(f"--source {self.display}: the schema cannot be read: {error}") from error
        self._tables, self._notes = choose_tables(catalogue, self.wanted, self.display)
        return source_tables(self._tables, catalogue, "declared")

    def notes(self) -> tuple[str, ...]:
        """Returns a line per relation that is left out, and per column that is read as something else."""
        return tuple(self._notes)

    def batches(self, plan: TablePlan) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table in the file's order, columns in the order of `plan.columns`.

        Raises:
            ImportRefused: A time is infinite, or DuckDB cannot deliver a value.
        """
        table = self._tables[plan.name]
        schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in plan.columns.items()])
        selected = ", ".join(
            f"{table.columns[name].select.replace('{}', f't.{quoted(name)}')} AS c{number}"
            for number, name in enumerate(plan.columns)
        )
        query = f"SELECT {selected} FROM {quoted(table.schema)}.{quoted(table.name)} t"
        position = 0
        try:
            for batch in self._con.sql(query).to_arrow_reader(self.batch_rows):
                cast = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
                self._refuse_infinite(plan, cast, position)
                yield pa.RecordBatch.from_arrays(cast, schema=schema)
                position += batch.num_rows
        except (duckdb.Error, pa.ArrowInvalid) as error:
            raise ImportRefused(
                f"table {plan.name!r}, after row {position} of the source: DuckDB cannot read on: {error}; correct the value, or "
                "leave its column out by --exclude"
            ) from error

    def _refuse_infinite(self, plan: TablePlan, columns: Sequence[pa.Array], position: int) -> None:
        for name, column in zip(plan.columns, columns, strict=True):
            if not pa.types.is_timestamp(column.type):
                continue
            infinite = pc.equal(pc.abs(column.cast(pa.int64())), _INFINITE_US)
            if pc.any(infinite).as_py():
                row = pc.index(pc.fill_null(infinite, False), True).as_py()
                raise ImportRefused(
                    f"table {plan.name!r}, column {name!r}, row {position + row} of the source: expected a time, got infinity; "
                    f"correct the value, or leave the column out by {exclude_option(f'{plan.name}.{name}')}"
                )

    def fingerprint(self) -> dict[str, str]:
        """Returns the SHA-256 of the file, and of what is not yet written into it."""
        files = [self.path, self.path.with_name(f"{self.path.name}.wal")]
        return {path.name: sha256_of(path) for path in files if path.is_file()}
