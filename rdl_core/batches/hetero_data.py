"""A sampled subgraph as PyG's HeteroData, with a PyTorch Frame TensorFrame per table, for models that are not ours.

Several subgraphs become one batch by `torch_geometric.data.Batch.from_data_list`. See docs/hetero_data.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from rdl_core.batches.pretraining_batch import known_cells
from rdl_core.batches.row_source import RowCells, RowTopology
from rdl_core.graph.feature_rows import cells_of
from rdl_core.graph.reg import reverse
from rdl_core.sampling.subgraph import Subgraph

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def to_hetero_data(subgraph: Subgraph, times: RowTopology, cells: Mapping[str, RowCells]) -> HeteroData:
    """Gathers times and cells of a subgraph's rows.

    Args:
        subgraph: A sample of HGSampling.
        times: Times of its rows: `store.graph`, or the first that a RowSource returns for it.
        cells: Cells of its rows: `store.features`, or the second that a RowSource returns for it.

    Returns:
        HeteroData. Each table has `n_id` (int64 [rows], row numbers), `time` (int64 [rows], UNIX seconds from which a row exists) and, if it has
        attributes, `tf` (a TensorFrame of [rows] rows; a late cell that was not known before the newest row of the sample is null). Each foreign
        key has an `edge_index` (int64 [2, links]) from child to parent under (child, fkey_col, parent), and one back under (parent,
        "rev_" + fkey_col, child).
    """
    from torch_geometric.data import HeteroData  # seconds, which processes that pretrain need not spend

    data = HeteroData()
    for table, rows in subgraph.rows.items():
        data[table].n_id = torch.from_numpy(rows.astype("int64"))
        data[table].time = torch.from_numpy(times.times_of(table, rows).astype("int64"))
        data[table].num_nodes = len(rows)
        (known,) = known_cells([subgraph.rows], table, times, cells) if cells[table].has_late_cells else [None]
        frame = cells[table].gather(rows if known is None else cells_of(rows, known, known.shape[1]))
        if frame.num_cols:
            data[table].tf = frame
    for edge_type, links in subgraph.links.items():
        index = torch.from_numpy(links.astype("int64"))
        data[edge_type].edge_index = index
        data[reverse(edge_type)].edge_index = index.flip(0)
    return data
