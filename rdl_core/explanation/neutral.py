"""The neutral value of each kind of input, and a batch of trees with some of its inputs at theirs.

    generated columns and statistics, of the network   undefined, which it reads as the median of the questions that its ranks were fitted on
                                                       (rank_gauss.py): the value to which training puts a column that it drops
    generated columns, of heads                        the median over up to 2,000 past events of the entity table, evenly spaced among those up to
                                                       the cutoff; undefined where half of them have none
    cells of rows in a tree                            a number: the column's mean; a time: its median; all else: null, which is a zero vector
    ages of rows in a tree                             the median age of the table's rows at the cutoff
    edges                                              left out: what lies behind them sends no message

Promises: neutral values are functions of the model and of rows up to the cutoff, so that no row after it changes a contribution; an input that is at
its neutral value, or that a batch does not have, changes nothing, and the batch itself is returned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data.multi_embedding_tensor import MultiEmbeddingTensor
from torch_frame.data.multi_nested_tensor import MultiNestedTensor

from rdl_core.batches.edges import Edges
from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.explanation.groups import Inputs, Mask
from rdl_core.graph.features import calendar
from rdl_core.graph.reg import ALWAYS, EdgeType, RelationalEntityGraph
from rdl_core.graph.schema import ColumnSchema, TableSchema
from rdl_core.graph.store import Store
from rdl_core.statistics.columns import Columns
from rdl_core.timestamps import NO_TIME, SECONDS_PER_DAY

NUM_EVENTS = 2_000
"""Past events over which the neutral values of heads' columns are medians."""
NULL_CATEGORY = -1


class NeutralTrees:
    """Puts inputs of trees to their neutral values.

    Args:
        store: The store that the trees are of.
    """

    def __init__(self, store: Store) -> None:
        self._tables = store.schema.tables
        graph = store.graph
        self._age_days = {
            t: _median_age_days(graph, t)
            for t, timed in zip(graph.node_types, graph.has_time_col, strict=True)
            if timed
        }

    def __call__(self, batch: TreeBatch, inputs: Inputs) -> TreeBatch:
        """Returns the batch with these inputs at their neutral values; the batch itself where that changes nothing."""
        changes: dict[str, Any] = {}
        if batch.columns is not None:
            changes["columns"] = _undefined(batch.columns, inputs.columns)
        if batch.statistics is not None:
            of = {t: _undefined(values, inputs.statistics[t]) for t, values in batch.statistics.items()}
            changes["statistics"] = _changed(batch.statistics, of)
        cells = {t: names for t, names in inputs.cells.items() if len(batch.index[t])}
        frames = {t: neutral_frame(batch.frames[t], self._tables[t], names) for t, names in cells.items()}
        changes["frames"] = _changed(batch.frames, frames)
        ages = {t: self._age_days[t] for t in inputs.ages if len(batch.distinct_age_days[t])}
        days = {t: torch.full_like(batch.distinct_age_days[t], age) for t, age in ages.items()}
        changes["distinct_age_days"] = _changed(batch.distinct_age_days, days)
        edges = tuple(_neutral_edges(item, inputs.edges, ages) for item in batch.edges)
        if any(new is not old for new, old in zip(edges, batch.edges, strict=True)):
            changes["edges"] = edges
        changes = {name: value for name, value in changes.items() if value is not getattr(batch, name)}
        return dataclasses.replace(batch, **changes) if changes else batch


def neutral_columns(columns: Columns, graph: RelationalEntityGraph) -> NDArray[np.float32]:
    """Returns the neutral value of each column that heads read, in its own unit: float32 [width], NaN where half of the past events have none."""
    values = columns(*_past_events(graph, columns.table), raw=True)
    defined = np.isfinite(values).sum(axis=0)
    enough = 2 * defined > len(values)
    neutral = np.full(columns.width, np.nan, np.float32)
    neutral[enough] = np.nanmedian(values[:, enough], axis=0)
    return neutral


