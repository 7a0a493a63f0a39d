"""Trees of (entity, time) questions as the tensors that a model reads: cells of distinct rows, ages at the question, edges by hop.

Promise: a cell that is known from the question's time on, or later, is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_frame import TensorFrame

from rdl_core.batches.edges import Edges, edges_within_hops
from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.transfer import frames_on_device, on_device
from rdl_core.graph.feature_rows import cells_of, distinct_rows
from rdl_core.graph.features import TableFeatures
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph
from rdl_core.sampling.temporal_sampling import TemporalSubgraph
from rdl_core.timestamps import SECONDS_PER_DAY


@dataclass(frozen=True, kw_only=True)
class TreeBatch:
    """Trees with the cells of their distinct rows.

    Args:
        frames: Per table the distinct rows.
        index: Per table int64 [nodes] into them.
        distinct_age_days: Per table with a time column the ages of its nodes at the seeds' times, each once, float [ages].
        age_index: Per table with a time column int64 [nodes] into them.
        edges: What each layer needs, see `edges_within_hops`; the last item has all edges.
        num_nodes_per_hop: Per table [hops + 1] counts.
        entity_table: Table of the seeds, its first `num_seeds` nodes.
        statistics: Per table that keys lead to, statistics of its nodes' children before the seeds' bounds, float32 [nodes, width], NaN where
            undefined; None: the backbone reads none.
        columns: Columns of the seeds, float32 [seeds, width], NaN where undefined; None: the backbone reads none.
    """

    frames: dict[str, TensorFrame]
    index: dict[str, Tensor]
    distinct_age_days: dict[str, Tensor]
    age_index: dict[str, Tensor]
    edges: tuple[dict[EdgeType, Edges], ...]
    num_nodes_per_hop: dict[str, list[int]]
    entity_table: str
    num_seeds: int
    statistics: dict[str, Tensor] | None = None
    columns: Tensor | None = None

    @property
    def age_days(self) -> dict[str, Tensor]:
        """Per table with a time column float [nodes]."""
        return {t: ages[self.age_index[t]] for t, ages in self.distinct_age_days.items()}

    def to(self, device: torch.device) -> TreeBatch:
        """The batch on a device."""
        if device.type == "cpu":
            return self
        names = ("index", "distinct_age_days", "age_index", "edges", "statistics", "columns")
        parts: dict[str, Any] = {n: getattr(self, n) for n in names}
        return replace(self, frames=frames_on_device(self.frames, device), **on_device(parts, device))


def collate_trees(
    trees: TemporalSubgraph,
    time_s: NDArray[np.int64],
    graph: RelationalEntityGraph,
    features: Mapping[str, TableFeatures],
    *,
    before_s: NDArray[np.int64] | None = None,
    inputs: QuestionInputs | None = None,
    columns: NDArray[np.float32] | None = None,
) -> TreeBatch:
    """The batch of these trees.

    Args:
        time_s: int64 [seeds], the seeds' times, which ages are measured from.
        before_s: int64 [seeds], the seeds' bounds: a cell that is known from one of these times on, or later, is null; by default `time_s`.
        inputs: What the backbone reads besides; None: neither statistics nor columns, and no order of time.
        columns: float32 [seeds, width], the seeds' columns where they are at hand; None: they are computed, if the backbone reads any.
    """
    before_s = time_s if before_s is None else before_s
    ages: dict[str, NDArray[np.float32]] = {}
    for table, has_time in zip(graph.node_types, graph.has_time_col, strict=True):
        if has_time:
            row_time = graph.table_time(table)[trees.rows[table]][trees.index[table]]
            days = (time_s[trees.seed[table]] - row_time) / SECONDS_PER_DAY
            # Only a seed that is itself a row of a table with time can be dated at or after its question: age 0.
            ages[table] = np.maximum(days, 0.0).astype(np.float32)
    distinct = {t: np.unique(a, return_inverse=True) for t, a in ages.items()}
    cells, index = dict(trees.rows), {t: i.astype(np.int64) for t, i in trees.index.items()}
    for table in trees.rows:
        if features[table].has_late_cells:
            cells[table], index[table] = _late_rows(trees, table, features[table], before_s)
    statistics = None
    if inputs is not None:
        statistics = inputs.statistics(trees, before_s)
        if columns is None:
            seeds = trees.rows[trees.entity_table][trees.index[trees.entity_table][: trees.num_seeds]]
            columns = inputs.columns(trees.entity_table, seeds, before_s)
    dates = _dates(trees, graph) if inputs is not None and inputs.config.newest_first else None
    return TreeBatch(
        frames={t: features[t].gather(rows) for t, rows in cells.items()},
        index={t: torch.from_numpy(i) for t, i in index.items()},
        distinct_age_days={t: torch.from_numpy(values) for t, (values, _) in distinct.items()},
        age_index={t: torch.from_numpy(index) for t, (_, index) in distinct.items()},
        edges=edges_within_hops(trees.edges, trees.num_nodes_per_hop, trees.num_edges_per_hop, ages, dates),
        num_nodes_per_hop=trees.num_nodes_per_hop,
        entity_table=trees.entity_table,
        num_seeds=trees.num_seeds,
        statistics=None if statistics is None else {t: torch.from_numpy(x) for t, x in statistics.items()},
        columns=None if columns is None else torch.from_numpy(columns),
    )


def _dates(
    trees: TemporalSubgraph, graph: RelationalEntityGraph
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Returns per table the times and rows of its nodes: int64 [nodes] each."""
    return {
        table: (graph.times_of(table, distinct)[trees.index[table]], distinct[trees.index[table]])
        for table, distinct in trees.rows.items()
    }


def _late_rows(
    trees: TemporalSubgraph, table: str, features: TableFeatures, before_s: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the distinct rows of a table with late cells, as the seeds know them: the row of each cell, and the index of each node."""
    rows, bounds = trees.rows[table][trees.index[table]], before_s[trees.seed[table]]
    first, index = distinct_rows(rows, features.passed(rows, bounds))
    known = features.known(rows[first], bounds[first])
    return cells_of(rows[first], known, len(features.schema.columns)), index
