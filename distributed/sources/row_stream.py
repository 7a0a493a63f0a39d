"""The rows of one table of a SQL database, in blocks that fit into memory, inside the transaction that is open.

A table whose primary key is one integer is read in chunks by key (`WHERE key > last ORDER BY key LIMIT n`): no result stays open while the import
works, which servers end after a while. Any other is read through one server-side cursor. A block has at most `batch_rows` rows, fewer if
rows are long: about 64 MB of Arrow data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from distributed.sources.catalogue import SqlColumn, SqlTable, sql_name

_FIRST_ROWS = 1_000
_BLOCK_BYTES = 1 << 26


class RowStream:
    """Iterates over blocks of rows; `position` is the number of rows before the block that was yielded last.

    Args:
        connection: Connection with an open transaction.
        table: The table.
        columns: Its columns to read, in this order.
        batch_rows: The most rows of a block.
    """

    def __init__(
        self, connection: sa.Connection, table: SqlTable, columns: Sequence[SqlColumn], batch_rows: int
    ) -> None:
        self.connection, self.table, self.columns, self.batch_rows = connection, table, columns, batch_rows
        self.position = 0
        self.num_rows = min(_FIRST_ROWS, batch_rows)

    def saw(self, num_bytes: int) -> None:
        """Sets the size of the next block by the bytes of the last."""
        fitting = int(self.num_rows * _BLOCK_BYTES / max(num_bytes, 1))
        self.num_rows = max(1, min(self.batch_rows, 10 * self.num_rows, fitting))

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]:
        blocks = self._by_key() if self._is_keyed() else self._by_cursor()
        for rows in blocks:
            yield rows
            self.position += len(rows)

    def _is_keyed(self) -> bool:
        key = self.table.columns.get(self.table.pkey[0]) if len(self.table.pkey) == 1 else None
        return (
            self.connection.dialect.name != "sqlite"
            and key is not None
            and key.kind == "integer"
            and not key.select
            and not self.table.only
        )

    def _query(self) -> sa.Select[Any]:
        # The driver's own values: SQLAlchemy's conversions would fail on odd SQLite values without naming the row.
        selected: list[sa.ColumnElement[Any]] = [
            sa.literal_column(
                (column.select or "{}").replace("{}", f"t.{sql_name(self.connection, column.name)}")
            ).label(f"c{number}")
            for number, column in enumerate(self.columns)
        ]
        relation = sa.table(self.table.name, schema=self.table.schema or None).alias("t")
        query = sa.select(*selected).select_from(relation)
        return query.with_hint(relation, "ONLY", "postgresql") if self.table.only else query

    def _by_key(self) -> Iterator[Sequence[Sequence[Any]]]:
        key: sa.ColumnElement[Any] = sa.literal_column(
            f"t.{sql_name(self.connection, self.table.pkey[0])}", sa.BigInteger()
        )
        query = self._query().add_columns(key.label("last_key")).order_by(key)
        last: int | None = None
        while True:
            part, limit = (query if last is None else query.where(key > last)), self.num_rows
            rows = self.connection.execute(part.limit(limit)).fetchall()
            if rows:
                yield [row[:-1] for row in rows]
            if len(rows) < limit:
                return
            last = int(rows[-1][-1])

    def _by_cursor(self) -> Iterator[Sequence[Sequence[Any]]]:
        result = self.connection.execute(self._query().execution_options(stream_results=True))
        driver = self.connection.connection.dbapi_connection
        try:
            while rows := result.fetchmany(self.num_rows):
                yield rows
        except Exception:
            _forget_lost_result(driver)
            raise
        finally:  # a row that is refused leaves the connection free for the other tables
            result.close()


def _forget_lost_result(driver: Any) -> None:
    """Tells PyMySQL that the rest of a result will not come: it reads to the end when it closes one, which a lost connection cannot."""
    result = getattr(driver, "_result", None)
    if result is not None and not getattr(driver, "open", True):
        result.unbuffered_active = False
