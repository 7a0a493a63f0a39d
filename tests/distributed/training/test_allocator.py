"""The environment of training processes keeps memory from one step to the next."""

import os
import platform
import subprocess
import sys

import pytest

from distributed.training.allocator import ENVIRONMENT

STEPS = """
import resource
def step():
    return [bytearray(n) for n in (3 << 20, 40 << 20, 1 << 18)] and resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
before = step()
for _ in range(5):
    after = step()
print(after - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the environment is read by glibc alone")
def test_memory_of_a_step_is_there_in_the_next_one() -> None:
    faults = []
    for environment in ({}, ENVIRONMENT):
        clean = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT} | environment
        out = subprocess.run([sys.executable, "-c", STEPS], env=clean, check=True, capture_output=True, text=True)
        faults.append(int(out.stdout))
    assert faults[0] > 1000  # else there is nothing to gain
    assert faults[1] < 50
