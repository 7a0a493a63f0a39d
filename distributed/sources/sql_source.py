"""A SQL database as an import source: its schema by its catalogue, its rows as a stream of Arrow batches.

In: an SQLAlchemy URL. Out: `SourceTable`s of the chosen schemas and their rows, in whatever order the server likes: the import sorts. Promises: all
tables are of one moment (REPEATABLE READ, one transaction, read-only); nothing is written. Memory: one batch of rows, of about 64 MB at most
(a server-side cursor; chunks by primary key where that is one integer, so that no result stays open for long).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from distributed.schema.refusals import ImportRefused, SourceUnreadable, exclude_option
from distributed.schema.source_table import Kind, SourceTable
from distributed.schema.table_plan import TablePlan
from distributed.sources import inspected_catalogue, mysql_catalogue, postgresql_catalogue, sqlite_catalogue
from distributed.sources.arrow_values import first_misfit, to_arrow
from distributed.sources.catalogue import Catalogue, SqlColumn, SqlTable, Wanted, source_tables
from distributed.sources.chosen_tables import choose_tables
from distributed.sources.credentials import display, hide
from distributed.sources.row_stream import RowStream
from distributed.sources.source import ConnectionDropped
from rdl_core.checksums import sha256_of

_CATALOGUES: dict[str, ModuleType] = {
    "postgresql": postgresql_catalogue,
    "mysql": mysql_catalogue,
    "mariadb": mysql_catalogue,
    "sqlite": sqlite_catalogue,
}
_ZERO_DATES = ("0000-00-00", "0000-00-00 00:00:00")


class SqlSource:
    """A SQL database as a source; a context manager that is connected inside, and runs nothing but SELECTs.

    Args:
        source: SQLAlchemy URL.
        batch_rows: The most rows of a batch.
        wanted: Schemas, views and tables to read; None for all tables of the default schema.

    Raises:
        ImportRefused: The URL is wrong, its driver is missing, or there is no such file.
    """

    def __init__(self, source: str, batch_rows: int, wanted: Wanted | None = None) -> None:
        self.batch_rows = batch_rows
        self.wanted = wanted or Wanted()
        self._tables: dict[str, SqlTable] = {}
        self._notes: list[str] = []
        self._nulls: Counter[tuple[str, str, str]] = Counter()
        self._was_open = False
        try:
            self._url = sa.make_url(source)
            self._backend = self._url.get_backend_name()
            self._refuse_missing_file()
            self._engine = sa.create_engine(self._url, **self._engine_options())
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
            if isinstance(error, ImportRefused):
                raise
            # A URL that cannot be read may hold a password anywhere: it is not repeated.
            reason = error if isinstance(error, ModuleNotFoundError | sa.exc.NoSuchModuleError) else "no URL"
            raise ImportRefused(
                f"--source: {reason}; expected an SQLAlchemy URL such as sqlite:///shop.db or "
                "postgresql+psycopg://user@host/database, its driver installed "
                "(PostgreSQL: pip install 'psycopg[binary]'), and in a password %40 for @, %3A for :, %2F for /"
            ) from (error if isinstance(error, ModuleNotFoundError) else None)
        self.display = display(self._url)

    @property
    def _is_sqlite(self) -> bool:
        return self._backend == "sqlite"

    def _engine_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"poolclass": sa.pool.NullPool}
        if self._backend in ("postgresql", "mysql", "mariadb"):
            options["isolation_level"] = "REPEATABLE READ"
        return options

    def _refuse_missing_file(self) -> None:
        # SQLite would create an empty database, and report that it has no tables.
        database = self._url.database
        if not self._is_sqlite or (database or "").startswith("file:"):
            return
        if database in (None, "", ":memory:") or not Path(str(database)).is_file():
            raise ImportRefused(f"--source: no SQLite file at {database!r}; expected sqlite:///path/to/file.db")
        if self.wanted.schemas:
            raise ImportRefused("--schemas: SQLite has no schemas; leave the option out")

    def __enter__(self) -> SqlSource:
        self._notes, self._nulls = [], Counter()
        with ExitStack() as opened:
            self._connect(opened)
            self._closing = opened.pop_all()
        self._was_open = True
        return self

    def _connect(self, opened: ExitStack) -> None:
        opened.callback(self._engine.dispose)
        try:
            self._connection = opened.enter_context(self._engine.connect())
            self._driver: Any = self._connection.connection.dbapi_connection
            if self._backend == "postgresql":
                self._connection = self._connection.execution_options(postgresql_readonly=True)
            if prepare := getattr(_CATALOGUES.get(self._backend), "prepare", None):
                prepare(self._connection)
        except self._errors as error:
            reason = self._reason(error)
            if self._was_open:
                raise ConnectionDropped(f"{self.display} does not take a new one: {reason}") from None
            raise ImportRefused(f"--source {self.display}: cannot be opened: {reason}; check URL and rights") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        """The driver's errors, as SQLAlchemy wraps them and as they are."""
        return (sa.exc.DBAPIError, sa.exc.ArgumentError, self._engine.dialect.loaded_dbapi.Error)

    def _reason(self, error: Exception) -> str:
        """Returns what the driver says, without passwords and without SQLAlchemy's own lines."""
        return hide(getattr(error, "orig", None) or error, self._url)

    def _is_dropped(self, error: Exception) -> bool:
        """Returns whether the connection is gone, by SQLAlchemy's own judgement of the driver's error."""
        original: Any = getattr(error, "orig", None) or error
        return (
            getattr(error, "connection_invalidated", False)
            or self._connection.invalidated
            or self._engine.dialect.is_disconnect(original, self._driver, None)
            or getattr(self._driver, "closed", False) is True
        )

    def schemas(self) -> dict[str, SourceTable]:
        """Returns every table of the chosen schemas, by its name inside.

        Raises:
            ImportRefused: The file is no database, the catalogue cannot be read, or there is no table in it.
            ConnectionDropped: The server is gone.
        """
        reader = _CATALOGUES.get(self._backend, inspected_catalogue)
        try:
            catalogue: Catalogue = reader.read_catalogue(self._connection, self.wanted)
        except self._errors as error:
            if self._is_dropped(error):
                raise ConnectionDropped(
                    f"{self.display}, while the catalogue was read: {self._reason(error)}"
                ) from error
            raise ImportRefused(f"--source {self.display}: the schema cannot be read: {self._reason(error)}") from error
        self._tables, self._notes = choose_tables(catalogue, self.wanted, self.display)
        return source_tables(self._tables, catalogue, "time" if self._is_sqlite else "declared")

    def notes(self) -> tuple[str, ...]:
        """Returns a line per relation that is left out, and per column or value that is read as something else."""
        nulls = [
            f"{table}.{column}: {number} values {value} are read as null"
            for (table, column, value), number in sorted(self._nulls.items())
        ]
        return (*self._notes, *nulls)

    def batches(self, plan: TablePlan) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table, at most `batch_rows` at a time, columns in the order of `plan.columns`.

        Raises:
            ImportRefused: A value does not fit its column's declared type (SQLite stores anything anywhere), or the rows cannot be read.
            ConnectionDropped: The server is gone in the middle.
        """
        table = self._tables[plan.name]
        for counted in [key for key in self._nulls if key[0] == plan.name]:  # --accept reads a table twice
            del self._nulls[counted]
        columns = [table.columns[name] for name in plan.columns]
        stream = RowStream(self._connection, table, columns, self.batch_rows)
        try:
            for rows in stream:
                batch = self._batch(plan, columns, rows, stream.position)
                stream.saw(batch.nbytes)
                yield batch
        except self._errors as error:
            where = f"table {plan.name!r}, after row {stream.position} of the source"
            if self._is_dropped(error):
                raise ConnectionDropped(f"{where}: {self._reason(error)}") from error
            raise SourceUnreadable(
                f"{where}: the driver cannot read on: {self._reason(error)}; correct the row or the rights, leave its column out "
                "by --exclude, or the table: --tables with the others"
            ) from error

    def _batch(
        self, plan: TablePlan, columns: Sequence[SqlColumn], rows: Sequence[Sequence[Any]], position: int
    ) -> pa.RecordBatch:
        arrays = []
        for column, kind, found in zip(columns, plan.columns.values(), zip(*rows, strict=True), strict=True):
            values: Sequence[Any] = found
            if column.convert is not None:
                values = [None if value is None else column.convert(value) for value in values]
            try:
                arrays.append(self._array(plan.name, column, kind, values))
            except (ValueError, TypeError, OverflowError) as error:
                at = first_misfit(values, kind)
                key = {name: rows[at][list(plan.columns).index(name)] for name in plan.order_cols[:3]}
                raise ImportRefused(
                    f"table {plan.name!r}, column {column.name!r}, row {position + at} of the source ({key}): expected "
                    f"{column.sql_type} read as {kind}, got {type(values[at]).__name__} {values[at]!r:.80}; correct the value, "
                    f"or leave the column out by {exclude_option(f'{plan.name}.{column.name}')}"
                ) from error
        return pa.RecordBatch.from_arrays(arrays, names=list(plan.columns))

    def _array(self, table: str, column: SqlColumn, kind: Kind, values: Sequence[Any]) -> pa.Array:
        try:
            return to_arrow(values, kind)
        except (ValueError, TypeError, OverflowError):
            if kind != "timestamp" or self._backend not in ("mysql", "mariadb"):
                raise
        kept = []
        for value in values:  # MySQL's mark for no date
            is_zero = isinstance(value, str) and value.partition(".")[0] in _ZERO_DATES
            self._nulls[table, column.name, "0000-00-00"] += is_zero
            kept.append(None if is_zero else value)
        return to_arrow(kept, kind)

    def fingerprint(self) -> dict[str, str]:
        """Returns the SHA-256 of SQLite's files; {} for a server, of which nobody can tell cheaply whether its rows changed."""
        if not self._is_sqlite or (self._url.database or "").startswith("file:"):
            return {}
        files = [Path(f"{self._url.database}{suffix}") for suffix in ("", "-wal")]
        return {path.name: sha256_of(path) for path in files if path.is_file()}
