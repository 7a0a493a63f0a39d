"""A local session that this machine has no memory for is refused."""

from __future__ import annotations

import psutil
import pytest

from distributed.cannot_run import CannotRun
from distributed.cluster.preflight import BYTES_PER_WORKER, needed_cpus
from distributed.cluster.session import _start_local


def test_more_workers_than_memory_are_refused_with_the_arithmetic() -> None:
    workers = int(psutil.virtual_memory().total / BYTES_PER_WORKER) + 1
    with pytest.raises(CannotRun, match=rf"^{workers} workers need about {workers * 1.5:.1f} GB, \d+\.\d GB are free"):
        _start_local(workers, needed_cpus(workers, 1), samplers=1)
