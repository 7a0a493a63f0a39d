"""Placement: where the graph is, mapped by every process or in shares held by GraphShard actors.

Promises: `placement` says what it chose and why; a GraphShard that dies is started again by Ray, loads its share from the store and answers the
pending requests again: they are pure, so no subgraph is lost or doubled. Both placements give the same samples and batches, bit for bit.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
import psutil
import ray
import ray.actor
import ray.exceptions
from numpy.typing import NDArray

from rdl_core.batches.row_source import RowSource, ShardedRows, mapped_rows
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.store import Store, open_store
from rdl_core.place import Place
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.sharded import ShardedHGSampling
from rdl_core.sampling.share import GraphShare, Ownership, Request, Response, SharedRows, cell_bytes, ownership

PlacementName = Literal["auto", "local", "sharded"]
LOCAL_MEMORY_SHARE = 0.5
"""`auto` maps the whole store while it takes at most this share of the smallest node's memory."""
SHARD_MEMORY_SHARE = 0.3
"""Shards are as many as nodes, and more if one would take more than this share of the smallest node's memory."""
ANSWER_TIMEOUT_S = 300.0
"""A shard is started again within seconds; after this long, nobody will."""

Answer = TypeVar("Answer")


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class GraphShard:
    """The actor around one GraphShare.

    Args:
        store_path: Where the store is, for every node.
        owned, share, config: Arguments of GraphShare.
    """

    def __init__(self, store_path: Place, owned: Ownership, share: int, config: HGSamplingConfig) -> None:
        store = open_store(store_path)
        self._share = GraphShare(store, owned, share, config, before_s=store.schema.cutoff_s + 1)

    def expand(self, request: Request) -> Response:
        return self._share.expand(request)

    def cells(self, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, SharedRows]:
        return self._share.cells(rows)

    def num_bytes(self) -> dict[str, int]:
        return self._share.num_bytes


@dataclass(frozen=True)
class Shards:
    """The shards of one graph; travels to tasks and workers.

    Args:
        name: Tells these shards from others.
        actors: One per share.
        owned: Rows that each share owns.
        config: Sampling settings that the shares were loaded for.
    """

    name: str
    actors: tuple[ray.actor.ActorHandle, ...] = field(compare=False)
    owned: Ownership = field(compare=False)
    config: HGSamplingConfig = field(compare=False)

    def ask(self, requests: dict[int, Request]) -> dict[int, Response]:
        """Returns the answers to one round of neighbours, by share."""
        return _answers({share: self.actors[share].expand.remote(r) for share, r in requests.items()})

    def ask_cells(self, requests: dict[int, dict[str, NDArray[np.int64]]]) -> dict[int, dict[str, SharedRows]]:
        """Returns the answers to one round of times, parents and cells, by share."""
        return _answers({share: self.actors[share].cells.remote(r) for share, r in requests.items()})

    def num_bytes(self) -> list[dict[str, int]]:
        """Returns the memory of each shard, by kind of array."""
        return list(_answers(dict(enumerate(a.num_bytes.remote() for a in self.actors))).values())

    def stop(self) -> None:
        """Ends the actors."""
        for actor in self.actors:
            ray.kill(actor)


def _answers(references: Mapping[int, Any]) -> dict[int, Any]:
    try:
        return dict(zip(references, ray.get(list(references.values()), timeout=ANSWER_TIMEOUT_S), strict=True))
    except ray.exceptions.GetTimeoutError as error:
        raise TimeoutError(
            f"graph shards {sorted(references)} did not answer within {ANSWER_TIMEOUT_S:.0f} s; is a node with too little memory left? "
            f"Remedy: more nodes, or --placement local"
        ) from error


@dataclass(frozen=True)
class Placement:
    """The place of a store's graph, and the way in which a process gets at it.

    Args:
        store_path: Where the store is, for every node.
        shards: Its shards, or None where every process maps the store.
        why: Reason for this placement, in a few words.
    """

    store_path: Place
    shards: Shards | None = None
    why: str = ""

    def sampling(self, config: HGSamplingConfig, seed: int) -> HGSampling:
        """Returns this process's sampler, which sees rows up to the store's cutoff."""
        return _sampling(self, config, seed)

    def rows(self, store: Store, distribution: str) -> RowSource:
        """Returns where a worker of this process finds times, parents and cells; `distribution` names the donors (corruption.py)."""
        if self.shards is None:
            return mapped_rows(store)
        return ShardedRows(store, self.shards.owned, self.shards.ask_cells, distribution)


@lru_cache(maxsize=4)
def _sampling(placement: Placement, config: HGSamplingConfig, seed: int) -> HGSampling:
    store = open_store(placement.store_path)
    before_s = store.schema.cutoff_s + 1
    if placement.shards is None:
        return HGSampling(store.graph, config, seed=seed, before_s=before_s)
    shards = placement.shards
    return ShardedHGSampling(store.graph, shards.owned, shards.ask, config, seed=seed, before_s=before_s)


def place(store: Store, config: HGSamplingConfig, requested: PlacementName, num_shards: int | None = None) -> Placement:
    """Decides where the graph goes, and starts the shards if it is to be sharded; a Ray session must run for that.

    Args:
        store: The store to place.
        config: Sampling settings.
        requested: "auto" takes "local" while the store fits LOCAL_MEMORY_SHARE of the smallest node.
        num_shards: None: as many as nodes, at least 2, more if memory asks for it.

    Raises:
        ValueError: num_shards without "sharded".
    """
    if num_shards is not None and requested != "sharded":
        raise ValueError(f"--shards {num_shards} goes with --placement sharded, not {requested}")
    path = store.place
    memory_bytes, num_nodes = _smallest_node()
    arithmetic = f"store {store.num_bytes / 1e6:,.1f} MB, smallest of {num_nodes} node(s) {memory_bytes / 1e9:.1f} GB"
    fits = store.num_bytes <= LOCAL_MEMORY_SHARE * memory_bytes
    if requested == "local" or (requested == "auto" and fits):
        return Placement(path, None, f"local, {'as asked' if requested == 'local' else 'chosen'}: {arithmetic}")
    needed = math.ceil(store.num_bytes / (SHARD_MEMORY_SHARE * memory_bytes))
    num_shards = num_shards or max(2, num_nodes, needed)
    shards = start_shards(store, config, num_shards)
    reason = "as asked" if requested == "sharded" else f"chosen, above {LOCAL_MEMORY_SHARE:.0%} of a node's memory"
    return Placement(path, shards, f"sharded over {num_shards}, {reason}: {arithmetic}")


def start_shards(store: Store, config: HGSamplingConfig, num_shards: int) -> Shards:
    """Starts the actors; they load side by side."""
    owned = ownership(store.graph, num_shards, cell_bytes(store))
    path = store.place
    actors = tuple(GraphShard.remote(path, owned, share, config) for share in range(num_shards))  # type: ignore[attr-defined]
    return Shards(uuid.uuid4().hex, actors, owned, config)


def _smallest_node() -> tuple[float, int]:
    """Returns (memory of the smallest node in bytes, number of nodes) of the session, or of this machine without one."""
    if not ray.is_initialized():
        return psutil.virtual_memory().total, 1
    memory = [node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]]
    return min(m for m in memory if m > 0), len(memory)
