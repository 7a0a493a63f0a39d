"""Samples as tensors: cells of both views, edges and the layout of the losses, made on the host once per step; or as PyG's HeteroData.

Owns corruption and which logits are positives and negatives; everything random in a batch is a function of (seed, epoch, sample).
"""

from rdl_core.batches.edges import Edges, make_edges
from rdl_core.batches.hetero_data import to_hetero_data
from rdl_core.batches.hetero_trees import hetero_data_to_rows, hetero_data_to_trees, trees_to_hetero_data
from rdl_core.batches.pretraining_batch import Cursor, PretrainingBatch, collate
from rdl_core.batches.row_source import RowSource, ShardedRows, mapped_rows
from rdl_core.batches.sample_layout import SampleLayout, sample_layout

__all__ = [
    "Cursor",
    "Edges",
    "PretrainingBatch",
    "RowSource",
    "SampleLayout",
    "ShardedRows",
    "collate",
    "hetero_data_to_rows",
    "hetero_data_to_trees",
    "make_edges",
    "mapped_rows",
    "sample_layout",
    "to_hetero_data",
    "trees_to_hetero_data",
]
