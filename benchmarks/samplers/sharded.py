"""The graph in shares against the graph in one piece: the same samples, bit for bit; rounds of requests; memory per shard; subgraphs per second."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.samplers.local import numbers
from distributed.sampling.placement import Shards, start_shards
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.sharded import ShardedHGSampling
from rdl_core.sampling.share import Request, Response

BATCH = 24


@dataclass(frozen=True, kw_only=True)
class ShardedRate:
    """One number of shards.

    Args:
        equal: Whether every subgraph had the same bytes as the local sampler's.
        rounds: Most rounds of requests for a batch of subgraphs.
        memory_share: Share of the largest shard in the store's bytes.
        subgraphs_per_s: Rate in batches of `BATCH`, one after another.
    """

    equal: bool
    rounds: int
    memory_share: float
    subgraphs_per_s: float


def sharded_rate(store: Store, local: HGSampling, *, num_shards: int, batches: int) -> ShardedRate:
    """Starts shards, compares and measures, and stops them. A Ray session must run."""
    shards = start_shards(store, local.config, num_shards)
    try:
        return _measure(store, local, shards, batches)
    finally:
        shards.stop()


def _measure(store: Store, local: HGSampling, shards: Shards, batches: int) -> ShardedRate:
    rounds = 0

    def ask(requests: dict[int, Request]) -> dict[int, Response]:
        nonlocal rounds
        rounds += 1
        return shards.ask(requests)

    sampler = ShardedHGSampling(store.graph, shards.owned, ask, local.config, seed=local.seed, before_s=local.before_s)
    sampler.sample(0, numbers(sampler, 0, BATCH))  # compiled here and there
    seconds, most, equal = 0.0, 0, True
    for batch in range(batches):
        samples, rounds, begun = numbers(sampler, batch * BATCH, BATCH), 0, time.perf_counter()
        found = sampler.sample(0, samples)
        seconds += time.perf_counter() - begun
        most = max(most, rounds)
        equal &= all(a.to_bytes() == b.to_bytes() for a, b in zip(found, local.sample(0, samples), strict=True))
    largest = max(sum(part.values()) for part in shards.num_bytes())
    return ShardedRate(
        equal=equal, rounds=most, memory_share=largest / store.num_bytes, subgraphs_per_s=batches * BATCH / seconds
    )
