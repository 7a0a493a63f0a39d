"""OtherLoad: what descendants use is not others' load, what a process beside them uses is."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.workers.other_load import OtherLoad, machine_s

SECONDS, SLACK = 1.5, 0.05
SPIN = "import time; end = time.time() + 60\nwhile time.time() < end: pass"
ORPHAN = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=-3, stderr=-3).pid)"  # DEVNULL


def shares_beside(spinning: psutil.Process) -> tuple[float, float, float]:
    """Shares of the machine while a process spins: (others', all that was used, the spinning process's)."""

    def used_s() -> tuple[float, float]:
        return machine_s(), spinning.cpu_times().user

    with OtherLoad() as load:
        begin_s, before = time.time(), used_s()
        time.sleep(SECONDS)
        end_s, after = time.time(), used_s()
    spinning.kill()
    cores_s = (end_s - begin_s) * (psutil.cpu_count() or 1)
    return load.share(begin_s, end_s), (after[0] - before[0]) / cores_s, (after[1] - before[1]) / cores_s


def test_a_process_beside_counts() -> None:
    out = subprocess.run([sys.executable, "-c", ORPHAN, SPIN], capture_output=True, text=True, check=True).stdout
    others, _, spinning = shares_beside(psutil.Process(int(out)))
    assert others > 0.7 * spinning - SLACK


def test_a_child_does_not() -> None:
    with subprocess.Popen([sys.executable, "-c", SPIN]) as child:
        others, everything, spinning = shares_beside(psutil.Process(child.pid))
    assert others < everything - 0.4 * spinning + SLACK


def test_too_short_a_time_is_refused() -> None:
    with OtherLoad() as load:
        time.sleep(0.6)
    with pytest.raises(ValueError, match="expected 2"):
        load.share(time.time(), time.time() + 0.01)
