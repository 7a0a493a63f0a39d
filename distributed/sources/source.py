"""The interface that an import asks of a source, whatever it is: a SQL database, a DuckDB file, a folder of files.

A source is a context manager that is open inside. Promises: it writes nothing to what it reads; all rows are of one moment, or `notes` says which
are not; a value is delivered exactly or refused with its row. A server that drops its connection raises `ConnectionDropped`, upon which `read_whole`
reads everything anew, since another connection would see another moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

import pyarrow as pa

from distributed.schema.refusals import ImportRefused
from distributed.schema.source_table import SourceTable
from distributed.schema.table_plan import TablePlan

WAITS_S = (1.0, 5.0, 15.0)
"""The pauses before the second, third and fourth reading of a source whose connection was dropped."""
Result = TypeVar("Result")


class Source(Protocol):
    """One source of an import.

    Args:
        display: Its name in messages, manifests and `import.json`: no password, no path of this machine.
    """

    display: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def schemas(self) -> dict[str, SourceTable]:
        """Returns every table that can be imported, by its name inside.

        Raises:
            ImportRefused: What the source declares cannot be read, or contradicts itself.
        """
        ...

    def batches(self, plan: TablePlan) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table, columns in the order of `plan.columns`, types as in `ARROW_TYPES`.

        Raises:
            ImportRefused: A value does not fit its column.
            ConnectionDropped: The server is gone in the middle of it.
        """
        ...

    def notes(self) -> tuple[str, ...]:
        """Returns a line per decision that the source took so far: tables left out and why, values read as something else."""
        ...

    def fingerprint(self) -> dict[str, str]:
        """Returns a digest per file of the source; {} where nobody can tell cheaply whether rows changed."""
        ...


class ConnectionDropped(Exception):
    """The server closed the connection, or cannot be reached any more; the text says during what, without a password."""


def read_whole(read: Callable[[], Result], say: Callable[[str], None]) -> Result:
    """Returns what `read` returns; if the connection is dropped, reads again from the start, three times at most, each said.

    Raises:
        ImportRefused: The connection was dropped in the last reading, too.
    """
    for number, wait_s in enumerate(WAITS_S, start=1):
        try:
            return read()
        except ConnectionDropped as dropped:
            say(
                f"the connection was dropped: {dropped}; all tables are read again from the start, so that they are of one "
                f"moment ({number} of {len(WAITS_S)}, in {wait_s:g} s)"
            )
            time.sleep(wait_s)
    try:
        return read()
    except ConnectionDropped as dropped:
        raise ImportRefused(
            f"the connection was dropped {len(WAITS_S) + 1} times, the last time: {dropped}; expected a server that answers until "
            "all rows are read; look into its log, read from a replica, or import fewer tables at a time: --tables"
        ) from dropped
