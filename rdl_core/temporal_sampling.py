"""Temporal neighbour sampling for tasks: a tree per (entity, time) seed that holds only rows strictly before the seed's time.

Promises
- Strictly before: every row of a tree but the seed entity itself exists before the seed's time, parents included (a child may be dated
  before its parent). The entity row itself is always there, whenever it was first referred to: the question is about it.
- Trees are disjoint; a row stands at most once in a tree; edges lead from the sampled neighbour to the row it was sampled for.
- "uniform" draws every visible child with the same probability, without replacement (one per stratum of time, randomly rotated);
  "recent" takes the latest. Draws are a function of (seed, epoch, number of the seed, key, hop, row): batch and worker play no part.
- Rows repeat across trees, so the result names each distinct row once with an index: features are gathered and encoded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdl_core.random_streams import PURPOSE_TEMPORAL_SAMPLING, stream
from rdl_core.reg import EdgeType, RelationalEntityGraph
from rdl_core.temporal_kernels import distinct, ends_in_order, expand_seeds, group


@dataclass(frozen=True, kw_only=True)
class TemporalSamplingConfig:
    """How far and how wide.

    Args:
        num_neighbors: Children per row and key, hop by hop (PyG's meaning).
        strategy: "uniform" (paper) or "recent", the latest children first.
    """

    num_neighbors: tuple[int, ...] = (128, 64)
    strategy: Literal["uniform", "recent"] = "uniform"

    def __post_init__(self) -> None:
        if not self.num_neighbors or min(self.num_neighbors) < 1:
            raise ValueError(
                f"TemporalSamplingConfig.num_neighbors must be positive numbers, one a hop, got {self.num_neighbors}"
            )
        if self.strategy not in ("uniform", "recent"):
            raise ValueError(f"TemporalSamplingConfig.strategy must be 'uniform' or 'recent', got {self.strategy!r}")


@dataclass(frozen=True, kw_only=True)
class TemporalSubgraph:
    """Trees of one batch; nodes of a table are ordered by hop, then by seed.

    Args:
        rows: Per table int64 [distinct rows].
        index: Per table int32 [nodes], into `rows`.
        seed: Per table int32 [nodes], which seed's tree.
        edges: Per directed edge type int32 [2, edges] (neighbour, row), as places among the nodes; (child, fkey_col, parent) leads child
            to parent, (parent, "rev_" + fkey_col, child) the other way. Ordered by hop.
        num_nodes_per_hop: Per table [hops + 1] counts.
        num_edges_per_hop: Per directed edge type [hops] counts.
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


def reverse(edge_type: EdgeType) -> EdgeType:
    """The directed edge type parent -> child of a foreign key."""
    child, fkey_col, parent = edge_type
    return parent, f"rev_{fkey_col}", child


class TemporalSampling:
    """Samples trees for batches of (entity row, seed time).

    Args:
        graph: The relational entity graph.
        config: Neighbours per hop and strategy.
        seed: Run seed.
    """

    def __init__(self, graph: RelationalEntityGraph, config: TemporalSamplingConfig, *, seed: int) -> None:
        self.graph, self.config, self.seed = graph, config, seed
        self._arrays = (
            graph.row_offset, graph.time, graph.child_type, graph.parent_type, graph.parent_offset, graph.parent,
            graph.children, graph.indptr_offset, graph.children_indptr,
        )  # fmt: skip
        self._position = np.zeros(graph.num_nodes, np.int32)

    def sample(
        self,
        entity_table: str,
        entities: NDArray[np.int64],
        before_s: NDArray[np.int64],
        *,
        epoch: int,
        numbers: NDArray[np.int64] | None = None,
    ) -> TemporalSubgraph:
        """The trees of one batch.

        Args:
            entity_table: Table of the seeds.
            entities: int64 [seeds], rows of it.
            before_s: int64 [seeds], UNIX seconds; a tree holds rows that exist strictly before.
            epoch, numbers: Name the random streams; numbers int64 [seeds], by default 0, 1, ... (a label's row in its split).
        """
        table = self.graph.node_types.index(entity_table)
        nodes = np.asarray(entities, dtype=np.int64) + self.graph.row_offset[table]
        found = expand_seeds(
            self._arrays, table, nodes, np.asarray(before_s, dtype=np.int64), np.array(self.config.num_neighbors),
            self.config.strategy == "recent",
            np.uint64(stream(self.seed, PURPOSE_TEMPORAL_SAMPLING, epoch)),
            np.arange(len(entities)) if numbers is None else np.asarray(numbers, dtype=np.int64), self._position,
        )  # fmt: skip
        return self._assemble(entity_table, len(entities), *found)

    def _assemble(
        self, entity_table: str, num_seeds: int, node: NDArray, seed: NDArray, hop: NDArray, node_table: NDArray,
        source: NDArray, target: NDArray, kind: NDArray, edge_hop: NDArray,
    ) -> TemporalSubgraph:  # fmt: skip
        """Orders nodes by (table, hop) and edges by (type, hop), both stably."""
        graph, num_hops = self.graph, len(self.config.num_neighbors)
        order, place, per_table = group(node_table, hop, len(graph.node_types), num_hops + 1)
        begins = np.concatenate([[0], np.cumsum(per_table.sum(1))])
        rows, index, seeds = {}, {}, {}
        for t, table in enumerate(graph.node_types):
            mine = order[begins[t] : begins[t + 1]]
            found, index[table] = distinct(node[mine], self._position)
            rows[table] = found - graph.row_offset[t]
            seeds[table] = seed[mine]
        edge_order, _, per_kind = group(kind, edge_hop, 2 * len(graph.edge_types), num_hops)
        edge_begins = np.concatenate([[0], np.cumsum(per_kind.sum(1))])
        source_type = np.stack([graph.child_type, graph.parent_type], axis=1).ravel()
        target_type = np.stack([graph.parent_type, graph.child_type], axis=1).ravel()
        ends = ends_in_order(edge_order, source, target, kind, place, begins[source_type], begins[target_type])
        directed = [d for e in graph.edge_types for d in (e, reverse(e))]
        return TemporalSubgraph(
            rows=rows,
            index=index,
            seed=seeds,
            edges={d: ends[:, edge_begins[i] : edge_begins[i + 1]] for i, d in enumerate(directed)},
            num_nodes_per_hop={t: per_table[i].tolist() for i, t in enumerate(graph.node_types)},
            num_edges_per_hop={d: per_kind[i].tolist() for i, d in enumerate(directed)},
            entity_table=entity_table,
            num_seeds=num_seeds,
        )
