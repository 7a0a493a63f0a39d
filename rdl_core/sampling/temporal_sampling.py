"""Temporal neighbour sampling for tasks: a tree per (entity, time) seed that holds only rows strictly before the seed's time.

Promises
- Strictly before: every row of a tree but the seed entity itself exists before the seed's time, parents included (a child may be dated
  before its parent). The entity row itself is always there, whenever it was first referred to: the question is about it.
- Of a table with `valid_to`, a tree holds the versions that are valid at the seed's time, time < t <= valid_to; a row with more versions than
  neighbours are wanted gets as many fewer as drawn ones are not valid any more ("recent" draws the latest, which are).
- With a time window, children of tables with a time column are no older than the window. It hides no parent (what an event refers to is
  part of it, however old) and no row of a table without a time column: customers and products last, and an order line, dated by its order
  alone, is found through its product however old it is.
- Trees are disjoint; a row stands at most once in a tree; edges lead from the sampled neighbour to the row it was sampled for.
- "uniform" draws every visible child with the same probability, without replacement (one per stratum of time, randomly rotated);
  "recent" takes the latest.
  Draws are a function of (seed, epoch, number of the seed, key, hop, row of its table): neither of batch and worker nor of other tables.
- Rows repeat across trees, so the result names each distinct row once with an index: features are gathered and encoded once.
- Threads may share an object: `sample` releases the GIL, and each call under way has scratch of its own (an int32 per row of the largest
  table, and what its largest batch needed), which is kept for later calls.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import TemporalSamplingConfig
from rdl_core.graph.reg import ALWAYS, EdgeType, RelationalEntityGraph, reverse
from rdl_core.random_streams import PURPOSE_TEMPORAL_SAMPLING, fold_each, stream
from rdl_core.sampling.temporal_kernels import grow_trees
from rdl_core.sampling.temporal_layout import Layout, Scratch, Seeds, Topology, collect_edges, collect_nodes


@dataclass(frozen=True, kw_only=True)
class TemporalSubgraph:
    """The trees of one batch; nodes of a table are ordered by hop, then by seed.

    Args:
        rows: Distinct rows per table: int64 [distinct rows].
        index: Position in `rows` of each node per table: int32 [nodes].
        seed: Number of the seed whose tree each node is in, per table: int32 [nodes].
        edges: Edges per directed edge type: int32 [2, edges] (neighbour, row), as places among the nodes; (child, fkey_col, parent) leads from
            child to parent, (parent, "rev_" + fkey_col, child) the other way. They are sorted by row, and so by hop.
        num_nodes_per_hop: Number of nodes per table: [hops + 1].
        num_edges_per_hop: Number of edges per directed edge type: [hops].
        entity_table: The table of the seeds, whose first `num_seeds` nodes they are.
    """

    rows: dict[str, NDArray[np.int64]]
    index: dict[str, NDArray[np.int32]]
    seed: dict[str, NDArray[np.int32]]
    edges: dict[EdgeType, NDArray[np.int32]]
    num_nodes_per_hop: dict[str, list[int]]
    num_edges_per_hop: dict[EdgeType, list[int]]
    entity_table: str
    num_seeds: int


class TemporalSampling:
    """Samples trees for batches of (entity row, seed time).

    Args:
        graph: The relational entity graph.
        config: Neighbours per hop, strategy and window.
        seed: Run seed.
    """

    def __init__(self, graph: RelationalEntityGraph, config: TemporalSamplingConfig, *, seed: int) -> None:
        self.graph, self.config, self.seed = graph, config, seed
        neighbour_table = np.stack([graph.child_type, graph.parent_type], axis=1).ravel()
        incoming = np.argsort(neighbour_table, kind="stable")
        self._topology = Topology(
            row_offset=graph.row_offset,
            time=graph.time,
            parent_offset=graph.parent_offset,
            parent=graph.parent,
            indptr_offset=graph.indptr_offset,
            indptr=graph.children_indptr,
            children=graph.children,
            incoming_begin=np.searchsorted(neighbour_table[incoming], np.arange(len(graph.node_types) + 1)),
            incoming=incoming,
            row_table=np.stack([graph.parent_type, graph.child_type], axis=1).ravel(),
            windowed=graph.has_time_col,
            expiry=graph.expiry,
        )
        self._directed = [d for e in graph.edge_types for d in (e, reverse(e))]
        self._num_neighbors = np.array(config.num_neighbors, dtype=np.int64)
        self._idle: deque[Scratch] = deque()

    def sample(
        self,
        entity_table: str,
        entities: NDArray[np.int64],
        before_s: NDArray[np.int64],
        *,
        epoch: int,
        numbers: NDArray[np.int64] | None = None,
    ) -> TemporalSubgraph:
        """Samples the trees of one batch.

        Args:
            entity_table: Table of the seeds.
            entities: int64 [seeds], rows of that table.
            before_s: int64 [seeds], UNIX seconds; a tree holds rows that exist strictly before.
            epoch: Epoch, which names the random streams together with `numbers`.
            numbers: int64 [seeds], a label's row in its split; None for 0, 1, ...

        Raises:
            ValueError: Entities are no rows of the table, or the arrays' lengths differ.
        """
        seeds = self._seeds(
            entity_table, entities, before_s, np.arange(len(entities)) if numbers is None else numbers, epoch
        )
        try:
            scratch = self._idle.pop()  # atomic
        except IndexError:
            scratch = self._new_scratch()
        layout, scratch = grow_trees(
            self._topology,
            seeds,
            self.graph.node_types.index(entity_table),
            self._num_neighbors,
            self.config.strategy == "recent",
            scratch,
        )
        *nodes, distinct = collect_nodes(
            layout.num_nodes, layout.node_begin, scratch.node_row, scratch.node_seed, scratch.distinct, scratch.position
        )
        edges = collect_edges(layout.edge_begin, layout.edge_end, scratch.source, scratch.target)
        self._idle.append(scratch._replace(distinct=distinct))
        return self._result(entity_table, len(entities), layout, *nodes, *edges)

    def _seeds(
        self,
        table: str,
        entities: NDArray[np.int64],
        before_s: NDArray[np.int64],
        numbers: NDArray[np.int64],
        epoch: int,
    ) -> Seeds:
        rows, before = np.asarray(entities), np.asarray(before_s, dtype=np.int64)
        if not rows.shape == before.shape == np.shape(numbers) == (len(rows),):
            raise ValueError(
                f"entities, before_s and numbers must have one length, got {rows.shape}, {before.shape}, {np.shape(numbers)}"
            )
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.graph.num_rows(table):
            raise ValueError(
                f"entities must be rows 0 to {self.graph.num_rows(table) - 1} of {table!r}, got {rows.min()} to {rows.max()}"
            )
        window = self.config.time_window_s
        since = np.empty(0, np.int64)
        if window is not None:
            since = np.where(before < ALWAYS + window, ALWAYS, before - window)  # no wrap at the smallest int64
        run = stream(self.seed, PURPOSE_TEMPORAL_SAMPLING, epoch)
        return Seeds(rows.astype(np.int32), before, since, fold_each(run, np.asarray(numbers, dtype=np.int64)))

    def _new_scratch(self) -> Scratch:
        rows = int(np.diff(self.graph.row_offset).max(initial=0))
        empty = np.empty(0, np.int32)
        return Scratch(empty, empty, empty, empty, np.empty(0, np.int64), empty, empty, np.zeros(rows, np.int32))

    def _result(
        self,
        entity_table: str,
        num_seeds: int,
        layout: Layout,
        rows: NDArray[np.int64],
        rows_begin: NDArray[np.int64],
        index: NDArray[np.int32],
        seed: NDArray[np.int32],
        ends: NDArray[np.int32],
        edges_begin: NDArray[np.int64],
    ) -> TemporalSubgraph:
        tables, per_table, per_type = self.graph.node_types, layout.num_nodes, layout.edge_end - layout.edge_begin
        bounds = [0, *per_table.sum(0).cumsum().tolist()]
        nodes_of, rows_of, edges_of = (
            [slice(*part) for part in pairwise(begin)] for begin in (bounds, rows_begin.tolist(), edges_begin.tolist())
        )
        return TemporalSubgraph(
            rows={t: rows[part] for t, part in zip(tables, rows_of, strict=True)},
            index={t: index[part] for t, part in zip(tables, nodes_of, strict=True)},
            seed={t: seed[part] for t, part in zip(tables, nodes_of, strict=True)},
            edges={d: ends[:, part] for d, part in zip(self._directed, edges_of, strict=True)},
            num_nodes_per_hop=dict(zip(tables, per_table.T.tolist(), strict=True)),
            num_edges_per_hop=dict(zip(self._directed, per_type.T.tolist(), strict=True)),
            entity_table=entity_table,
            num_seeds=num_seeds,
        )
