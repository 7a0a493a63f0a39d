"""A sampled subgraph as PyG's HeteroData, for models that are not ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch_geometric.data import HeteroData

from rdl_core.batches.row_source import RowCells, RowTopology
from rdl_core.graph.reg import reverse
from rdl_core.sampling.subgraph import Subgraph


def to_hetero_data(subgraph: Subgraph, times: RowTopology, cells: Mapping[str, RowCells]) -> HeteroData:
    """Gathers the features of a subgraph.

    Args:
        subgraph: From HGSampling.
        times, cells: Of its rows: `store.graph, store.features`, or what a RowSource returns for it.

    Returns:
        HeteroData with, per table, `n_id` (int64 [rows], row numbers), `time` (int64 [rows], UNIX seconds from which a row exists) and `tf` (a
        TensorFrame; not where a table has no attributes); per foreign key `edge_index` int64 [2, links], child to parent under
        (child, fkey_col, parent) and back under (parent, "rev_" + fkey_col, child).
    """
    data = HeteroData()
    for table, rows in subgraph.rows.items():
        data[table].n_id = torch.from_numpy(rows.astype("int64"))
        data[table].time = torch.from_numpy(times.times_of(table, rows).astype("int64"))
        data[table].num_nodes = len(rows)
        frame = cells[table].gather(rows)
        if frame.num_cols:
            data[table].tf = frame
    for edge_type, links in subgraph.links.items():
        index = torch.from_numpy(links.astype("int64"))
        data[edge_type].edge_index = index
        data[reverse(edge_type)].edge_index = index.flip(0)
    return data
