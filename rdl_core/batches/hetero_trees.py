"""Trees of (entity, time) questions as PyG's HeteroData, and back: what RelBench's and PyG's models read, and what ours make of such a batch.

The form is that of PyG's NeighborLoader with RelBench's names: seeds come first among the nodes of their table, whose `seed_time` says that they are.

Promise: a model gives the same vectors for the HeteroData of trees as for the trees themselves, but for the order of float additions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_frame import TensorFrame

from rdl_core.batches.edges import Edges, make_edges
from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.store import Store
from rdl_core.sampling.temporal_sampling import TemporalSubgraph
from rdl_core.timestamps import SECONDS_PER_DAY

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def trees_to_hetero_data(
    trees: TemporalSubgraph,
    time_s: NDArray[np.int64],
    store: Store,
    *,
    before_s: NDArray[np.int64] | None = None,
    inputs: QuestionInputs | None = None,
) -> HeteroData:
    """Gathers times, cells and other inputs of the nodes of trees.

    Args:
        trees: From TemporalSampling.
        time_s: int64 [seeds], the seeds' times, which ages are measured from.
        store: The store that they are of.
        before_s: int64 [seeds], bounds from which on cells are null; None: the seeds' times.
        inputs: What a backbone of ours reads besides; None: nothing.

    Returns:
        HeteroData. Each table has `n_id` (int64 [nodes], row numbers), `time` (int64 [nodes], UNIX seconds from which a row exists), `batch` (int64
        [nodes], which seed's tree) and, if it has attributes, `tf` (a TensorFrame of [nodes] rows). The table of the seeds has `seed_time` (int64
        [seeds]) and `batch_size`; its first nodes are the seeds. Each directed edge type has an `edge_index` (int64 [2, edges]) from neighbour to
        row. With `inputs`, tables may have `statistics`, the seeds' table `columns`: float32, NaN where undefined.
    """
    from torch_geometric.data import HeteroData  # seconds, which processes that pretrain need not spend

    batch = collate_trees(trees, time_s, store.graph, store.features, before_s=before_s, inputs=inputs)
    data = HeteroData()
    for table, index in batch.index.items():
        rows = trees.rows[table][trees.index[table]]
        data[table].n_id = torch.from_numpy(rows.astype(np.int64))
        data[table].time = torch.from_numpy(store.graph.times_of(table, rows).astype(np.int64))
        data[table].batch = torch.from_numpy(trees.seed[table].astype(np.int64))
        data[table].num_nodes = len(rows)
        if batch.frames[table].num_cols:
            data[table].tf = batch.frames[table][index]
    for table, statistics in (batch.statistics or {}).items():
        data[table].statistics = statistics
    for edge_type, ends in trees.edges.items():
        data[edge_type].edge_index = torch.from_numpy(ends.astype(np.int64))
    seeds = data[trees.entity_table]
    seeds.seed_time, seeds.batch_size = torch.from_numpy(time_s), trees.num_seeds
    if batch.columns is not None:
        seeds.columns = batch.columns
    return data


def hetero_data_to_trees(data: HeteroData, timed_tables: Sequence[str], *, newest_first: bool = False) -> TreeBatch:
    """Returns what a backbone of ours reads of a HeteroData whose seeds are named; on the CPU.

    Args:
        data: As `trees_to_hetero_data` makes it, whole: all tables, all directed edge types.
        timed_tables: The tables with a time column.
        newest_first: Whether each row's edges are put in the order of their sources' times, as the backbone's configuration wants them.

    Raises:
        ValueError: No table, or several, have a `seed_time`; or its seeds are not the first nodes.
    """
    entity_table = _entity_table(data)
    seed_time = data[entity_table].seed_time.numpy()
    ages = {t: _days(seed_time[data[t].batch.numpy()] - data[t].time.numpy()) for t in timed_tables}
    each = {t: torch.arange(data[t].num_nodes) for t in data.node_types}
    statistics = {t: data[t].statistics for t in data.node_types if "statistics" in data[t]}
    return TreeBatch(
        frames=_frames(data),
        index=each,
        distinct_age_days={t: torch.from_numpy(days) for t, days in ages.items()},
        age_index={t: each[t] for t in ages},
        edges=(_edges(data, ages, newest_first=newest_first),),
        num_nodes_per_hop={t: [len(nodes)] for t, nodes in each.items()},
        entity_table=entity_table,
        num_seeds=len(seed_time),
        statistics=statistics or None,
        columns=data[entity_table].columns if "columns" in data[entity_table] else None,
    )


def hetero_data_to_rows(
    data: HeteroData, timed_tables: Sequence[str], *, newest_first: bool = False
) -> tuple[dict[str, TensorFrame], dict[EdgeType, Edges], dict[str, Tensor]]:
    """Returns what `RelationalEncoder.forward` takes, of a subgraph or a batch of some: cells, edges, and ages before each sample's newest row.

    Args:
        data: As `to_hetero_data` makes it, or PyG's Batch of such.
        timed_tables, newest_first: As of `hetero_data_to_trees`.
    """
    sample = {
        t: data[t].batch.numpy() if "batch" in data[t] else np.zeros(data[t].num_nodes, int) for t in timed_tables
    }
    newest = np.full(1 + max((int(s.max(initial=0)) for s in sample.values()), default=0), np.iinfo(np.int64).min)
    for table in timed_tables:
        np.maximum.at(newest, sample[table], data[table].time.numpy())
    ages = {t: _days(newest[sample[t]] - data[t].time.numpy()) for t in timed_tables}
    edges = _edges(data, ages, newest_first=newest_first)
    return _frames(data), edges, {t: torch.from_numpy(days) for t, days in ages.items()}


def _days(seconds: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.maximum(seconds / SECONDS_PER_DAY, 0.0).astype(np.float32)


def _edges(data: HeteroData, ages: Mapping[str, NDArray[np.float32]], *, newest_first: bool) -> dict[EdgeType, Edges]:
    edges = {}
    for edge_type in data.edge_types:
        (source, _, target), index = edge_type, data[edge_type].edge_index.numpy()
        dates = (data[source].time.numpy(), data[source].n_id.numpy()) if newest_first else None
        sizes = data[source].num_nodes, data[target].num_nodes
        edges[edge_type] = make_edges(index[0], index[1], *sizes, ages.get(source), dates)
    return edges


def _frames(data: HeteroData) -> dict[str, TensorFrame]:
    empty = {t: TensorFrame({}, {}, num_rows=data[t].num_nodes) for t in data.node_types if "tf" not in data[t]}
    return empty | {t: data[t].tf for t in data.node_types if t not in empty}


def _entity_table(data: HeteroData) -> str:
    """Returns the table of the seeds; raises what `hetero_data_to_trees` says."""
    found: Mapping[str, int] = {t: len(data[t].seed_time) for t in data.node_types if "seed_time" in data[t]}
    if len(found) != 1:
        raise ValueError(
            f"expected a HeteroData with the `seed_time` of one table's seeds, got {list(found) or 'none'}. Remedy: model.sample(store, table, rows, "
            "time), or trees_to_hetero_data; for all rows of a subgraph without seeds, model.rows(data)"
        )
    ((table, seeds),) = found.items()
    if not np.array_equal(data[table].batch[:seeds].numpy(), np.arange(seeds)):
        raise ValueError(
            f"the first {seeds} nodes of {table!r} are not its seeds, in their order: batches were joined. Remedy: sample all seeds at once"
        )
    return table
