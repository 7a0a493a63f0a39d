"""Type-balanced HGSampling (Hu et al. 2020, algorithms 1 and 2) on the relational entity graph.

Per table a budget of candidate rows: every newly sampled row adds 1/degree to each neighbour not sampled yet; the next rows of a table are
drawn without replacement with probability proportional to budget squared. So every table gets its `rows_per_hop` rows a hop, however
unequal the tables are.

Promises
- Sample k of epoch e is a function of (seed, e, k) and the graph alone: draws are counter-based streams per (sample, hop, table) at the row
  number, budget sums are added in (key, sampled position) order. Worker, batch and order play no part.
- No row at or after the bound is sampled; undated rows (NO_TIME) never are.
- All links (foreign keys) between sampled rows are returned, each once; none is lost.
- A call costs what it touches. The scratch arrays (16 bytes a row of the database, touched lazily) belong to the sampler object, so one
  object serves one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rdl_core.hg_kernels import sample_many
from rdl_core.random_streams import PURPOSE_HG_SAMPLING, PURPOSE_PERMUTATION, numpy_generator, stream
from rdl_core.reg import RelationalEntityGraph
from rdl_core.subgraph import Subgraph


@dataclass(frozen=True, kw_only=True)
class HGSamplingConfig:
    """What one sample is.

    Args:
        seed_table: Table the seeds come from; None: the one with the most foreign keys, of ties the one with most rows (paper).
        seeds_per_sample: Seed rows grown into one subgraph.
        rows_per_hop: Rows drawn per table and hop.
        num_hops: Hops.
        max_children: Of a row with more visible children for one key, this many (evenly spaced from a random start) enter the budget.
    """

    seed_table: str | None = None
    seeds_per_sample: int = 64
    rows_per_hop: int = 64
    num_hops: int = 3
    max_children: int = 4096

    def __post_init__(self) -> None:
        for name in ("seeds_per_sample", "rows_per_hop", "num_hops", "max_children"):
            if getattr(self, name) < 1:
                raise ValueError(f"HGSamplingConfig.{name} must be at least 1, got {getattr(self, name)}")


def default_seed_table(graph: RelationalEntityGraph, before_s: int) -> str:
    """The table with the most foreign keys; of ties the one with more rows before `before_s` (UNIX seconds)."""

    def rank(table: str) -> tuple[int, int]:
        keys = sum(edge_type[0] == table for edge_type in graph.edge_types)
        return keys, int((graph.table_time(table) < before_s).sum())

    return max(graph.node_types, key=rank)


class HGSampling:
    """Samples subgraphs of rows that exist before a bound.

    Args:
        graph: The relational entity graph.
        config: What a sample is.
        seed: Run seed.
        before_s: Only rows that exist before this UNIX second are seen (pretraining: cutoff + 1).

    Raises:
        ValueError: The seed table is unknown, or has fewer visible rows than one sample needs.
    """

    def __init__(self, graph: RelationalEntityGraph, config: HGSamplingConfig, *, seed: int, before_s: int) -> None:
        self.graph, self.config, self.seed, self.before_s = graph, config, seed, before_s
        self.seed_table = config.seed_table or default_seed_table(graph, before_s)
        if self.seed_table not in graph.node_types:
            raise ValueError(
                f"seed table {self.seed_table!r} is not in the database; tables: {', '.join(graph.node_types)}"
            )
        self.eligible = np.flatnonzero(graph.table_time(self.seed_table) < before_s)
        self.samples_per_epoch = len(self.eligible) // config.seeds_per_sample
        if self.samples_per_epoch == 0:
            raise ValueError(
                f"seed table {self.seed_table!r} has {len(self.eligible)} rows up to the cutoff, fewer than the "
                f"{config.seeds_per_sample} seeds of one sample; set a smaller seeds_per_sample or another seed_table"
            )
        capacity = config.seeds_per_sample + config.num_hops * config.rows_per_hop
        num_tables, num_nodes = len(graph.node_types), graph.num_nodes
        self._arrays = (
            graph.row_offset, graph.time, graph.child_type, graph.parent_type, graph.parent_offset, graph.parent,
            graph.children, graph.indptr_offset, graph.children_indptr,
        )  # fmt: skip
        self._scratch = (
            np.zeros(num_nodes, np.float64), np.zeros(num_nodes, np.int32), np.zeros(num_nodes, np.int32),
            np.zeros(num_tables, np.int64), np.zeros(config.rows_per_hop, np.float64),
            np.zeros(config.rows_per_hop, np.int64),
        )  # fmt: skip
        self._rows = np.zeros((num_tables, capacity), np.int64)
        self._links = np.zeros((2, max(1, capacity * len(graph.edge_types))), np.int32)
        self._max_buffer = num_tables * (1 + capacity) + len(graph.edge_types) + 2 * self._links.shape[1]
        self._permutation = lru_cache(maxsize=2)(self._make_permutation)

    def num_dropped_seeds(self) -> int:
        """Seeds of an epoch's partial last sample, which is dropped."""
        return len(self.eligible) % self.config.seeds_per_sample

    def seeds(self, epoch: int, sample: int) -> NDArray[np.int64]:
        """int64 [seeds_per_sample]: rows of the seed table, perm_epoch[64 k : 64 k + 64]; IndexError beyond the epoch."""
        if not 0 <= sample < self.samples_per_epoch:
            raise IndexError(
                f"sample {sample} of an epoch of {self.samples_per_epoch} samples (a partial last one is dropped)"
            )
        size = self.config.seeds_per_sample
        return self._permutation(epoch)[sample * size : (sample + 1) * size]

    def sample(self, epoch: int, samples: Sequence[int]) -> list[Subgraph]:
        """The given samples of an epoch, in this order."""
        return self.grow(np.stack([self.seeds(epoch, k) for k in samples]), [(epoch, k) for k in samples])

    def grow(self, seeds: NDArray[np.int64], cursors: Sequence[tuple[int, int]]) -> list[Subgraph]:
        """Grows subgraphs from given seeds.

        Args:
            seeds: int64 [samples, seeds], rows of the seed table.
            cursors: (epoch, sample) of each, which name its random streams.
        """
        streams = np.array([stream(self.seed, PURPOSE_HG_SAMPLING, e, k) for e, k in cursors], dtype=np.uint64)
        buffers = np.empty(len(cursors) * self._max_buffer, dtype=np.int32)
        offset = self.graph.row_offset[self.graph.node_types.index(self.seed_table)]
        bounds = np.full(len(cursors), self.before_s, dtype=np.int64)
        begins = sample_many(
            self._arrays, seeds + offset, bounds, self.config.rows_per_hop, self.config.num_hops,
            self.config.max_children, streams, self._scratch, self._rows, self._links, buffers,
        )  # fmt: skip
        return [
            Subgraph(buffers[begins[i] : begins[i + 1]].copy(), self.graph.node_types, self.graph.edge_types)
            for i in range(len(cursors))
        ]

    def _make_permutation(self, epoch: int) -> NDArray[np.int64]:
        generator = numpy_generator(self.seed, PURPOSE_PERMUTATION, epoch)
        return self.eligible[generator.permutation(len(self.eligible))]
