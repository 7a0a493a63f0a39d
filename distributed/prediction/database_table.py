"""Parts of predictions as a table of a database that SQLAlchemy reaches.

Promises: rows are written into `<table>_partial`, which takes the table's name when it is whole, all in one transaction where the database has
transactions for tables (PostgreSQL, SQLite; MySQL ends one at each CREATE); an error leaves the database as it was. A table that is there already is
refused before anything is computed, unless it is to be replaced. Memory: one part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from distributed.sources.credentials import display, hide
from rdl_core.problems import InputError

BATCH_ROWS = 5_000
"""Rows of one statement."""


def check_target(url: str, table: str, *, replace: bool) -> None:
    """Refuses a database that does not answer, and a table that is there already.

    Raises:
        InputError: Naming the remedy; no password is shown.
    """
    with _connected(url) as connection:
        if not replace and sa.inspect(connection).has_table(table):
            raise InputError(
                f"--to {display(connection.engine.url)} has a table {table!r} already. Remedy: another --table, or --replace"
            )


def write_table(parts: Iterable[Path], url: str, table: str, *, replace: bool) -> int:
    """Writes the parts, one after the other, into a table; returns its number of rows.

    Args:
        parts: Parquet files of one schema, at least one.
        url: SQLAlchemy URL.
        table: Name of the table.
        replace: Whether one that is there is replaced.

    Raises:
        InputError: The database refuses it, or the table is there.
    """
    files = list(parts)
    check_target(url, table, replace=replace)
    rows = 0
    with _connected(url) as connection:
        partial = sa.Table(f"{table}_partial", sa.MetaData(), *_columns(pq.read_schema(files[0])))
        partial.drop(connection, checkfirst=True)
        partial.create(connection)
        try:
            for file in files:
                for batch in pq.read_table(file).to_batches(max_chunksize=BATCH_ROWS):
                    connection.execute(partial.insert(), batch.to_pylist())
                    rows += len(batch)
            sa.Table(table, sa.MetaData()).drop(connection, checkfirst=True)
            quote = connection.dialect.identifier_preparer.quote
            connection.execute(sa.text(f"ALTER TABLE {quote(partial.name)} RENAME TO {quote(table)}"))
        except sa.exc.SQLAlchemyError:
            connection.rollback()
            partial.drop(connection, checkfirst=True)
            connection.commit()
            raise
        connection.commit()
    return rows


def _columns(schema: pa.Schema) -> list[sa.Column[Any]]:
    return [sa.Column(field.name, _type(field.type)) for field in schema]


def _type(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    if pa.types.is_dictionary(kind):
        return _type(kind.value_type)
    if pa.types.is_integer(kind):
        return sa.BigInteger()
    if pa.types.is_floating(kind):
        return sa.Double()
    if pa.types.is_timestamp(kind):
        return sa.DateTime(timezone=kind.tz is not None)
    if pa.types.is_date(kind):
        return sa.Date()
    if pa.types.is_decimal(kind):
        return sa.Numeric(kind.precision, kind.scale)
    return sa.LargeBinary() if pa.types.is_binary(kind) else sa.String(255)


@contextmanager
def _connected(text: str) -> Iterator[sa.Connection]:
    """A connection in one transaction, whose errors are InputErrors without passwords; what is not committed is taken back."""
    try:
        url = sa.make_url(text)
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ValueError):
        raise InputError("--to: no URL; expected one such as postgresql+psycopg://user@host/database") from None
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(f"--to {display(url)}: {error}. Remedy: install the database's driver") from None
    if url.get_backend_name() == "sqlite":
        _begin_at_once(engine)
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        said = hide(getattr(error, "orig", None) or error, url)
        raise InputError(
            f"--to {display(url)}: {' '.join(said.split())}. Remedy: correct the URL, or its rights"
        ) from None
    finally:
        engine.dispose()


def _begin_at_once(engine: sa.Engine) -> None:
    """Lets a transaction of SQLite hold CREATE and DROP, too, as SQLAlchemy's documentation of its driver says."""

    @sa.event.listens_for(engine, "connect")
    def by_hand(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")
