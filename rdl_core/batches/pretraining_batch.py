"""From samples to a batch that a model reads: both views of every sampled row, links to predict, edges to pass messages along.

A batch is the disjoint union of its samples. Rows of a table are ordered [clean view of sample 0, 1, ... | corrupted view of sample 0, 1, ...],
so one pass of the encoder serves both views; message passing treats the views as separate graphs with the same links.

Promises: everything random (corruption, hidden links, ranks of negatives, dropout) is a function of (seed, epoch, sample); a link chosen as a
target is hidden from message passing in both directions and both views.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_frame import TensorFrame

from rdl_core.batches.corruption import corrupted_cells
from rdl_core.batches.edges import Edges, make_edges
from rdl_core.batches.row_source import RowCells, RowTopology
from rdl_core.batches.sample_layout import SampleLayout, sample_layout
from rdl_core.batches.transfer import frames_on_device, on_device
from rdl_core.config import CorruptionConfig, LossConfig
from rdl_core.graph.feature_rows import cells_of
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.kernels.dropout_mask import row_keys
from rdl_core.random_streams import PURPOSE_NEGATIVES, PURPOSE_TARGET_LINKS, numpy_generator
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.timestamps import SECONDS_PER_DAY

Cursor = tuple[int, int]
"""(epoch, sample): names one sample of a run."""


@dataclass(frozen=True, kw_only=True)
class PretrainingBatch:
    """See the file's text; n rows per table and view.

    Args:
        frames: Per table 2 n rows.
        edges: Per directed edge type, for both views.
        links: Per foreign key int64 [2, links] (child, parent), places in the clean view.
        targets: Per foreign key bool [links], or None when all links are targets.
        sample: Per table int64 [n], which sample.
        rank: Per table int64 [n], a random order within the sample.
        age_days: Per table with a time column float [2 n], or None.
        dropout_keys: Per table int64 [2 n], a key per row that is a function of (seed, epoch, sample, view, place in the sample).
        num_samples: Samples.
        layout: What the losses need besides rows, or None.
    """

    frames: dict[str, TensorFrame]
    edges: dict[EdgeType, Edges]
    links: dict[EdgeType, Tensor]
    targets: dict[EdgeType, Tensor] | None
    sample: dict[str, Tensor]
    rank: dict[str, Tensor]
    age_days: dict[str, Tensor] | None
    dropout_keys: dict[str, Tensor]
    num_samples: int
    layout: SampleLayout | None

    def to(self, device: torch.device) -> PretrainingBatch:
        """Returns the batch on a device, copied from pinned memory without waiting; what the model does not read stays on the host."""
        if device.type == "cpu":
            return self
        parts: dict[str, Any] = {n: getattr(self, n) for n in ("edges", "age_days", "dropout_keys", "layout")}
        return dataclasses.replace(self, frames=frames_on_device(self.frames, device), **on_device(parts, device))


def collate(
    subgraphs: Sequence[Subgraph],
    cursors: Sequence[Cursor],
    graph: RowTopology,
    features: Mapping[str, RowCells],
    config: CorruptionConfig,
    *,
    seed: int,
    loss: LossConfig | None = None,
    newest_first: bool = False,
) -> PretrainingBatch:
    """Returns the batch of these samples.

    Args:
        subgraphs: From HGSampling.
        cursors: (epoch, sample) of each.
        graph, features: Times, parents and cells of the rows (row_source.py).
        config: Corruption and hidden links.
        seed: Run seed.
        loss: Form of the losses; None: the batch serves the encoder alone and has no layout.
        newest_first: Whether each row's edges are put in the order of their sources' times, as the backbone's configuration wants them.
    """
    rows = [s.rows for s in subgraphs]
    tables = graph.node_types
    first = {t: np.concatenate([[0], np.cumsum([len(r[t]) for r in rows])]) for t in tables}
    frames: dict[str, TensorFrame] = {}
    for number, table in enumerate(tables):
        of_table = [r[table] for r in rows]
        known = [None] * len(rows) if not features[table].has_late_cells else known_cells(rows, table, graph, features)
        frames[table] = _two_views(of_table, known, features[table], config, seed, cursors, number)
    links, targets = _links(subgraphs, cursors, first, config, seed)
    sample = {
        t: torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(r[t]) for r in rows])) for t in tables
    }
    rank = {t: _ranks([len(r[t]) for r in rows], seed, cursors, number) for number, t in enumerate(tables)}
    ages = _ages(rows, graph)
    return PretrainingBatch(
        frames=frames,
        edges=_edges(links, targets, {t: int(first[t][-1]) for t in tables}, ages, _dates(rows, graph, newest_first)),
        links=links,
        targets=targets,
        sample=sample,
        rank=rank,
        age_days={t: torch.from_numpy(a) for t, a in ages.items()} if config.relative_time else None,
        dropout_keys={
            t: row_keys(
                [
                    (len(r[t]), (seed, *cursor, view))
                    for view in range(2)
                    for r, cursor in zip(rows, cursors, strict=True)
                ]
            )
            for t in tables
        },
        num_samples=len(subgraphs),
        layout=None if loss is None else sample_layout(links, targets, sample, rank, len(subgraphs), loss),
    )


def known_cells(
    rows: Sequence[Mapping[str, NDArray]], table: str, graph: RowTopology, features: Mapping[str, RowCells]
) -> list[NDArray[np.bool_] | None]:
    """Returns which cells of a table each sample knows: those known before its newest row, of whatever table, came to be; None for all."""
    now = [max((int(graph.times_of(t, r).max()) for t, r in one.items() if len(r)), default=0) for one in rows]
    return [features[table].known(one[table], before_s) for one, before_s in zip(rows, now, strict=True)]


def _two_views(
    rows: list[NDArray],
    known: Sequence[NDArray[np.bool_] | None],
    features: RowCells,
    config: CorruptionConfig,
    seed: int,
    cursors: Sequence[Cursor],
    table: int,
) -> TensorFrame:
    donors = features.donors(config.distribution)
    clean = [cells_of(r, k, len(donors)) for r, k in zip(rows, known, strict=True)]
    corrupted = [
        corrupted_cells(r, donors, config.probability, stream=(seed, *cursor, table), known=k)
        for r, k, cursor in zip(rows, known, cursors, strict=True)
    ]
    return features.gather(np.concatenate(clean + corrupted))


def _links(
    subgraphs: Sequence[Subgraph],
    cursors: Sequence[Cursor],
    first: Mapping[str, NDArray],
    config: CorruptionConfig,
    seed: int,
) -> tuple[dict[EdgeType, Tensor], dict[EdgeType, Tensor] | None]:
    per_sample = [s.links for s in subgraphs]
    links, targets = {}, {}
    for k, edge_type in enumerate(subgraphs[0].edge_types):
        child, _, parent = edge_type
        shifted = [
            one[edge_type].astype(np.int64) + np.array([[first[child][i]], [first[parent][i]]])
            for i, one in enumerate(per_sample)
        ]
        links[edge_type] = torch.from_numpy(np.concatenate(shifted, axis=1))
        hidden = [
            numpy_generator(PURPOSE_TARGET_LINKS, seed, *cursor, k).random(one[edge_type].shape[1])
            < config.target_link_share
            for one, cursor in zip(per_sample, cursors, strict=True)
        ]
        targets[edge_type] = torch.from_numpy(np.concatenate(hidden))
    return links, targets if config.target_link_share > 0 else None


def _edges(
    links: Mapping[EdgeType, Tensor],
    targets: Mapping[EdgeType, Tensor] | None,
    num_rows: Mapping[str, int],
    ages: Mapping[str, NDArray[np.float32]],
    dates: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> dict[EdgeType, Edges]:
    edges = {}
    for edge_type, index in links.items():
        child, _, parent = edge_type
        one_view = (index if targets is None else index[:, ~targets[edge_type]]).numpy()
        children, parents = (
            np.concatenate([ends, ends + num_rows[t]]) for t, ends in zip((child, parent), one_view, strict=True)
        )
        sizes = 2 * num_rows[child], 2 * num_rows[parent]
        edges[edge_type] = make_edges(children, parents, *sizes, ages.get(child), dates.get(child))
        edges[reverse(edge_type)] = make_edges(parents, children, *sizes[::-1], ages.get(parent), dates.get(parent))
    return edges


def _dates(
    rows: list[dict[str, NDArray]], graph: RowTopology, newest_first: bool
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Returns times and row numbers of both views, per table int64 [2 n] each; of no table where their order is not asked for."""
    if not newest_first:
        return {}
    dates = {}
    for table in graph.node_types:
        numbers = np.concatenate([one[table] for one in rows]).astype(np.int64)
        times = np.concatenate([graph.times_of(table, one[table]) for one in rows])
        dates[table] = np.concatenate([times, times]), np.concatenate([numbers, numbers])
    return dates


def _ranks(sizes: list[int], seed: int, cursors: Sequence[Cursor], table: int) -> Tensor:
    orders = [
        numpy_generator(PURPOSE_NEGATIVES, seed, *c, table).permutation(n) for n, c in zip(sizes, cursors, strict=True)
    ]
    return torch.from_numpy(np.concatenate(orders).astype(np.int64))


def _ages(rows: list[dict[str, NDArray]], graph: RowTopology) -> dict[str, NDArray[np.float32]]:
    """Returns days before the newest row of the sample, per table with a time column float32 [2 n]."""
    timed = [t for t, has in zip(graph.node_types, graph.has_time_col, strict=True) if has]
    times = [{t: graph.times_of(t, r[t]) for t in timed} for r in rows]
    ages: dict[str, NDArray[np.float32]] = {}
    newest = [max((int(x.max()) for x in one.values() if len(x)), default=0) for one in times]
    for table in timed:
        days = np.concatenate([(now - one[table]) / SECONDS_PER_DAY for one, now in zip(times, newest, strict=True)])
        ages[table] = np.concatenate([days, days]).astype(np.float32)
    return ages
