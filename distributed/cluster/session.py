"""Refuses to start, with the arithmetic, what would hang or run the wrong code; starts the local Ray session.

Train workers hold their CPUs for the whole run; Ray Data then waits silently for ever if none is left for its tasks. A local session therefore
takes as many logical CPUs as the run needs (they are counters, not cores) and says so; a cluster that has too few is refused.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.data
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distributed.console import say
from distributed.storage.remote_folder import RemoteFolder
from rdl_core.place import Place

BYTES_PER_WORKER = 1.5e9
"""Measured peak of a training worker on rel-f1 (0.9 GB) with room for a larger schema."""
LIMITS_S = {
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": 180,
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": 120,
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": 60,
}
"""What turns a hang of Ray Train into an error: a rank that does not come to a report, a worker that does not answer, a group that does not start.
The environment's own values go first."""
ELASTIC_LIMITS_S = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": 10}
"""For places in the cluster, which take a second where they are; an elastic group that has none is tried again with fewer workers."""
LOCAL_SESSION = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes away the one node; the watcher would be one more process
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",  # else it looks for new files ten times a second, for a driver that shows none
}
"""What a local session goes without: its processes share cores with workers."""
NO_SAMPLES_TIMEOUT_S = 300.0
"""Ray Data's: no block for so long is an error. Samplers compile for about 20 s on an idle core."""


def check_own_package() -> None:
    """Refuses when `import distributed` is, or may on a worker be, Dask's package of the same name.

    Raises:
        RuntimeError: Naming the remedy.
    """
    here = Path(__file__).resolve().parents[1]
    installed = list(importlib.metadata.distributions(name="distributed"))
    if installed:
        raise RuntimeError(
            f"Dask's package 'distributed' ({installed[0].version}) is installed in this environment and has the same import name as ours ({here}).\n"
            f"Remedy: use an environment of its own (`make` makes .venv), or `pip uninstall distributed`"
        )


def needed_cpus(workers: int, samplers: int) -> int:
    """Logical CPUs of a run: one a worker, one a sampler (two tasks of half a CPU), one for the driver's own tasks."""
    return workers + samplers + 1


