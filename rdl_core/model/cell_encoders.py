"""Cells become vectors: PyTorch Frame's encoders per semantic type, made from the schema's statistics.

Promise: a null cell gives a zero vector and a zero gradient, of whatever semantic type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_frame import stype
from torch_frame.data.mapper import TimestampTensorMapper
from torch_frame.data.multi_embedding_tensor import MultiEmbeddingTensor
from torch_frame.data.stats import StatType
from torch_frame.nn import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    LinearEncoder,
    MultiCategoricalEmbeddingEncoder,
    TimestampEncoder,
)

from rdl_core.graph.features import calendar
from rdl_core.graph.schema import ColumnSchema


def column_statistics(column: ColumnSchema) -> dict[StatType, Any]:
    """Returns PyTorch Frame's statistics of a column, from the schema."""
    if column.stype == "numerical":
        return {StatType.MEAN: column.mean, StatType.STD: column.std}
    if column.stype == "categorical":
        return {StatType.COUNT: (list(column.categories), [1] * len(column.categories))}
    if column.stype == "multicategorical":
        return {StatType.MULTI_COUNT: (list(column.categories), [1] * len(column.categories))}
    if column.stype == "timestamp":
        seconds = torch.tensor([column.oldest_s, column.median_s, column.newest_s]).numpy()
        oldest, median, newest = torch.from_numpy(calendar(seconds, column.oldest_s).astype("int64"))
        year = TimestampTensorMapper.TIME_TO_INDEX["YEAR"]
        return {
            StatType.YEAR_RANGE: [int(oldest[year]), int(newest[year])],
            StatType.OLDEST_TIME: oldest,
            StatType.MEDIAN_TIME: median,
            StatType.NEWEST_TIME: newest,
        }
    return {StatType.EMB_DIM: column.channels}


class NullableLinearEncoder(LinearEncoder):
    """PyTorch Frame's LinearEncoder whose null cells give zero vectors and zero gradients.

    The original computes NaN * weight and zeroes the result afterwards, so that the weight's gradient is NaN * 0 = NaN.
    """

    def encode_forward(self, feat: Tensor, col_names: list[str] | None = None) -> Tensor:
        """Cell vectors [rows, columns, channels] of numbers [rows, columns]."""
        missing = feat.isnan()
        x = super().encode_forward(torch.where(missing, self.mean.to(feat.dtype), feat), col_names)
        return x.masked_fill(missing.unsqueeze(-1), 0.0)


class NullableTimestampEncoder(TimestampEncoder):
    """PyTorch Frame's TimestampEncoder whose null cells give zero vectors; the original takes a null for the median time."""

    def forward(self, feat: Tensor, col_names: list[str] | None = None) -> Tensor:
        """Cell vectors [rows, columns, channels] of calendars [rows, columns, 7], -1 for null."""
        missing = (feat < 0).any(dim=-1, keepdim=True)
        return super().forward(feat, col_names).masked_fill(missing, 0.0)


class NullableEmbeddingEncoder(LinearEmbeddingEncoder):
    """PyTorch Frame's LinearEmbeddingEncoder whose null cells, stored as zero vectors, give zero vectors: no bias."""

    def encode_forward(self, feat: MultiEmbeddingTensor, col_names: list[str] | None = None) -> Tensor:
        """Cell vectors [rows, columns, channels] of embeddings side by side."""
        values = feat.values.to(self.biases.dtype)
        missing = torch.stack([(v == 0).all(dim=1) for v in values.split(self.emb_dim_list, dim=1)], dim=1)
        cast = MultiEmbeddingTensor(feat.num_rows, feat.num_cols, values, feat.offset)
        return super().encode_forward(cast, col_names).masked_fill(missing.unsqueeze(-1), 0.0)


STYPE_ENCODERS = {
    stype.numerical: NullableLinearEncoder,
    stype.categorical: EmbeddingEncoder,
    stype.multicategorical: MultiCategoricalEmbeddingEncoder,
    stype.timestamp: NullableTimestampEncoder,
    stype.embedding: NullableEmbeddingEncoder,
}
"""How the cells of each semantic type become vectors."""
