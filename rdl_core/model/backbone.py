"""The pretrained backbone: row encoders, relative time, heterogeneous GraphSAGE (Hamilton et al. 2017), one vector per row.

Promises: made from the schema and the foreign keys alone; layer norm only (no statistics are shared between rows, so two views in one batch
cannot leak into each other); messages run along both directions of every key; an edge type without edges and a table without rows are fine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_frame import TensorFrame

from rdl_core.config import BackboneConfig
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.graph.schema import Schema
from rdl_core.kernels.dropout_mask import Segments
from rdl_core.model.message_passing import HeteroSAGELayer
from rdl_core.model.positional_encoding import PositionalEncoding
from rdl_core.model.row_encoder import RowEncoder

LOG_AGE_FACTOR = 3.0
"""A day to ten years of log_days then span 2 to 25 of the encoding's shortest period of 2 pi."""


class RelationalEncoder(torch.nn.Module):
    """The backbone.

    Args:
        schema: Tables and attributes.
        edge_types: Foreign keys (child, fkey_col, parent).
        config: Size and form.
    """

    def __init__(self, schema: Schema, edge_types: Sequence[EdgeType], config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.tables = tuple(schema.tables)
        self.timed_tables = tuple(t for t, s in schema.tables.items() if s.time_col is not None)
        directed = [*edge_types, *(reverse(e) for e in edge_types)]
        self.row_encoders = torch.nn.ModuleList(
            RowEncoder(schema.tables[t], config.channels, config.rows, i) for i, t in enumerate(self.tables)
        )
        self.time_encoding = PositionalEncoding(config.channels)
        self.time_maps = torch.nn.ModuleList(
            torch.nn.Linear(config.channels, config.channels) for _ in self.timed_tables
        )
        self.layers = torch.nn.ModuleList(
            HeteroSAGELayer(self.tables, directed, config.channels, config.aggregation)
            for _ in range(config.num_layers)
        )

    def encode_rows(self, frames: Mapping[str, TensorFrame]) -> dict[str, Tensor]:
        """Row vectors per table: [rows, channels]."""
        return {t: encoder(frames[t]) for t, encoder in zip(self.tables, self.row_encoders, strict=True)}

    def add_relative_time(self, x_dict: Mapping[str, Tensor], age_days: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adds an encoding of each row's age at the moment of the question; [rows] float days for tables with a time column."""
        out = dict(x_dict)
        for table, linear in zip(self.timed_tables, self.time_maps, strict=True):
            out[table] = out[table] + self._encode_age(age_days[table], linear)
        return out

    def spread(
        self, x_dict: Mapping[str, Tensor], index: Mapping[str, Tensor], age_days: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Nodes that share rows and ages: what `propagate` takes, with each distinct row and each distinct age there once.

        Args:
            x_dict: Vectors of distinct rows.
            index: Per table int64 [nodes] into them.
            age_days: Per table with a time column float [nodes].

        Returns:
            ({table: [distinct rows + distinct ages, channels]}, {table: int64 [nodes, 1 or 2], the rows of that whose sum a node is}).
        """
        out, lookup = dict(x_dict), {t: i.unsqueeze(1) for t, i in index.items()}
        for table, linear in zip(self.timed_tables, self.time_maps, strict=True):
            ages, place = age_days[table].unique(return_inverse=True)
            lookup[table] = torch.stack([index[table], place + len(out[table])], dim=1)
            out[table] = torch.cat([out[table], self._encode_age(ages, linear)])
        return out, lookup

    def _encode_age(self, age_days: Tensor, linear: torch.nn.Module) -> Tensor:
        age = torch.log1p(age_days) * LOG_AGE_FACTOR if self.config.age_scale == "log_days" else age_days
        encoded: Tensor = linear(self.time_encoding(age).to(next(linear.parameters()).dtype))
        return encoded

    def propagate(
        self,
        x_dict: Mapping[str, Tensor],
        edges: Mapping[EdgeType, Tensor],
        num_nodes_per_hop: Mapping[str, Sequence[int]] | None = None,
        num_edges_per_hop: Mapping[EdgeType, Sequence[int]] | None = None,
        lookup: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Message passing.

        Args:
            x_dict: [rows, channels] per table.
            edges: int64 [2, edges] (source, destination) per directed edge type.
            num_nodes_per_hop, num_edges_per_hop: With rows and edges ordered by hop, layer l skips what cannot reach the seeds any more.
            lookup: Per table int64 [nodes, parts]: a node is the sum of these rows of x; None: a node is a row.

        Returns:
            [rows, channels] per table; with hops, rows of hop 0 only.
        """
        rows = {t: len(x_dict[t] if lookup is None else lookup[t]) for t in self.tables}
        x = torch.cat([x_dict[t] for t in self.tables])
        num_in, num_out = {t: len(x_dict[t]) for t in self.tables}, rows
        plan, has_hops = None, num_nodes_per_hop is not None and num_edges_per_hop is not None
        layers: Any = self.layers
        for number, layer in enumerate(layers):
            remaining, kept = len(self.layers) - number, edges
            if num_nodes_per_hop is not None and num_edges_per_hop is not None:
                num_out = {t: sum(num_nodes_per_hop[t][:remaining]) for t in self.tables}
                kept = {e: index[:, : sum(num_edges_per_hop[e][:remaining])] for e, index in edges.items()}
            if plan is None or has_hops or (number == 1 and lookup is not None):  # else all layers are alike
                plan = layer.plan(num_in, kept, num_out, lookup if number == 0 else None)
            num_in = num_out
            x = layer.run(x, plan)
        return dict(zip(self.tables, x.split([num_out[t] for t in self.tables]), strict=True))

    def set_dropout_segments(self, segments: Mapping[str, Segments] | None) -> None:
        """Ties the dropout of each table's rows to their samples; None: to the global generator."""
        encoders: Any = self.row_encoders
        for table, encoder in zip(self.tables, encoders, strict=True):
            encoder.dropout.segments = None if segments is None else segments[table]
