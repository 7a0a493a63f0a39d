"""Samples as tensors: cells, corruption and the layout of a step, for both views; or a sample as PyG's HeteroData."""

from rdl_core.batches.hetero_data import to_hetero_data
from rdl_core.batches.row_source import RowSource, ShardedRows, mapped_rows

__all__ = ["RowSource", "ShardedRows", "mapped_rows", "to_hetero_data"]
