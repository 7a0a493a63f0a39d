"""Throughput: how fast a run goes and how long it waits for samples, measured on each worker and reduced over all.

Promises: windows run from one report to the next and leave validations and the start of the pipeline out; the figures over all workers are means
of shares and sums of rows, the same on every rank.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

import torch

from rdl_core.communicator import Communicator

Item = TypeVar("Item")


class Throughput:
    """The clock of one worker, over the window since the last `restart`.

    Args:
        communicator: Joins the run's workers.
        device: Device of its collectives.
    """

    def __init__(self, communicator: Communicator, device: torch.device) -> None:
        self._communicator, self._device = communicator, device
        self.restart()

    def restart(self) -> None:
        """Begins a window: after a validation, and after the first step of a group."""
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

    def over_all(self) -> dict[str, float]:
        """Returns {"rows_per_s", "steps_per_s", "data_wait_share"} of the window over all workers, {} before the first step; a collective."""
        seconds = time.perf_counter() - self._begun_s
        mine = torch.tensor([self._waited_s, seconds], dtype=torch.float64, device=self._device)
        waited_s, seconds_of_all = self._communicator.sum(mine).tolist()
        if self._steps == 0:
            return {}
        mean_s = seconds_of_all / self._communicator.world_size
        return {
            "rows_per_s": self._rows / mean_s, "steps_per_s": self._steps / mean_s, "data_wait_share": waited_s / seconds_of_all,
        }  # fmt: skip
