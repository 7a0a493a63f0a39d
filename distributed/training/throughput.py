"""Throughput: how fast a run goes, and how long this worker waits for samples, in the window since the last validation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Throughput:
    """The clock of one worker; steps are in step over all workers, so its rates are the run's."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begins a window: after a validation, and after the first step of a group, which has the pipeline's start in it."""
        self._begun_s, self._waited_s, self._rows, self._steps = time.perf_counter(), 0.0, 0, 0

    def waiting(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yields the same items; the time until each comes counts as waiting."""
        while True:
            begun_s = time.perf_counter()
            item = next(items, None)
            self._waited_s += time.perf_counter() - begun_s
            if item is None:
                return
            yield item

    def add(self, rows: int) -> None:
        """Counts a step on so many rows over all workers."""
        self._steps += 1
        self._rows += rows

    def rates(self) -> dict[str, float]:
        """Returns {"rows_per_s", "steps_per_s", "data_wait_share"} of the window, {} before its first step."""
        seconds = time.perf_counter() - self._begun_s
        per_s = {"rows_per_s": self._rows, "steps_per_s": self._steps, "data_wait_share": self._waited_s}
        return {name: value / seconds for name, value in per_s.items()} if self._steps else {}
