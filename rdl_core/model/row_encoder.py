"""Columns of a row become one vector: PyTorch Frame's attribute encoders, then a linear map or a tabular ResNet (Gorishniy et al. 2021).

Promises: one encoder per table, made from its schema alone; a table without attributes gets a learned vector; a null cell contributes a zero
vector, of whatever semantic type. Dropout masks depend on the sample, not on the batch that it travels in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data.mapper import TimestampTensorMapper
from torch_frame.data.multi_embedding_tensor import MultiEmbeddingTensor
from torch_frame.data.stats import StatType
from torch_frame.nn import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    LinearEncoder,
    MultiCategoricalEmbeddingEncoder,
    ResNet,
    StypeWiseFeatureEncoder,
    TimestampEncoder,
)

from rdl_core.config import FTTransformerRows, LinearRows, ResNetRows
from rdl_core.graph.features import calendar, col_names_dict
from rdl_core.graph.schema import ColumnSchema, TableSchema
from rdl_core.kernels.dropout_mask import SampleDropout
from rdl_core.model.folded_map import folded_maps
from rdl_core.model.residual import residual_blocks


def column_statistics(column: ColumnSchema) -> dict[StatType, Any]:
    """PyTorch Frame's statistics of a column, from the schema."""
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
        missing = feat.isnan()
        x = super().encode_forward(torch.where(missing, self.mean.to(feat.dtype), feat), col_names)
        return x.masked_fill(missing.unsqueeze(-1), 0.0)


class NullableTimestampEncoder(TimestampEncoder):
    """PyTorch Frame's TimestampEncoder whose null cells give zero vectors; the original takes a null for the median time."""

    def forward(self, feat: Tensor, col_names: list[str] | None = None) -> Tensor:
        missing = (feat < 0).any(dim=-1, keepdim=True)
        return super().forward(feat, col_names).masked_fill(missing, 0.0)


class NullableEmbeddingEncoder(LinearEmbeddingEncoder):
    """PyTorch Frame's LinearEmbeddingEncoder whose null cells, stored as zero vectors, give zero vectors: no bias."""

    def encode_forward(self, feat: MultiEmbeddingTensor, col_names: list[str] | None = None) -> Tensor:
        missing = torch.stack([(v == 0).all(dim=1) for v in feat.values.split(self.emb_dim_list, dim=1)], dim=1)
        return super().encode_forward(feat, col_names).masked_fill(missing.unsqueeze(-1), 0.0)


STYPE_ENCODERS = {
    stype.numerical: NullableLinearEncoder,
    stype.categorical: EmbeddingEncoder,
    stype.multicategorical: MultiCategoricalEmbeddingEncoder,
    stype.timestamp: NullableTimestampEncoder,
    stype.embedding: NullableEmbeddingEncoder,
}
"""How the cells of each semantic type become vectors."""


class RowEncoder(torch.nn.Module):
    """One table's rows to vectors.

    Args:
        schema: The table.
        channels: Length of cell and row vectors.
        config: Linear or ResNet.
        number: Tells the tables of one model apart (dropout streams).
    """

    def __init__(
        self, schema: TableSchema, channels: int, config: LinearRows | ResNetRows | FTTransformerRows, number: int
    ) -> None:
        super().__init__()
        names = col_names_dict(schema)
        self.dropout = SampleDropout(config.dropout if isinstance(config, ResNetRows) else 0.0, number)
        self.constant = torch.nn.Parameter(torch.randn(channels) * 0.1) if not names else None
        if not names:
            return
        statistics = {c.name: column_statistics(c) for c in schema.columns}
        encoders = {s: STYPE_ENCODERS[s]() for s in names}
        self.model: ResNet | LinearRow
        if isinstance(config, ResNetRows):
            resnet = ResNet(
                channels, channels, config.num_layers, statistics, names, encoders, dropout_prob=config.dropout
            )
            for i in range(config.num_layers):
                resnet.backbone[i].dropout = torch.nn.Identity()  # the masks come from SampleDropout
            self.model = resnet
        else:
            self.model = LinearRow(channels, statistics, names, encoders)

    def forward(self, frame: TensorFrame) -> Tensor:
        """Vectors of rows: [rows, channels]."""
        if self.constant is not None:
            return self.constant.expand(frame.num_rows, -1)
        if isinstance(self.model, LinearRow):
            return folded_maps(self.model.encoder, frame, [self.model.linear])
        first: Any = self.model.backbone[0]
        if first.shortcut is None:  # one column, whose cell vector is the shortcut
            shortcut = self.model.encoder(_as_parameter_dtype(frame, first.lin1.weight.dtype))[0].squeeze(1)
            both = torch.cat([first.lin1(shortcut), shortcut], dim=1).to(first.lin1.weight.dtype)  # of autocast's
        else:
            both = folded_maps(self.model.encoder, frame, [first.lin1, first.shortcut])
        num_masks, rows = 2 * len(self.model.backbone), frame.num_rows
        masks = self.dropout.masks(num_masks, rows, first.lin2.in_features, both)
        return residual_blocks(self.model, both, masks, self.dropout.probability)


class LinearRow(torch.nn.Module):
    """One linear map on the concatenation of a row's cell vectors."""

    def __init__(self, channels: int, statistics: dict, names: dict[stype, list[str]], encoders: dict) -> None:
        super().__init__()
        self.encoder = StypeWiseFeatureEncoder(channels, statistics, names, encoders)
        self.linear = torch.nn.Linear(channels * sum(map(len, names.values())), channels)


def _as_parameter_dtype(frame: TensorFrame, dtype: torch.dtype) -> TensorFrame:
    embedding = frame.feat_dict.get(stype.embedding)
    if embedding is None or embedding.values.dtype == dtype:
        return frame
    cast = MultiEmbeddingTensor(embedding.num_rows, embedding.num_cols, embedding.values.to(dtype), embedding.offset)
    return TensorFrame({**frame.feat_dict, stype.embedding: cast}, frame.col_names_dict, num_rows=frame.num_rows)