def _past_events(graph: RelationalEntityGraph, table: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns rows of a table and times, int64 each: of children up to the cutoff, evenly spaced; of a table without any, its rows at the cutoff."""
    rows, times = [], []
    for edge_type in (e for e in graph.edge_types if e[2] == table):
        parent, time = graph.key_parent(edge_type), graph.table_time(edge_type[0])
        events = np.flatnonzero((parent >= 0) & (time <= graph.cutoff_s) & (time != ALWAYS))
        rows.append(parent[events].astype(np.int64))
        times.append(time[events])
    found, before_s = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (rows, times))
    if not len(found):
        found = np.flatnonzero(graph.table_time(table) <= graph.cutoff_s)
        before_s = np.full(len(found), graph.cutoff_s + 1)
    some = np.unique(np.linspace(0, max(len(found) - 1, 0), NUM_EVENTS).astype(np.int64))[: len(found)]
    return found[some], before_s[some]


def neutral_frame(frame: TensorFrame, schema: TableSchema, names: Iterable[str]) -> TensorFrame:
    """Returns rows with the cells of some columns at their neutral values."""
    columns = {column.name: column for column in schema.columns if column.name in set(names)}
    features = dict(frame.feat_dict)
    for kind, of_kind in frame.col_names_dict.items():
        places = [(place, columns[name]) for place, name in enumerate(of_kind) if name in columns]
        if places:
            features[kind] = _neutral_cells(kind, features[kind], places)
    return TensorFrame(features, frame.col_names_dict, num_rows=frame.num_rows)


def _neutral_cells(kind: stype, feature: Any, places: list[tuple[int, ColumnSchema]]) -> Any:
    """Returns the cells of one semantic type; `places` are the columns to change."""
    if kind == stype.multicategorical:
        return _emptied(feature, [place for place, _ in places])
    if kind == stype.embedding:
        values = feature.values.clone()
        for place, _ in places:
            values[:, feature.offset[place] : feature.offset[place + 1]] = 0
        return MultiEmbeddingTensor(feature.num_rows, feature.num_cols, values, feature.offset)
    cells = feature.clone()
    for place, column in places:
        cells[:, place] = _neutral_cell(kind, column).to(cells)
    return cells


def _neutral_cell(kind: stype, column: ColumnSchema) -> Tensor:
    if kind == stype.numerical:
        return torch.tensor(column.mean)
    if kind == stype.timestamp:
        return torch.from_numpy(calendar(np.array([column.median_s]), column.oldest_s)[0])
    return torch.tensor(NULL_CATEGORY)


def _emptied(lists: MultiNestedTensor, places: list[int]) -> MultiNestedTensor:
    """Returns lists per cell, with those of some columns empty."""
    lengths = lists.offset.diff().view(lists.num_rows, lists.num_cols)
    is_kept = torch.ones_like(lengths, dtype=torch.bool)
    is_kept[:, places] = False
    values = lists.values[is_kept.flatten().repeat_interleave(lengths.flatten())]
    offset = torch.cat([lists.offset[:1], (lengths * is_kept).flatten().cumsum(0)])
    return MultiNestedTensor(lists.num_rows, lists.num_cols, values, offset)


def _undefined(values: Tensor, mask: Mask) -> Tensor:
    """Returns float32 [rows, width] with NaN in the columns of a mask; the same tensor where nothing changes."""
    chosen = torch.from_numpy(mask).to(values.device)
    if bool(values[:, chosen].isnan().all()):
        return values
    return values.masked_fill(chosen, torch.nan)


def _neutral_edges(
    edges: dict[EdgeType, Edges], left_out: Iterable[EdgeType], ages: dict[str, float]
) -> dict[EdgeType, Edges]:
    """Returns edges without some types, and with sources of neutral age; the same dict where nothing changes."""
    changed = {}
    for edge_type, of in edges.items():
        if not len(of.source):
            continue
        if edge_type in left_out:
            changed[edge_type] = _none(of)
        elif edge_type[0] in ages and of.age_days is not None:
            age_days = torch.full_like(of.age_days, ages[edge_type[0]])
            changed[edge_type] = dataclasses.replace(of, age_days=age_days)
    return {**edges, **changed} if changed else edges


def _none(edges: Edges) -> Edges:
    """Returns no edges between the same nodes."""
    names = ("source", "target", "edge_by_source", "target_by_source")
    empty: dict[str, Any] = {name: getattr(edges, name)[:0] for name in names}
    pointers: dict[str, Any] = {name: torch.zeros_like(getattr(edges, name)) for name in ("row_ptr", "source_ptr")}
    return dataclasses.replace(
        edges,
        **empty,
        **pointers,
        degree=torch.ones_like(edges.degree),
        each=edges.each[:1],
        age_days=None if edges.age_days is None else edges.age_days[:0],
        is_single=True,
    )


def _changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns the values with changes; the same dict where each change is the value itself."""
    if all(new is values[name] for name, new in changes.items()):
        return values
    return {**values, **changes}


def _median_age_days(graph: RelationalEntityGraph, table: str) -> float:
    time = graph.table_time(table)
    past = time[(time <= graph.cutoff_s) & (time != ALWAYS) & (time != NO_TIME)]
    return float(np.median(graph.cutoff_s - past)) / SECONDS_PER_DAY if len(past) else 0.0
