"""Times of several calls taken in turns, so that other load of the machine slows all of them alike.

A ratio of two of these is worth more than either: give ratios of medians from one `in_turns`.
"""

from __future__ import annotations

import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path


def in_turns(calls: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Returns the median seconds of each call.

    Args:
        calls: {name: call}; each call gets the number of the round. Round 0 warms up and is not counted.
        rounds: Number of counted rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call(number)
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Runs each call in a thread of its own and waits for all.

    Raises:
        Exception: The first failed call raised it.
    """
    errors: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  raised below, in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def conditions() -> str:
    """Returns machine, load and versions in one line."""
    info = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy", "torch", "ray"))
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{os.cpu_count()} cores {models[0] if models else platform.processor()}, {load}; Python {platform.python_version()}, {versions}"
