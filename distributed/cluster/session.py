"""`start_ray`: connects to a cluster, or starts a local session; large enough for the run, or refused (preflight.py).

A local session takes as many logical CPUs as the run needs (they are counters, not cores) and says so; a cluster that has too few is refused.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.data

from distributed.cannot_run import CannotRun
from distributed.cluster.preflight import (
    BYTES_PER_WORKER,
    alive_nodes,
    check_own_package,
    check_places,
    needed_cpus,
)
from distributed.console import say

LIMITS_S = {
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": 180,
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": 120,
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": 60,
}
"""Limits that turn a hang of Ray Train into an error: a rank that does not come to a report, a worker that does not answer, a group that does not
start. The environment's own values go first."""
ELASTIC_LIMITS_S = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": 10}
"""For places in the cluster, which take a second where they are; an elastic group that has none is tried again with fewer workers."""
LOCAL_SESSION = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes away the one node; the watcher would be one more process
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",  # else it looks for new files ten times a second, for a driver that shows none
}
"""Services that a local session goes without: its processes share cores with workers."""
NO_SAMPLES_TIMEOUT_S = 300.0
"""Seconds without a block after which Ray Data raises. Samplers compile for about 20 s on an idle core."""


def start_ray(workers: int, samplers: int, *, least: int | None = None) -> bool:
    """Connects to the cluster of RAY_ADDRESS (set by `ray job submit`), else starts a quiet local session large enough.

    Args:
        workers, samplers: Numbers of them in the run.
        least: An elastic run begins with so many workers, which samplers then share CPUs with.

    Returns:
        Whether workers get a GPU each: whether the session has any.

    Raises:
        CannotRun: Too little memory here, or too few CPUs or GPUs in the cluster.
    """
    check_own_package()
    cpus = needed_cpus(workers, samplers)
    is_elastic = least is not None and least < workers
    # Only a short polling interval keeps report(), which is a barrier, from pacing short runs.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    for name, limit_s in (LIMITS_S | (ELASTIC_LIMITS_S if is_elastic else {})).items():
        os.environ.setdefault(name, str(limit_s))
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(address="auto", runtime_env=_our_code(), log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start_local(workers, cpus, samplers)
    have = ray.cluster_resources()
    gpus = int(have.get("GPU", 0))
    if is_elastic:
        assert least is not None
        workers = least
    elif have.get("CPU", 0) < cpus:
        raise CannotRun(
            f"the cluster has {have.get('CPU', 0):.0f} CPUs, the run needs {cpus} = {workers} workers + {samplers} samplers + 1; "
            f"it would wait for ever.\n"
            f"Remedy: fewer --workers or --samplers, or a larger cluster"
        )
    check_places([node["Resources"] for node in alive_nodes()], workers)
    if 0 < gpus < workers:
        raise CannotRun(
            f"there are {gpus} GPUs for {workers} workers of one GPU each; the run would wait for ever.\n"
            f"Remedy: --workers {gpus}, or CUDA_VISIBLE_DEVICES= to train on CPUs"
        )
    _quiet_ray_data()
    return gpus > 0


def _our_code() -> dict[str, Any]:
    """Returns the runtime environment that brings our packages to every node of a cluster."""
    root = Path(__file__).resolve().parents[2]
    return {"py_modules": [str(root / name) for name in ("rdl_core", "distributed", "tune")]}


def _start_local(workers: int, needed_cpus: int, samplers: int) -> None:
    free, needed = psutil.virtual_memory().available, workers * BYTES_PER_WORKER
    if free < needed:
        raise CannotRun(
            f"{workers} workers need about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free.\nRemedy: fewer --workers"
        )
    cores = os.cpu_count() or 1
    # Ray ends idle processes above the number of CPUs, and two tasks of half a CPU are two processes.
    cpus = max(needed_cpus + samplers, cores)
    say(
        f"Ray: local session with {cpus} logical CPUs on {cores} cores ({needed_cpus} needed: {workers} workers, samplers, driver)"
    )
    for name, value in LOCAL_SESSION.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def _quiet_ray_data() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = NO_SAMPLES_TIMEOUT_S
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
