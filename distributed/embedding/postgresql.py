"""A folder of embeddings as a table of PostgreSQL: key columns, time, and a column that pgvector searches.

The column is vector(n) where the database has the extension pgvector, in whose own text form, '[0.5,-1]', vectors are written; else real[]. Promises:
one transaction, so that the table is there whole or not at all; a table that is there already is refused before anything is computed.
Memory: one part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from distributed.sources.credentials import display, hide
from rdl_core.embedding.folder import EMBEDDING, TIME, EmbeddingsFolder, vectors_of
from rdl_core.problems import InputError

MAX_VECTOR_CHANNELS = 16_000
"""The longest vector that pgvector's type holds."""


def check_target(url: str, table: str) -> None:
    """Raises InputError if the URL is none of PostgreSQL, the database does not answer, or it has such a table already."""
    with _connected(url) as connection:
        if sa.inspect(connection).has_table(table):
            raise InputError(
                f"--to {display(connection.engine.url)} has a table {table!r} already.\nRemedy: another --to-table, or DROP TABLE it first"
            )


def write_table(folder: EmbeddingsFolder, url: str, table: str) -> tuple[int, str]:
    """Makes a table of whole embeddings.

    Args:
        folder: The embeddings.
        url: SQLAlchemy URL of the database.
        table: Name of the table, which must not exist.

    Returns:
        (rows, type of the column).

    Raises:
        InputError: The database does not take it; then nothing of it is there.
        FileNotFoundError: Parts are missing.
    """
    parts, rows = folder.parts(), 0
    with _connected(url) as connection:
        kind = _vector_type(connection, folder.about.channels)
        is_vector = not kind.endswith("[]")
        quote = connection.dialect.identifier_preparer.quote
        driver: Any = connection.connection.dbapi_connection
        with driver.cursor() as cursor:
            for number, part in enumerate(parts):
                if number == 0:
                    columns = _columns(part.schema, kind)
                    declared = ", ".join(f"{quote(name)} {sql}" for name, sql in columns.items())
                    keys = ", ".join(map(quote, folder.about.key_columns))
                    cursor.execute(f"CREATE TABLE {quote(table)} ({declared}, UNIQUE ({keys}))")
                with cursor.copy(f"COPY {quote(table)} FROM STDIN") as copy:
                    for row in _rows(part, is_vector=is_vector):
                        copy.write_row(row)
                rows += len(part)
        connection.commit()
    return rows, kind


@contextmanager
def _connected(text: str) -> Iterator[sa.Connection]:
    """A connection whose errors are InputErrors, without passwords; what is not committed is taken back."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise InputError("--to: no URL; expected one such as postgresql+psycopg://user@host/database") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise InputError(
            f"--to {display(url)}: expected a PostgreSQL database, such as postgresql://user@host/database"
        )
    url = url.set(drivername="postgresql+psycopg")
    try:
        import psycopg
    except ModuleNotFoundError:
        raise InputError("--to needs the driver of PostgreSQL: pip install 'psycopg[binary]'") from None
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
        reason = hide(getattr(error, "orig", None) or error, url).strip()
        raise InputError(f"--to {display(url)}: {reason}; nothing was written. Remedy: check URL and rights") from None
    finally:
        engine.dispose()


def _vector_type(connection: sa.Connection, channels: int) -> str:
    """Returns the type of the column: pgvector's, in whatever schema it is, where the extension is there."""
    found = connection.execute(
        sa.text(
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector'"
        )
    ).scalar()
    return "real[]" if found is None or channels > MAX_VECTOR_CHANNELS else f"{found}.vector({channels})"


def _columns(schema: pa.Schema, kind: str) -> dict[str, str]:
    types = {TIME: "timestamp with time zone", EMBEDDING: kind}
    return {field.name: types.get(field.name) or _sql_type(field) for field in schema}


def _sql_type(field: pa.Field) -> str:
    """Returns the type of a key's column."""
    kinds = (
        (pa.types.is_uint64, "numeric(20)"),
        (pa.types.is_integer, "bigint"),
        (pa.types.is_floating, "double precision"),
        (pa.types.is_decimal, "numeric"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_date, "date"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
    )
    for is_of, sql in kinds:
        if is_of(field.type):
            return sql
    raise InputError(
        f"key column {field.name!r} is of type {field.type}, for which --to knows no type of PostgreSQL; use --row-numbers"
    )


def _rows(part: pa.Table, *, is_vector: bool) -> Iterator[list[Any]]:
    """Yields the rows of a part as COPY takes them."""
    others = part.drop_columns([EMBEDDING])
    values = [column.to_pylist() for column in others.columns]
    for row in zip(*values, _texts(vectors_of(part), is_vector=is_vector), strict=True):
        yield list(row)


def _texts(vectors: NDArray[np.float32], *, is_vector: bool) -> Iterator[str]:
    """Yields each vector as text, nine digits a number, by which a float32 is told from any other."""
    form = ",".join(["%.9g"] * vectors.shape[1])
    form = f"[{form}]" if is_vector else f"{{{form}}}"
    for vector in vectors.tolist():
        yield form % tuple(vector)
