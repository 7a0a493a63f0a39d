"""A SQL database as an import source: its schema by SQLAlchemy's inspector, its rows as a stream of Arrow batches.

In: an SQLAlchemy URL. Out: `SourceTable`s of the default schema's tables (no views) and their rows, in whatever order
the server likes: the import sorts. All tables are read in one transaction, repeatable-read where the database has it,
so a database in use gives one consistent picture. Memory: one batch of rows (server-side cursor where the driver has
one).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint
from sqlalchemy.types import NullType, TypeEngine

from distributed.schema.refusals import ImportRefused, SourceUnreadable, exclude_option
from distributed.schema.source_table import ForeignKey, Kind, SourceTable
from distributed.schema.table_plan import TablePlan
from distributed.sources.arrow_values import first_misfit, to_arrow
from rdl_core.checksums import sha256_of

_KINDS: tuple[tuple[type[TypeEngine[Any]] | tuple[type[TypeEngine[Any]], ...], Kind], ...] = (
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    ((sa.Numeric, sa.Float), "float"),
    ((sa.DateTime, sa.Date), "timestamp"),
    ((sa.String, sa.Uuid, sa.JSON, sa.Time), "text"),
)


class SqlSource:
    """A SQL database as a source; a context manager that is connected inside, and runs nothing but SELECTs.

    Raises:
        ImportRefused: The URL is wrong, its driver is missing, or there is no such file.
    """

    def __init__(self, source: str, batch_rows: int) -> None:
        self.batch_rows = batch_rows
        self._types: dict[tuple[str, str], TypeEngine[Any]] = {}
        try:
            self._url = sa.make_url(source)
            self._is_sqlite = self._url.get_backend_name() == "sqlite"
            self._refuse_missing_file()
            self._engine = sa.create_engine(self._url)
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            raise ImportRefused(
                f"--source: {error}; expected an SQLAlchemy URL such as sqlite:///shop.db or "
                "postgresql+psycopg://user@host/database, its driver installed "
                "(PostgreSQL: pip install 'psycopg[binary]')"
            ) from error
        # Neither passwords nor paths of this machine go into manifests.
        shown = self._url.set(database=Path(self._url.database or "").name) if self._is_sqlite else self._url
        self.display = shown.set(query={}).render_as_string(hide_password=True)

    def _refuse_missing_file(self) -> None:
        # SQLite would create an empty database, and report that it has no tables.
        database = self._url.database
        if not self._is_sqlite or (database or "").startswith("file:"):
            return
        if database in (None, "", ":memory:") or not Path(str(database)).is_file():
            raise ImportRefused(f"--source: no SQLite file at {database!r}; expected sqlite:///path/to/file.db")

    def __enter__(self) -> SqlSource:
        is_known = self._url.get_backend_name() in ("postgresql", "mysql", "mariadb")
        isolation = {"isolation_level": "REPEATABLE READ"} if is_known else {}
        try:
            self._connection = self._engine.connect().execution_options(**isolation)
            if self._is_sqlite:  # the standard library's driver opens no transaction for SELECTs
                self._connection.exec_driver_sql("BEGIN")
        except (sa.exc.DBAPIError, sa.exc.ArgumentError) as error:
            self._engine.dispose()
            reason = getattr(error, "orig", None) or error
            raise ImportRefused(f"--source {self.display}: cannot be opened: {reason}; check URL and rights") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._engine.dispose()

    def schemas(self) -> dict[str, SourceTable]:
        """Returns every table of the default schema, by name.

        Raises:
            ImportRefused: The file is no database, or the catalogue cannot be read.
        """
        try:
            inspector = sa.inspect(self._connection)
            return {name: self._schema(inspector, name) for name in sorted(inspector.get_table_names())}
        except sa.exc.DBAPIError as error:
            raise ImportRefused(f"--source {self.display}: the schema cannot be read: {error.orig}") from error

    def _schema(self, inspector: sa.Inspector, name: str) -> SourceTable:
        pkey = tuple(inspector.get_pk_constraint(name)["constrained_columns"])
        fkeys = [
            self._fkey(inspector, found)
            for found in inspector.get_foreign_keys(name)
            if found["referred_schema"] in (None, inspector.default_schema_name)
        ]
        keys = set(pkey) | {column for fkey in fkeys for column in fkey.columns}
        reflected = inspector.get_columns(name)
        self._types |= {(name, column["name"]): _base_type(column["type"]) for column in reflected}
        columns = {column["name"]: self._kind(name, column["name"], keys) for column in reflected}
        return SourceTable(
            name=name,
            columns=columns,
            pkey=pkey,
            fkeys=tuple(fkeys),
            text_types="time" if self._is_sqlite else "declared",
            unsupported={
                c["name"]: f"type {_type_name(c['type'])} is not supported"
                for c in reflected
                if columns[c["name"]] == "unsupported"
            },
        )

    def _fkey(self, inspector: sa.Inspector, found: ReflectedForeignKeyConstraint) -> ForeignKey:
        parent, parent_columns = found["referred_table"], found["referred_columns"]
        if self._is_sqlite:  # it keeps a reference as it was typed, and compares without case
            parent = _as_spelled(parent, inspector.get_table_names())
            if inspector.has_table(parent):
                spelled = [column["name"] for column in inspector.get_columns(parent)]
                parent_columns = [_as_spelled(column, spelled) for column in parent_columns]
        columns = tuple(found["constrained_columns"])
        return ForeignKey(columns=columns, parent=parent, parent_columns=tuple(parent_columns))

    def _kind(self, table: str, column: str, keys: set[str]) -> Kind:
        sql_type = self._types[table, column]
        kind: Kind = next((kind for classes, kind in _KINDS if isinstance(sql_type, classes)), "unsupported")
        if kind == "float" and column in keys and not getattr(sql_type, "scale", None):
            return "integer"  # NUMERIC(10) keys: a float would merge neighbours beyond 2**53
        return "text_time" if kind == "timestamp" and self._is_sqlite else kind

    def batches(self, plan: TablePlan) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table, `batch_rows` at a time, columns in the order of `plan.columns`.

        Raises:
            ImportRefused: A value does not fit its column's declared type (SQLite stores anything anywhere).
        """
        table = sa.table(plan.name, *(sa.column(name) for name in plan.columns))
        query = sa.select(*(self._selected(plan.name, column) for column in table.columns))
        position = 0
        dbapi_error: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        try:
            result = self._connection.execution_options(stream_results=True, yield_per=self.batch_rows).execute(query)
            try:
                for rows in result.partitions():
                    yield self._batch(plan, rows, position)
                    position += len(rows)
            finally:  # a row that is refused leaves the connection free for the other tables
                result.close()
        except (sa.exc.DBAPIError, dbapi_error) as error:
            raise SourceUnreadable(
                f"table {plan.name!r}, after row {position} of the source: the driver cannot read on: "
                f"{getattr(error, 'orig', None) or error}; correct the row, or leave its column out by --exclude"
            ) from error

    def _selected(self, table: str, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        name = str(column.key)
        if isinstance(self._types[table, name], sa.JSON):
            return sa.cast(column, sa.Text).label(name)
        # The driver's own values: SQLAlchemy's conversions would fail on odd SQLite values without naming the row.
        return sa.type_coerce(column, NullType()).label(name)

    def _batch(self, plan: TablePlan, rows: Sequence[sa.Row[Any]], position: int) -> pa.RecordBatch:
        arrays = []
        for (column, kind), values in zip(plan.columns.items(), zip(*rows, strict=True), strict=True):
            try:
                arrays.append(to_arrow(values, kind))
            except (ValueError, TypeError, OverflowError) as error:
                at = first_misfit(values, kind)
                key = {name: rows[at][list(plan.columns).index(name)] for name in plan.order_cols[:3]}
                sql_type = _type_name(self._types[plan.name, column])
                raise ImportRefused(
                    f"table {plan.name!r}, column {column!r}, row {position + at} of the source ({key}): expected "
                    f"{sql_type} read as {kind}, got {type(values[at]).__name__} {values[at]!r:.80}; correct the value, "
                    f"or leave the column out by {exclude_option(f'{plan.name}.{column}')}"
                ) from error
        return pa.RecordBatch.from_arrays(arrays, names=list(plan.columns))

    def notes(self) -> tuple[str, ...]:
        """Returns a line per table that is left out, and per kind of value that is read as something else."""
        return ()

    def fingerprint(self) -> dict[str, str]:
        """Returns the SHA-256 of SQLite's files; {} for a server, of which nobody can tell cheaply whether its rows changed."""
        if not self._is_sqlite or (self._url.database or "").startswith("file:"):
            return {}
        files = [Path(f"{self._url.database}{suffix}") for suffix in ("", "-wal")]
        return {path.name: sha256_of(path) for path in files if path.is_file()}


def _as_spelled(name: str, known: Sequence[str]) -> str:
    return next((other for other in known if other.casefold() == name.casefold()), name)


def _base_type(sql_type: TypeEngine[Any]) -> TypeEngine[Any]:
    """Returns the type below a PostgreSQL domain."""
    while isinstance(sql_type, DOMAIN):
        sql_type = sql_type.data_type
    return sql_type


def _type_name(sql_type: TypeEngine[Any]) -> str:
    return "(none declared or unknown)" if isinstance(sql_type, NullType) else str(sql_type)
