"""Whether Ray's object stores have room for the samples in flight, and lie in memory.

Ray Data holds its tasks back while the object stores are full; blocks that never fit would make it wait for ever, without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distributed.console import say

DATA_SHARE = 0.5
"""Of the object stores, what Ray Data uses at most."""


def check_object_store(nodes: Sequence[Mapping[str, float]], block_bytes: int, workers: int, samplers: int) -> None:
    """Refuses blocks of samples that Ray's object store has no room for: Ray Data would hold its tasks back for ever.

    Args:
        nodes: Resources of each, as Ray names them ("object_store_memory" in bytes).
        block_bytes: Of a block of samples, at most.
        workers, samplers: Of the run.

    Raises:
        RuntimeError: With the arithmetic.
    """
    blocks = workers + samplers  # the least with which a run gets on; with more room, more are fetched ahead
    needed, have = blocks * block_bytes, sum(node.get("object_store_memory", 0.0) for node in nodes)
    if needed > DATA_SHARE * have:
        raise RuntimeError(
            f"{blocks} blocks of samples in flight (one a worker in work, one a sampler in the making) "
            f"of up to {block_bytes / 1e6:.0f} MB take {needed / 1e9:.2f} GB; "
            f"Ray Data may use {DATA_SHARE * have / 1e9:.2f} GB, {DATA_SHARE:.0%} of the object stores of "
            f"{len(nodes)} nodes; the run would wait for ever.\n"
            f"Remedy: nodes with more memory (or `ray start --object-store-memory`), fewer --workers or --samplers, or smaller subgraphs"
        )


def warn_of_small_shared_memory() -> None:
    """Says on which nodes the object store does not fit /dev/shm: Ray then keeps it on disk without a word that anyone sees."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:  # this one: no need to start a process for the question
        sizes = [_shared_memory_bytes()]
    else:
        on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        ask = ray.remote(num_cpus=0)(_shared_memory_bytes)
        sizes = ray.get([ask.options(scheduling_strategy=s).remote() for s in on])
    for node, have in zip(nodes, sizes, strict=True):
        needed = node["Resources"].get("object_store_memory", 0.0)
        if 0 < have < needed:
            say(
                f"node {node['NodeManagerHostname']}: /dev/shm has {have / 1e9:.2f} GB, the object store {needed / 1e9:.2f} GB, "
                f"so it lies on disk and is slow. Remedy: more shared memory (docker run --shm-size)"
            )


def _shared_memory_bytes() -> int:
    folder = Path("/dev/shm")
    return psutil.disk_usage(str(folder)).total if folder.exists() else 0
