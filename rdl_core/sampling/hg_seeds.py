"""The seeds of pretraining: the rows that make sample k of epoch e, and which rows the sample may see.

Promises: an epoch uses every eligible row once, except those of a partial last sample, which is dropped; sample k of epoch e is a function of
(seed, e, k) and the eligible rows alone. Seeds are graph nodes (row_offset[table] + row).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import HGSamplingConfig
from rdl_core.graph.reg import ALWAYS, RelationalEntityGraph
from rdl_core.random_streams import PURPOSE_PERMUTATION, permuted, stream


def default_seed_table(graph: RelationalEntityGraph, before_s: int) -> str:
    """Returns the table with the most foreign keys; of ties the one with more rows before `before_s` (UNIX seconds)."""

    def rank(table: str) -> tuple[int, int]:
        keys = sum(edge_type[0] == table for edge_type in graph.edge_types)
        return keys, int((graph.table_time(table) < before_s).sum())

    return max(graph.node_types, key=rank)


class HGSeeds:
    """The seeds of every sample.

    The eligible rows are found when they are first asked for: a process that only grows subgraphs never does.

    Args:
        graph: The relational entity graph; its sizes and times count.
        config: Settings of a sample.
        seed: Run seed.
        before_s: Only rows that exist before this UNIX second are seeds.

    Raises:
        ValueError: The seed table is unknown.
    """

    def __init__(self, graph: RelationalEntityGraph, config: HGSamplingConfig, *, seed: int, before_s: int) -> None:
        self.graph, self.config, self.seed, self.before_s = graph, config, seed, before_s
        if config.seed_table is not None and config.seed_table not in graph.node_types:
            raise ValueError(
                f"seed table {config.seed_table!r} is not in the database; tables: {', '.join(graph.node_types)}"
            )

    @cached_property
    def table(self) -> str:
        """The seed table; with seeds="all_tables", the one that would be."""
        return self.config.seed_table or default_seed_table(self.graph, self.before_s)

    @cached_property
    def eligible(self) -> NDArray[np.int64]:
        """All seeds of an epoch: int64 [seeds], graph nodes.

        Raises:
            ValueError: There are fewer than one sample needs.
        """
        nodes = self._eligible()
        if len(nodes) < self.config.seeds_per_sample:
            where = "the database" if self.config.seeds == "all_tables" else f"seed table {self.table!r}"
            dated = " with a time" if self.config.time_bound == "seeds" else ""
            raise ValueError(
                f"{where} has {len(nodes)} rows{dated} up to the cutoff, fewer than the {self.config.seeds_per_sample} "
                f"seeds of one sample; set a smaller seeds_per_sample or another seed_table"
            )
        return nodes

    @property
    def samples_per_epoch(self) -> int:
        """Whole samples of an epoch."""
        return len(self.eligible) // self.config.seeds_per_sample

    @property
    def num_dropped(self) -> int:
        """Seeds of an epoch's partial last sample, which is dropped."""
        return len(self.eligible) % self.config.seeds_per_sample

    def nodes(self, epoch: int, sample: int) -> NDArray[np.int64]:
        """Returns the seeds of a sample: int64 [seeds_per_sample], graph nodes.

        Sample k has the places 64 k, ..., 64 k + 63 of the epoch's permutation of all eligible rows. Where the seeds of a sample are neighbours in
        time (`time_bound="seeds"`), the eligible rows are in the order of time, cut into runs from a random first row on, and the permutation is
        one of these runs. Each permutation is keyed by (run seed, epoch) and computed at the places asked for: no process keeps an order.

        Raises:
            IndexError: The sample is beyond the epoch.
        """
        if not 0 <= sample < self.samples_per_epoch:
            raise IndexError(
                f"sample {sample} of an epoch of {self.samples_per_epoch} samples (a partial last one is dropped)"
            )
        size, order = self.config.seeds_per_sample, stream(self.seed, PURPOSE_PERMUTATION, epoch)
        places = np.arange(sample * size, (sample + 1) * size)
        if self.config.time_bound == "cutoff":
            return self.eligible[permuted(places, len(self.eligible), order)]
        first = stream(self.seed, PURPOSE_PERMUTATION, epoch, -1) % (self.num_dropped + 1)
        run = permuted(np.array([sample]), self.samples_per_epoch, order)[0]
        return self.eligible[first + run * size : first + (run + 1) * size]

    def bounds(self, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the bounds of samples: int64 [samples, 3], UNIX seconds.

        A sample sees children that exist before the first, parents before the second, and parents of its seeds before the third.

        Args:
            seeds: int64 [samples, seeds_per_sample], graph nodes.
        """
        if self.config.time_bound == "cutoff":
            return np.full((len(seeds), 3), self.before_s, np.int64)
        latest = self.graph.time[seeds].max(axis=1)
        return np.stack([latest, latest, latest + 1], axis=1)

    def _eligible(self) -> NDArray[np.int64]:
        graph = self.graph
        first, last = 0, graph.num_nodes
        if self.config.seeds == "one_table":
            t = graph.node_types.index(self.table)
            first, last = graph.row_offset[t], graph.row_offset[t + 1]
        time = graph.time[first:last]
        if self.config.time_bound == "cutoff":
            seen = time < self.before_s
            if len(graph.expiry):
                seen &= graph.expiry[first:last] >= self.before_s
            return first + np.flatnonzero(seen)
        nodes = np.flatnonzero((time < self.before_s) & (time > ALWAYS))
        return first + nodes[np.argsort(time[nodes], kind="stable")]
