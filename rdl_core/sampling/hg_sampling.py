"""Type-balanced HGSampling (Hu et al. 2020, algorithms 1 and 2) on the relational entity graph.

Each table has a budget of candidate rows: every newly sampled row adds 1/degree to each neighbour not sampled yet; the next rows of a table are
drawn without replacement with probability proportional to budget squared. So every table gets its `rows_per_hop` rows a hop, however
unequal the tables are.

Promises
- Sample k of epoch e is a function of (seed, e, k) and the graph alone: draws are counter-based streams per (sample, hop, table) at the row
  number, budget sums are added in (key, sampled position) order. Worker, batch, thread, placement and order play no part.
- No row at or after the bound is sampled; undated rows (NO_TIME) never are.
- All links (foreign keys) between sampled rows are returned, each once; none is lost.
- A call costs what it touches. It releases the GIL, and several threads may call one object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import HGSamplingConfig
from rdl_core.graph.reg import ALWAYS, RelationalEntityGraph
from rdl_core.random_streams import PURPOSE_HG_SAMPLING, stream
from rdl_core.sampling.hg_kernels import GraphView, sample_many
from rdl_core.sampling.hg_seeds import HGSeeds
from rdl_core.sampling.subgraph import Subgraph

DIRECT_INDEX_NODES = 1 << 21
"""A subgraph's index has a slot per row of a database of at most this many rows (int32: 8 MB); beyond, it is a hash table."""
FIRST_ENTRIES = 1 << 14
DRAW_BLOCK = 256


class HGSampling:
    """Samples subgraphs of rows that exist before a bound.

    Args:
        graph: The relational entity graph.
        config: Settings of a sample.
        seed: Run seed.
        before_s: Only rows that exist before this UNIX second are seen (pretraining: cutoff + 1).

    Raises:
        ValueError: The seed table is unknown, or rows are versions, which samples bounded by the times of their seeds do not know.
    """

    def __init__(self, graph: RelationalEntityGraph, config: HGSamplingConfig, *, seed: int, before_s: int) -> None:
        if len(graph.expiry) and config.time_bound == "seeds":
            raise ValueError(
                "time_bound='seeds' is not there for a database with valid_to in its schema file: a sample would have to tell versions by the time "
                "of each seed; take time_bound='cutoff', or leave valid_to out and import again"
            )
        self.graph, self.config, self.seed, self.before_s = graph, config, seed, before_s
        self.seeds = HGSeeds(graph, config, seed=seed, before_s=before_s)
        seen = self._seen()
        ends = seen.children_end if before_s <= graph.cutoff_s + 1 else seen.children_indptr[1:]
        self._lists_are_cut = before_s == graph.cutoff_s + 1 and config.time_bound == "cutoff"
        self._view = GraphView(
            row_offset=graph.row_offset,
            time=graph.time,
            child_type=graph.child_type,
            parent_type=graph.parent_type,
            parent_offset=graph.parent_offset,
            parent=seen.parent,
            children=seen.children,
            list_offset=seen.indptr_offset,
            list_begin=seen.children_indptr,
            list_end=ends,
        )
        self._scratch: deque[Any] = deque()

    def _seen(self) -> RelationalEntityGraph:
        """Returns the graph whose links samples follow: without versions that are not valid any more."""
        return self.graph.valid_before(self.before_s)

    @property
    def samples_per_epoch(self) -> int:
        """Whole samples of an epoch."""
        return self.seeds.samples_per_epoch

    def sample(self, epoch: int, samples: Sequence[int]) -> list[Subgraph]:
        """Samples subgraphs by their numbers.

        Args:
            epoch: Epoch.
            samples: Numbers of samples within the epoch.

        Returns:
            The subgraphs, in this order.

        Raises:
            IndexError: A sample is beyond the epoch.
        """
        cursors = [(epoch, k) for k in samples]
        return self.grow(np.stack([self.seeds.nodes(*c) for c in cursors]), cursors)

    def grow(self, seeds: NDArray[np.int64], cursors: Sequence[tuple[int, int]]) -> list[Subgraph]:
        """Grows subgraphs from given seeds.

        Args:
            seeds: int64 [samples, seeds], graph nodes.
            cursors: (epoch, sample) of each sample, which name its random streams.
        """
        config, graph = self.config, self.graph
        scratch = self._scratch.pop() if self._scratch else self._new_scratch()
        buffers = np.empty(len(cursors) * scratch.max_buffer, dtype=np.int32)
        bounds = self.seeds.bounds(seeds)
        if self._lists_are_cut:
            bounds[:, 0] = ALWAYS
        begins, scratch.entries = sample_many(
            self._view,
            seeds,
            bounds,
            (config.rows_per_hop, config.num_hops, config.max_children),
            sample_streams(self.seed, cursors),
            scratch.counters,
            scratch.entries,
            scratch.segments,
            scratch.fixed,
            buffers,
        )
        self._scratch.append(scratch)
        return [
            Subgraph(buffers[begins[i] : begins[i + 1]].copy(), graph.node_types, graph.edge_types)
            for i in range(len(cursors))
        ]

    def _new_scratch(self) -> SubgraphScratch:
        return SubgraphScratch(self.graph, self.config, direct=self.graph.num_nodes <= DIRECT_INDEX_NODES)


def sample_streams(seed: int, cursors: Sequence[tuple[int, int]]) -> NDArray[np.uint64]:
    """Returns the stream of each sample: uint64 [samples]."""
    return np.array([stream(seed, PURPOSE_HG_SAMPLING, e, k) for e, k in cursors], dtype=np.uint64)


def max_subgraph_bytes(num_tables: int, num_keys: int, config: HGSamplingConfig) -> int:
    """Returns the most bytes that a packed subgraph (subgraph.py) of so many tables and foreign keys takes."""
    capacity = config.seeds_per_sample + config.num_hops * config.rows_per_hop
    return 4 * (num_tables * (1 + capacity) + num_keys * (1 + 2 * capacity))


class SubgraphScratch:
    """Memory of one subgraph in the making (hg_kernels.py); serves one at a time.

    Args:
        graph: The relational entity graph; its sizes count.
        config: Settings of a sample.
        direct: Whether nodes index the entries directly, or a hash table does.
    """

    def __init__(self, graph: RelationalEntityGraph, config: HGSamplingConfig, *, direct: bool) -> None:
        num_tables, num_keys, num_nodes = len(graph.node_types), len(graph.edge_types), graph.num_nodes
        capacity = config.seeds_per_sample + config.num_hops * config.rows_per_hop
        entries = max(FIRST_ENTRIES, config.seeds_per_sample)
        slots = num_nodes if direct else 4 * (1 << (entries - 1).bit_length())
        self.counters = np.array([0, 0, 0 if direct else 65 - int(slots).bit_length(), 0], np.int64)
        self.entries = (
            np.zeros(slots, np.int32),
            np.zeros(entries, np.int64),
            np.zeros(entries, np.float64),
            np.zeros(entries, np.int32),
        )
        self.segments = np.zeros((2 * num_keys * config.num_hops + 1, 3), np.int64)
        self.fixed = (
            np.zeros((num_tables, capacity), np.int64),
            np.zeros((max(1, num_keys), capacity), np.int32),
            np.zeros(num_tables, np.int64),
            (np.zeros(config.rows_per_hop), np.zeros(config.rows_per_hop, np.int64), np.zeros(DRAW_BLOCK)),
        )
        self.max_buffer = max_subgraph_bytes(num_tables, num_keys, config) // 4
