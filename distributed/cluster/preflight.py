"""Checks that refuse, with the arithmetic, a run that would wait for ever or run the wrong code; and the copies that each node fetches beforehand.

Train workers hold their CPUs for the whole run; Ray Data then waits silently for ever if none is left for its tasks, or if the object stores have no
room for its blocks. Workers that have no place are waited for as silently.
"""

from __future__ import annotations

import importlib.metadata
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distributed.cannot_run import CannotRun
from distributed.console import say
from distributed.storage.remote_folder import RemoteFolder
from rdl_core.place import Place

BYTES_PER_WORKER = 1.5e9
"""Measured peak of a training worker on rel-f1 (0.9 GB) with room for a larger schema."""
DATA_SHARE = 0.5
"""Share of the object stores that Ray Data uses at most."""


def check_own_package() -> None:
    """Refuses when `import distributed` is, or may on a worker be, Dask's package of the same name.

    Raises:
        CannotRun: Naming the remedy.
    """
    here = Path(__file__).resolve().parents[1]
    installed = list(importlib.metadata.distributions(name="distributed"))
    if installed:
        raise CannotRun(
            f"Dask's package 'distributed' ({installed[0].version}) is installed in this environment and has the same import name as ours ({here}).\n"
            f"Remedy: use an environment of its own (`make` makes .venv), or `pip uninstall distributed`"
        )


def needed_cpus(workers: int, samplers: int) -> int:
    """Returns the logical CPUs of a run: one per worker, one per sampler (two tasks of half a CPU), one for the driver's own tasks."""
    return workers + samplers + 1


def places_on(node: Mapping[str, float], *, whole_cpus: bool = True) -> float:
    """Returns how many workers a node has place for: by memory and, unless its CPUs are counters, by whole CPUs."""
    by_memory = node.get("memory", 0.0) // BYTES_PER_WORKER
    return min(node.get("CPU", 0.0) // 1, by_memory) if whole_cpus else by_memory


def check_places(nodes: Sequence[Mapping[str, float]], workers: int) -> None:
    """Refuses workers for which the nodes, one by one, have no place: a worker needs a whole CPU, and memory, of one node.

    Args:
        nodes: Resources of each, as Ray names them ("CPU", "memory" in bytes).
        workers: Workers of the run.

    Raises:
        CannotRun: With the arithmetic of each node.
    """
    places = [places_on(node) for node in nodes]
    if sum(places) < workers:
        lines = [
            f"  node {i}: {node.get('CPU', 0.0):g} CPUs, {node.get('memory', 0.0) / 1e9:.1f} GB: {place:.0f} workers"
            for i, (node, place) in enumerate(zip(nodes, places, strict=True))
        ]
        raise CannotRun(
            f"{workers} workers of 1 CPU and {BYTES_PER_WORKER / 1e9:.1f} GB each, but there is place for {sum(places):.0f}; "
            f"the run would wait for ever:\n" + "\n".join(lines) + "\nRemedy: fewer --workers, or more or larger nodes"
        )


def check_object_store(nodes: Sequence[Mapping[str, float]], block_bytes: int, workers: int, samplers: int) -> None:
    """Refuses blocks of samples that Ray's object stores have no room for: Ray Data would hold its tasks back for ever.

    Args:
        nodes: Resources of each, as Ray names them ("object_store_memory" in bytes).
        block_bytes: Size of a block of samples, at most.
        workers, samplers: Numbers of them in the run.

    Raises:
        CannotRun: With the arithmetic.
    """
    blocks = workers + samplers  # the least with which a run gets on; with more room, more are fetched ahead
    needed, have = blocks * block_bytes, sum(node.get("object_store_memory", 0.0) for node in nodes)
    if needed > DATA_SHARE * have:
        raise CannotRun(
            f"{blocks} blocks of samples in flight (one per worker in work, one per sampler in the making) "
            f"of up to {block_bytes / 1e6:.0f} MB take {needed / 1e9:.2f} GB; "
            f"Ray Data may use {DATA_SHARE * have / 1e9:.2f} GB, {DATA_SHARE:.0%} of the object stores of "
            f"{len(nodes)} nodes; the run would wait for ever.\n"
            f"Remedy: nodes with more memory (or `ray start --object-store-memory`), fewer --workers or --samplers, or smaller subgraphs"
        )


def check_every_node(run_dir: Path, store: Place, data: Place | None = None) -> None:
    """Sees to it that every node has the store and, if workers read it, the data, and that it sees the run's folder.

    Raises:
        CannotRun: A folder is not shared.
        OSError: A remote store cannot be fetched.
    """
    if len(alive_nodes()) > 1:
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
        CannotRun: Naming the nodes that do not see it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f".shared-{uuid.uuid4().hex}"
    marker.touch()
    try:
        remedy = "--runs-dir (and the store in it) on storage that all nodes mount"
        _require_seen(marker, f"{folder} is not the same folder on", remedy)
    finally:
        marker.unlink()


def fetch_on_every_node(folder: RemoteFolder) -> str:
    """Has every node of the session fetch its copy, before anything waits for it; returns what was done, for people.

    A node that joins later fetches its own when its first process opens the folder.

    Raises:
        OSError: A node could not, for instance for want of credentials or disk.
    """
    begun_s = time.monotonic()
    try:
        num_nodes = len(on_every_node(RemoteFolder.local, folder, may_move=True))
    except ray.exceptions.RayTaskError as error:
        raise OSError(f"a node cannot fetch {folder}: {error.cause}") from error
    seconds = time.monotonic() - begun_s
    return f"store {folder}: a copy on {num_nodes} node{'s' * (num_nodes > 1)} after {seconds:.1f} s"


def alive_nodes() -> list[dict[str, Any]]:
    """Returns the nodes of the session, as `ray.nodes()` describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def on_every_node(function: Callable[..., Any], *arguments: Any, may_move: bool = False) -> list[Any]:
    """Returns what a function gives on each node, in the order of `alive_nodes`; it runs as tasks of no CPU.

    Args:
        function, arguments: What is called.
        may_move: Whether another node may do it for one that dies meanwhile.
    """
    task = ray.remote(num_cpus=0)(function)
    nodes = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=may_move) for node in alive_nodes()]
    return ray.get([task.options(scheduling_strategy=node).remote(*arguments) for node in nodes])


def _require_seen(path: Path, what: str, remedy: str) -> None:
    seen = on_every_node(os.path.exists, str(path))
    hosts = [node["NodeManagerHostname"] for node in alive_nodes()]
    if missing := [host for host, is_seen in zip(hosts, seen, strict=True) if not is_seen]:
        raise CannotRun(
            f"{what} {len(missing)} of {len(hosts)} nodes: {', '.join(missing)} do not see what this node has there.\n"
            f"Remedy: {remedy}"
        )
