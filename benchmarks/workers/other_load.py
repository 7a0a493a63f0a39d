"""The share of the machine that other processes take while something is measured.

Promises: this process and its descendants are not counted, ended ones included up to the last look (every LOOK_S). A share of 0.05 on two
cores is a tenth of a core.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
import time
from types import TracebackType

import psutil

LOOK_S = 0.25


def machine_s() -> float:
    """Returns the CPU seconds of all processes on this machine since it started."""
    of_all = psutil.cpu_times()
    return sum(getattr(of_all, kind, 0.0) for kind in ("user", "system", "nice", "irq", "softirq", "steal"))


class OtherLoad:
    """Looks at the machine as long as it is entered."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, float]] = []
        self._used_s: dict[int, float] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> OtherLoad:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def share(self, begin_s: float, end_s: float) -> float:
        """Returns the share of all cores' time between two moments (of time.time()) that other processes used.

        Raises:
            ValueError: Fewer than two looks were made in that time.
        """
        times = [at_s for at_s, _ in self._looks]
        inside = self._looks[bisect.bisect_left(times, begin_s) : bisect.bisect_right(times, end_s)]
        if len(inside) < 2:
            raise ValueError(f"{end_s - begin_s:.2f} s hold {len(inside)} looks, expected 2: look for longer")
        (first_s, before), (last_s, after) = inside[0], inside[-1]
        return max(0.0, after - before) / ((last_s - first_s) * (psutil.cpu_count() or 1))

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_S):
            self._looks.append((time.time(), self._others_s()))

    def _others_s(self) -> float:
        busy_s, me = machine_s(), psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended; its time up to the last look counts
                used = process.cpu_times()
                self._used_s[process.pid] = used.user + used.system
        return busy_s - sum(self._used_s.values())
