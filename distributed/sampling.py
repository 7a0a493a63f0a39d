"""HGSampler: the callable of Ray Data's map_batches. Seeds in, packed subgraphs out.

Every node maps the whole store (placement "local"); only ids and links travel. Tasks, not an actor pool, since tasks reuse worker
processes and a pool is started anew for every execution; a process opens the store once and keeps one sampler, which serves one
thread at a time (its scratch arrays are its own).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from rdl_core.hg_sampling import HGSampling, HGSamplingConfig
from rdl_core.store import open_store


@lru_cache(maxsize=4)
def open_sampler(store_path: str, config: HGSamplingConfig, seed: int) -> HGSampling:
    """The process's sampler of a store; sees rows up to the store's cutoff."""
    store = open_store(store_path)
    return HGSampling(store.graph, config, seed=seed, before_s=store.schema.cutoff_s + 1)


@dataclass(frozen=True)
class HGSampler:
    """Maps a block of seeds (seeds.py) to step, epoch, sample and one binary column `subgraph` (subgraph.py).

    Args:
        store_path: On every node.
        config, seed: As the run's.
    """

    store_path: str
    config: HGSamplingConfig
    seed: int

    def __call__(self, block: pa.Table) -> pa.Table:
        sampler = open_sampler(self.store_path, self.config, self.seed)
        seeds = block.column("seeds").combine_chunks().flatten().to_numpy().reshape(block.num_rows, -1)
        cursors = np.stack([block.column("epoch").to_numpy(), block.column("sample").to_numpy()], axis=1)
        subgraphs = sampler.grow(seeds, [(int(e), int(s)) for e, s in cursors])
        packed = pa.array([s.to_bytes() for s in subgraphs], pa.binary())
        return block.drop_columns("seeds").append_column("subgraph", packed)
