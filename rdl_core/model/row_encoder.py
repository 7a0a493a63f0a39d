"""Columns of a row become one vector: a linear map, a tabular ResNet or FT-Transformer (Gorishniy et al. 2021) on PyTorch Frame's cell vectors.

A row encoder is any `torch.nn.Module` whose forward takes a TensorFrame and returns [rows, channels], so each of PyTorch Frame's models is one.

Promises: one encoder per table, made from its schema alone; a table without attributes gets a learned vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.nn import FTTransformer, ResNet, StypeWiseFeatureEncoder

from rdl_core.config import BackboneConfig, LinearRows, ResNetRows, RowsConfig
from rdl_core.config.registered import registered_row_encoder
from rdl_core.graph.features import STYPE, col_names_dict
from rdl_core.graph.schema import TableSchema
from rdl_core.model.cell_encoders import STYPE_ENCODERS, column_statistics
from rdl_core.model.folded_cells import folded_maps
from rdl_core.model.rich_numbers import RichEmbeddingEncoder, RichLinearEncoder

RICH_ENCODERS = STYPE_ENCODERS | {stype.numerical: RichLinearEncoder, stype.categorical: RichEmbeddingEncoder}
"""The encoders by which cells become vectors with `rich_numbers`."""


def make_row_encoder(schema: TableSchema, channels: int, config: RowsConfig) -> torch.nn.Module:
    """Returns the row encoder of a table.

    Args:
        schema: The table.
        channels: Length of cell and row vectors.
        config: Model, number of layers, dropout, and what numbers say.
    """
    if not schema.columns:
        return ConstantRow(channels)
    columns = frame_arguments(schema, rich_numbers=config.rich_numbers)
    if isinstance(config, LinearRows):
        return LinearRow(channels, *columns.values())
    if isinstance(config, ResNetRows):
        return FoldedResNet(channels, channels, config.num_layers, **columns, dropout_prob=config.dropout)
    model = FTTransformer(channels, channels, config.num_layers, **columns)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # PyTorch Frame's constructor takes none
            module.p = config.dropout
    return model


def frame_arguments(schema: TableSchema, *, rich_numbers: bool = False) -> dict[str, Any]:
    """Returns what PyTorch Frame's models ask for of a table: {"col_stats", "col_names_dict", "stype_encoder_dict"}.

    The encoders are ours, which give a null cell a zero vector. `rich_numbers` as in the configurations of rows.
    """
    names = col_names_dict(schema)
    encoders: Any = {s: (RICH_ENCODERS if rich_numbers else STYPE_ENCODERS)[s]() for s in names}
    for kind in encoders:
        encoders[kind].columns = tuple(c for c in schema.columns if STYPE[c.stype] == kind)
    statistics = {c.name: column_statistics(c) for c in schema.columns}
    return {"col_stats": statistics, "col_names_dict": names, "stype_encoder_dict": encoders}


def row_encoder_builder(config: BackboneConfig) -> Callable[[TableSchema, int], torch.nn.Module]:
    """Returns what makes the row encoder of a table, given schema and channels: that of `rows`, or one of a user's own.

    Raises:
        ValueError: No row encoder of the name is registered.
    """
    if config.row_encoder is None:
        return config.rows.build
    own = registered_row_encoder(config.row_encoder)
    return lambda schema, channels: own(schema, channels) if schema.columns else ConstantRow(channels)


class ConstantRow(torch.nn.Module):
    """One learned vector for all rows of a table without attributes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.vector = torch.nn.Parameter(torch.randn(channels) * 0.1)

    def forward(self, frame: TensorFrame) -> Tensor:
        """Row vectors: [rows, channels]."""
        return self.vector.expand(frame.num_rows, -1)


class LinearRow(torch.nn.Module):
    """One linear map on the concatenation of a row's cell vectors."""

    def __init__(self, channels: int, statistics: dict, names: dict, encoders: dict) -> None:
        super().__init__()
        self.encoder = StypeWiseFeatureEncoder(channels, statistics, names, encoders)
        self.linear = torch.nn.Linear(channels * sum(map(len, names.values())), channels)

    def forward(self, frame: TensorFrame) -> Tensor:
        """Row vectors: [rows, channels]."""
        return folded_maps(self.encoder, frame, [self.linear])


class FoldedResNet(ResNet):
    """PyTorch Frame's ResNet whose first block's maps are folded into the cells (folded_cells.py); under autocast norms stay float32."""

    def forward(self, tf: TensorFrame) -> Tensor:
        """Row vectors: [rows, channels]."""
        first, *rest = self.backbone
        if first.shortcut is None:  # one column, whose cell vector is the shortcut
            x = self.encoder(tf)[0].squeeze(1).to(first.lin1.weight.dtype)
            x = _after_first_map(first, first.lin1(x)) + x
        else:
            mapped, shortcut = folded_maps(self.encoder, tf, [first.lin1, first.shortcut]).chunk(2, dim=1)
            x = _after_first_map(first, mapped) + shortcut
        for block in rest:
            x = _after_first_map(block, block.lin1(x)) + x
        return self.decoder(x).to(x.dtype)


def _after_first_map(block: Any, x: Tensor) -> Tensor:
    dtype = block.norm1.weight.dtype
    x = block.dropout(block.norm1(x.to(dtype)).relu())
    return block.dropout(block.norm2(block.lin2(x).to(dtype)).relu())