def start_ray(workers: int, samplers: int, *, least: int | None = None) -> bool:
    """Connects to the cluster of RAY_ADDRESS (set by `ray job submit`), else starts a quiet local session large enough.

    Args:
        workers, samplers: Of the run.
        least: Of an elastic run: it begins with so many workers, which samplers then share CPUs with.

    Returns:
        Whether workers get a GPU each: whether the session has any.

    Raises:
        RuntimeError: Too little memory here, or too few CPUs or GPUs in the cluster.
    """
    check_own_package()
    cpus = needed_cpus(workers, samplers)
    is_elastic = least is not None and least < workers
    # Only a short polling interval keeps report(), which is a barrier, from pacing short runs.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    limits_s = LIMITS_S | (ELASTIC_LIMITS_S if is_elastic else {})
    for name, limit_s in limits_s.items():
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
        raise RuntimeError(
            f"the cluster has {have.get('CPU', 0):.0f} CPUs, the run needs {cpus} = {workers} workers + {samplers} samplers + 1; "
            f"it would wait for ever.\n"
            f"Remedy: fewer --workers or --samplers, or a larger cluster"
        )
    check_places([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
    if 0 < gpus < workers:
        raise RuntimeError(
            f"there are {gpus} GPUs for {workers} workers of one GPU each; the run would wait for ever.\n"
            f"Remedy: --workers {gpus}, or CUDA_VISIBLE_DEVICES= to train on CPUs"
        )
    _quiet_ray_data()
    return gpus > 0


def check_places(nodes: Sequence[Mapping[str, float]], workers: int) -> None:
    """Refuses workers for which the nodes, one by one, have no place: a worker needs a whole CPU, and memory, of one node.

    Args:
        nodes: Resources of each, as Ray names them ("CPU", "memory" in bytes).
        workers: Of the run.

    Raises:
        RuntimeError: With the arithmetic of each node.
    """
    places = [min(node.get("CPU", 0.0) // 1, node.get("memory", 0.0) // BYTES_PER_WORKER) for node in nodes]
    if sum(places) < workers:
        lines = [
            f"  node {i}: {node.get('CPU', 0.0):g} CPUs, {node.get('memory', 0.0) / 1e9:.1f} GB: {place:.0f} workers"
            for i, (node, place) in enumerate(zip(nodes, places, strict=True))
        ]
        raise RuntimeError(
            f"{workers} workers of 1 CPU and {BYTES_PER_WORKER / 1e9:.1f} GB each, but there is place for {sum(places):.0f}; "
            f"the run would wait for ever:\n" + "\n".join(lines) + "\nRemedy: fewer --workers, or more or larger nodes"
        )


def check_every_node(run_dir: Path, store: Place, data: Place | None = None) -> None:
    """Sees to it that every node has the store and, if workers read it, the data, and that it sees the run's folder.

    Raises:
        RuntimeError: A folder is not shared.
        OSError: A remote store cannot be fetched.
    """
    if len(ray.nodes()) > 1:
        for folder in (run_dir, *([Path(store)] if isinstance(store, str | Path) else [])):
            check_shared(folder)
        if isinstance(data, str | Path) and (manifest := Path(data) / "manifest.yaml").exists():  # else a hub's name
            _require_seen(manifest, f"{data} is not on", "--data on storage that all nodes mount, or at a URL")
    for place in (store, data):
        if isinstance(place, RemoteFolder):
            say(fetch_on_every_node(place))


def check_shared(folder: Path) -> None:
    """Refuses a folder that is not the same on every node of the session; checkpoints and stores must be.

    Raises:
        RuntimeError: Naming the nodes that do not see it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f".shared-{uuid.uuid4().hex}"
    marker.touch()
    try:
        remedy = "--runs-dir (and the store in it) on storage that all nodes mount"
        _require_seen(marker, f"{folder} is not the same folder on", remedy)
    finally:
        marker.unlink()


def _require_seen(path: Path, what: str, remedy: str) -> None:
    nodes = [(n["NodeID"], n["NodeManagerHostname"]) for n in ray.nodes() if n["Alive"]]
    on = [NodeAffinitySchedulingStrategy(node_id, soft=False) for node_id, _ in nodes]
    seen = ray.get([_exists.options(scheduling_strategy=s).remote(str(path)) for s in on])
    if missing := [host for (_, host), is_seen in zip(nodes, seen, strict=True) if not is_seen]:
        raise RuntimeError(
            f"{what} {len(missing)} of {len(nodes)} nodes: {', '.join(missing)} do not see what this node has there.\n"
            f"Remedy: {remedy}"
        )


@ray.remote(num_cpus=0)
def _exists(path: str) -> bool:
    return Path(path).exists()


def fetch_on_every_node(folder: RemoteFolder) -> str:
    """Has every node of the session fetch its copy, before anything waits for it; returns what was done, for people.

    A node that joins later fetches its own when the first process of it opens the folder.

    Raises:
        OSError: A node could not, for instance for want of credentials or disk.
    """
    begun_s = time.monotonic()
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"]]
    on = [NodeAffinitySchedulingStrategy(node_id, soft=True) for node_id in nodes]  # soft: a node may die meanwhile
    try:
        ray.get([_fetch.options(scheduling_strategy=s).remote(folder) for s in on])
    except ray.exceptions.RayTaskError as error:
        raise OSError(f"a node cannot fetch {folder}: {error.cause}") from error
    seconds = time.monotonic() - begun_s
    return f"store {folder}: a copy on {len(nodes)} node{'s' * (len(nodes) > 1)} after {seconds:.1f} s"


@ray.remote(num_cpus=0)
def _fetch(folder: RemoteFolder) -> None:
    folder.local()


def _our_code() -> dict[str, Any]:
    """The runtime environment that brings our packages to every node of a cluster."""
    root = Path(__file__).resolve().parents[2]
    return {"py_modules": [str(root / name) for name in ("rdl_core", "distributed", "tune")]}


def _start_local(workers: int, needed_cpus: int, samplers: int) -> None:
    free, needed = psutil.virtual_memory().available, workers * BYTES_PER_WORKER
    if free < needed:
        raise RuntimeError(
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
