"""OtherLoad: what descendants use is not others' load, what a process beside them uses is."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from benchmarks.workers.other_load import OtherLoad, machine_s

SECONDS, WINDOWS, SLACK = 1.0, 20, 0.05
SPIN = "import time; end = time.time() + 60\nwhile time.time() < end: pass"
ORPHAN = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=-3, stderr=-3).pid)"  # DEVNULL


def holds_beside(spinning: psutil.Process, claim: Callable[[float, float, float], bool]) -> bool:
    """Returns whether a claim holds in one of WINDOWS windows in which a process spins, since a busy machine may look too late in some.

    Args:
        spinning: The process; it is killed in the end.
        claim: Given shares of the machine: (others', all that was used, the spinning process's).
    """

    def used_s() -> tuple[float, float]:
        return machine_s(), spinning.cpu_times().user

    try:
        for _ in range(WINDOWS):
            with OtherLoad() as load:
                begin_s, before = time.time(), used_s()
                time.sleep(SECONDS)
                end_s, after = time.time(), used_s()
            cores_s = (end_s - begin_s) * (psutil.cpu_count() or 1)
            everything, share = (after[0] - before[0]) / cores_s, (after[1] - before[1]) / cores_s
            if claim(load.share(begin_s, end_s), everything, share):
                return True
    finally:
        spinning.kill()
    return False


def test_a_process_beside_counts() -> None:
    out = subprocess.run([sys.executable, "-c", ORPHAN, SPIN], capture_output=True, text=True, check=True).stdout
    assert holds_beside(psutil.Process(int(out)), lambda others, everything, share: others > 0.7 * share - SLACK)


def test_a_child_does_not() -> None:
    with subprocess.Popen([sys.executable, "-c", SPIN]) as child:
        process = psutil.Process(child.pid)
        assert holds_beside(process, lambda others, everything, share: others < everything - 0.4 * share + SLACK)


def test_too_short_a_time_is_refused() -> None:
    with OtherLoad() as load:
        pass
    with pytest.raises(ValueError, match="expected 2"):
        load.share(time.time(), time.time() + 0.01)
