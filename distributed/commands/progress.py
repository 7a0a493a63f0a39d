"""The progress that people see while a store is made: a bar with rows and rate on a terminal, a line now and then in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed.console import bar, console, say

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

LOG_INTERVAL_S = 30.0
"""Seconds between lines where there is no terminal."""


@contextmanager
def materializing(dataset: RelBenchDataset) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """Yields what `materialize` takes as `progress` and `advance`, both of which any thread may call."""
    import pyarrow.parquet as pq

    num_rows = sum(pq.read_metadata(dataset.db_dir / f"{table}.parquet").num_rows for table in dataset.manifest.tables)
    lock, begun_s = threading.Lock(), time.monotonic()
    done, last_table, logged_s = 0.0, "keys and times", begun_s

    def text() -> str:
        rate = done / max(time.monotonic() - begun_s, 1e-3)
        return f"{rate:,.0f} rows/s, last: {last_table}"

    def show(table: str) -> None:
        nonlocal last_table
        with lock:
            last_table = table
            progress.update(task, text=text())

    def advance(rows: float) -> None:
        nonlocal done, logged_s
        with lock:
            done += rows
            progress.update(task, completed=done, text=text())
            if not console.is_terminal and time.monotonic() - logged_s >= LOG_INTERVAL_S:
                say(f"materializing: {done:,.0f} of {num_rows:,} rows ({done / max(num_rows, 1):.0%}), {text()}")
                logged_s = time.monotonic()

    with bar() as progress:
        task = progress.add_task("materializing", total=num_rows, text=text())
        yield show, advance
        progress.update(task, completed=num_rows)
