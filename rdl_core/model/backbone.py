"""The pretrained backbone: row encoders, relative time, message passing over keys (Hamilton et al. 2017; Robinson et al. 2024), one vector per row.

Promises: it is made from the schema and the foreign keys alone; layer norm only (no statistics are shared between rows, so two views in one batch
cannot leak into each other); messages run along both directions of every key; an edge type without edges and a table without rows are fine;
between a batch on a device and its vectors nothing runs on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_frame import TensorFrame

from rdl_core.batches.edges import Edges
from rdl_core.config import BackboneConfig
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.graph.schema import Schema, TableSchema
from rdl_core.model.aggregation import LOG_AGE_FACTOR, Linear
from rdl_core.model.dropout import KeyedDropout, replace_dropout
from rdl_core.model.message_passing import RelationalLayer
from rdl_core.model.positional_encoding import PositionalEncoding

MAX_DROPOUTS = 1 << 16
"""Dropout modules per table's row encoder."""


class RelationalEncoder(torch.nn.Module):
    """The backbone.

    Args:
        schema: Tables and attributes.
        edge_types: Foreign keys (child, fkey_col, parent).
        config: Size and form.
        row_encoder: Makes another row encoder of a table than `config.rows` does, given schema and channels (row_encoder.py).
        aggregation: Makes another aggregation of an edge type than `config.aggregation` does, given channels (aggregation.py).
    """

    def __init__(
        self,
        schema: Schema,
        edge_types: Sequence[EdgeType],
        config: BackboneConfig,
        *,
        row_encoder: Callable[[TableSchema, int], torch.nn.Module] | None = None,
        aggregation: Callable[[int], torch.nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.tables = tuple(schema.tables)
        self.timed_tables = tuple(t for t, s in schema.tables.items() if s.time_col is not None)
        directed = [*edge_types, *(reverse(e) for e in edge_types)]
        self.row_encoders = torch.nn.ModuleList(
            (row_encoder or config.rows.build)(schema.tables[t], config.channels) for t in self.tables
        )
        self._dropouts: dict[str, list[KeyedDropout]] = {
            t: replace_dropout(encoder, i * MAX_DROPOUTS)
            for i, (t, encoder) in enumerate(zip(self.tables, self.row_encoders, strict=True))
        }
        self.time_encoding = PositionalEncoding(config.channels)
        self.time_maps = torch.nn.ModuleList(Linear(config.channels, config.channels) for _ in self.timed_tables)
        self.layers = torch.nn.ModuleList(
            RelationalLayer(self.tables, directed, config.channels, aggregation or config.aggregation.build)
            for _ in range(config.num_layers)
        )

    def forward(
        self,
        frames: Mapping[str, TensorFrame],
        edges: Mapping[EdgeType, Edges],
        age_days: Mapping[str, Tensor] | None = None,
        dropout_keys: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns vectors after message passing: [rows, channels] per table.

        Args:
            frames: Rows per table.
            edges: Per directed edge type, between these rows.
            age_days: Float [rows] per table with a time column, or None: rows do not know their age.
            dropout_keys: Int64 [rows] per table, which decide the masks of the row encoders' dropout; None: the global generator does.
        """
        x_dict = self.encode_rows(frames, dropout_keys)
        return self.propagate(x_dict if age_days is None else self.add_relative_time(x_dict, age_days), edges)

    def encode_rows(
        self, frames: Mapping[str, TensorFrame], dropout_keys: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Returns row vectors per table: [rows, channels]; arguments are those of `forward`."""
        for table, dropouts in self._dropouts.items():
            for dropout in dropouts:
                dropout.set_keys(None if dropout_keys is None else dropout_keys[table])
        return {t: encoder(frames[t]) for t, encoder in zip(self.tables, self.row_encoders, strict=True)}

    def add_relative_time(self, x_dict: Mapping[str, Tensor], age_days: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adds an encoding of each row's age at the moment of the question; [rows] float days for tables with a time column."""
        return {**x_dict, **{t: x_dict[t] + encoded for t, encoded in self.encode_ages(age_days).items()}}

    def encode_ages(self, age_days: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns [ages, channels] per table with a time column, from float days [ages]."""
        encoded = {}
        for table, linear in zip(self.timed_tables, self.time_maps, strict=True):
            age = age_days[table].to(self.time_encoding.frequency.dtype)
            age = torch.log1p(age) * LOG_AGE_FACTOR if self.config.age_scale == "log_days" else age
            encoded[table] = linear(self.time_encoding(age).to(linear.weight.dtype))
        return encoded

    def propagate(
        self,
        x_dict: Mapping[str, Tensor],
        edges: Mapping[EdgeType, Edges] | Sequence[Mapping[EdgeType, Edges]],
        num_nodes_per_hop: Mapping[str, Sequence[int]] | None = None,
    ) -> dict[str, Tensor]:
        """Returns vectors after message passing: [nodes, channels] per table; with hops, nodes of hop 0 only.

        Args:
            x_dict: [nodes, channels] per table.
            edges: Per directed edge type; or with nodes ordered by hop what `edges_within_hops` returns, so that a layer skips what cannot
                reach the seeds any more.
            num_nodes_per_hop: Per table [hops + 1] counts, with such edges.
        """
        x, layers = dict(x_dict), list[Any](self.layers)
        if num_nodes_per_hop is None:
            for layer in layers:
                x = layer(x, edges)
            return x
        for remaining, layer in zip(range(len(layers), 0, -1), layers, strict=True):
            item: Any = edges[min(remaining, len(edges)) - 1]  # type: ignore[index]
            x = {t: v[: sum(num_nodes_per_hop[t][: remaining + 1])] for t, v in x.items()}
            x = layer(x, item, {t: sum(n[:remaining]) for t, n in num_nodes_per_hop.items()})
        return x
