"""Cells become vectors: PyTorch Frame's encoders per semantic type, made from the schema's statistics.

Promise: a null cell gives a zero vector and a zero gradient, of whatever semantic type.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding
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
from torch_frame.nn.encoding import CyclicEncoding, PositionalEncoding

from rdl_core.graph.features import calendar
from rdl_core.graph.schema import ColumnSchema

NUM_YEARS = 1 << 15
"""Years are stored in 16 bits and begin at a column's oldest (features.py)."""


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
        """Returns cell vectors [rows, columns, channels] of numbers [rows, columns], NaN for null."""
        numbers, parameters = self.numbers_and_parameters(feat, self.weight.dtype)
        return torch.einsum("rcn,cno->rco", numbers, parameters)

    def numbers_and_parameters(self, feat: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns (standardised value and 1, zeros for null [rows, columns, 2], their parameters [columns, 2, channels])."""
        missing = feat.isnan()
        value = ((feat - self.mean) / self.std).masked_fill(missing, 0.0)
        return torch.stack([value, (~missing).to(value.dtype)], dim=2).to(dtype), torch.stack(
            [self.weight, self.bias], 1
        )


class PlainEmbeddingEncoder(EmbeddingEncoder):
    """PyTorch Frame's EmbeddingEncoder, which says its vectors."""

    def vectors(self) -> Tensor:
        """Returns the vector of each category of each column, null first: [1 + categories, channels]."""
        weight: Tensor = self.emb.weight
        return weight

    def encode_forward(self, feat: Tensor, col_names: list[str] | None = None) -> Tensor:
        """Returns cell vectors [rows, columns, channels] of codes [rows, columns], -1 for null."""
        places = (feat + self.offset + 1).masked_fill(feat < 0, 0)
        return embedding(places, self.vectors(), padding_idx=0)


class NullableTimestampEncoder(TimestampEncoder):
    """PyTorch Frame's TimestampEncoder whose null cells give zero vectors; the original takes a null for the median time.

    The sines and cosines of a cell's parts are read from a table, so they are the same bits on every device.
    """

    def forward(self, feat: Tensor, col_names: list[str] | None = None) -> Tensor:
        """Returns cell vectors [rows, columns, channels] of calendars [rows, columns, 7], -1 for null."""
        numbers, parameters = self.numbers_and_parameters(feat, self.weight.dtype)
        return torch.einsum("rcn,cno->rco", numbers, parameters)

    def numbers_and_parameters(self, feat: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns (encoded parts and 1, zeros for null [rows, columns, 57], their parameters [columns, 57, channels])."""
        table, begins = time_table(self.out_size, dtype, feat.device)
        missing = feat[..., :1] < 0
        shifted = torch.cat([feat[..., :1] - self.min_year.unsqueeze(1), feat[..., 1:]], dim=2)
        encoded = embedding((shifted + begins).masked_fill(missing, len(table) - 1), table).flatten(2)
        parameters = torch.cat([self.weight.flatten(1, 2), self.bias.unsqueeze(1)], dim=1)
        return torch.cat([encoded, (~missing).to(dtype)], dim=2), parameters


@cache
def time_table(out_size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns (encodings of all years from a column's first on, of all months, days, ..., part below part, then zeros; where parts begin [7])."""
    sizes = TimestampTensorMapper.CYCLIC_VALUES_NORMALIZATION_CONSTANT
    values = torch.cat([torch.arange(n, dtype=torch.float32) / n for n in sizes.tolist()])
    angles = torch.arange(NUM_YEARS).unsqueeze(1) * PositionalEncoding(out_size).mult_term.to(dtype)
    begins = torch.cat([torch.tensor([0]), NUM_YEARS + sizes.cumsum(0) - sizes])
    years = torch.cat([angles.sin(), angles.cos()], dim=1)
    table = torch.cat([years, CyclicEncoding(out_size)(values), torch.zeros(1, out_size)])
    return table.to(device, dtype), begins.to(device)


class NullableEmbeddingEncoder(LinearEmbeddingEncoder):
    """PyTorch Frame's LinearEmbeddingEncoder whose null cells, stored as zero vectors, give zero vectors: no bias."""

    def encode_forward(self, feat: MultiEmbeddingTensor, col_names: list[str] | None = None) -> Tensor:
        """Cell vectors [rows, columns, channels] of embeddings side by side."""
        values = feat.values.to(self.biases.dtype)
        missing = torch.stack([v.abs().sum(1) == 0 for v in values.split(self.emb_dim_list, dim=1)], dim=1)
        cast = MultiEmbeddingTensor(feat.num_rows, feat.num_cols, values, feat.offset)
        return super().encode_forward(cast, col_names).masked_fill(missing.unsqueeze(-1), 0.0)


STYPE_ENCODERS = {
    stype.numerical: NullableLinearEncoder,
    stype.categorical: PlainEmbeddingEncoder,
    stype.multicategorical: MultiCategoricalEmbeddingEncoder,
    stype.timestamp: NullableTimestampEncoder,
    stype.embedding: NullableEmbeddingEncoder,
}
"""The encoder of the cells of each semantic type, which become vectors."""
