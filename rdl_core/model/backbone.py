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
from torch.nn.functional import embedding
from torch_frame import TensorFrame

from rdl_core.batches.edges import Edges
from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.config import BackboneConfig
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.graph.schema import Schema, TableSchema
from rdl_core.model.aggregation import LOG_AGE_FACTOR, Linear
from rdl_core.model.dropout import KeyedDropout, replace_dropout
from rdl_core.model.message_passing import OwnGNN, RelationalLayer
from rdl_core.model.positional_encoding import PositionalEncoding
from rdl_core.model.question_inputs import NodeStatistics, WideColumns
from rdl_core.model.row_encoder import row_encoder_builder

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

    What reads statistics and columns (question_inputs.py) is added per table, by `add_statistics` and `add_columns`: how many there are is known of
    a store, or of weights.
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
            (row_encoder or row_encoder_builder(config))(schema.tables[t], config.channels) for t in self.tables
        )
        self._dropouts: dict[str, list[KeyedDropout]] = {
            t: replace_dropout(encoder, i * MAX_DROPOUTS)
            for i, (t, encoder) in enumerate(zip(self.tables, self.row_encoders, strict=True))
        }
        self.time_encoding = PositionalEncoding(config.channels)
        self.time_maps = torch.nn.ModuleList(Linear(config.channels, config.channels) for _ in self.timed_tables)
        self.layers = torch.nn.ModuleList(
            RelationalLayer(
                self.tables,
                directed,
                config.channels,
                aggregation or config.aggregation.build,
                residual=config.residual,
            )
            for _ in range(config.num_layers if config.gnn is None else 0)
        )
        self.gnn: OwnGNN | None = None
        if config.gnn is not None:
            self.gnn = OwnGNN(config.gnn, self.tables, directed, config.channels, config.num_layers)
        # Names of tables may hold what a module's name may not; their numbers are the keys.
        self.statistics = torch.nn.ModuleDict()
        self.columns = torch.nn.ModuleDict()

    def _key(self, table: str) -> str:
        return str(self.tables.index(table))

    def add_statistics(self, table: str, width: int) -> NodeStatistics:
        """Makes and returns what reads the statistics of nodes of a table."""
        made = NodeStatistics(width, self.config.channels)
        self.statistics[self._key(table)] = made
        return made

    def add_columns(self, table: str, width: int) -> WideColumns:
        """Makes and returns what reads the columns of seeds of a table."""
        config, number = self.config, self.tables.index(table)
        made = WideColumns(
            width,
            config.channels,
            config.columns_channels,
            config.columns_input_dropout,
            config.columns_dropout,
            number,
        )
        self.columns[self._key(table)] = made
        return made

    def add_inputs_of(self, weights: Mapping[str, Tensor]) -> None:
        """Makes what reads the statistics and columns that weights of a backbone are for."""
        for name, mean in weights.items():
            kind, _, rest = name.partition(".")
            number, _, end = rest.partition(".")
            if kind in ("statistics", "columns") and end == "ranks.knots":
                add = self.add_statistics if kind == "statistics" else self.add_columns
                add(self.tables[int(number)], len(mean))

    @property
    def statistics_widths(self) -> dict[str, int]:
        """Number of statistics per table of whose nodes any are read."""
        return self._widths(self.statistics)

    @property
    def columns_widths(self) -> dict[str, int]:
        """Number of columns per table of whose seeds any are read."""
        return self._widths(self.columns)

    def _widths(self, parts: torch.nn.ModuleDict) -> dict[str, int]:
        read: dict[str, Any] = {t: parts[self._key(t)] for t in self.tables if self._key(t) in parts}
        return {t: len(part.ranks.knots) for t, part in read.items()}

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

    def embed(self, batch: TreeBatch, dropout_keys: Mapping[str, Tensor] | None = None) -> Tensor:
        """Returns vectors of the seeds of trees: [seeds, channels].

        Args:
            batch: The trees.
            dropout_keys: Int64 [distinct rows] per table, which decide the masks of all dropout; None: the global generator does.

        Raises:
            ValueError: The batch lacks inputs that the backbone reads, or has some that it does not.
        """
        self._check_inputs(batch)
        nodes = {t: embedding(batch.index[t], x) for t, x in self.encode_rows(batch.frames, dropout_keys).items()}
        if not self.config.seed_cells:
            of_seeds, others = nodes[batch.entity_table].tensor_split([batch.num_seeds])
            nodes[batch.entity_table] = torch.cat([torch.zeros_like(of_seeds), others])
        for table, encoded in self.encode_ages(batch.distinct_age_days).items():
            nodes[table] = nodes[table] + embedding(batch.age_index[table], encoded)
        for table, statistics in (batch.statistics or {}).items():
            nodes[table] = nodes[table] + self.statistics[self._key(table)](statistics).to(nodes[table].dtype)
        h = self.propagate(nodes, batch.edges, batch.num_nodes_per_hop)[batch.entity_table][: batch.num_seeds]
        if batch.columns is None:
            return h
        keys = None
        if dropout_keys is not None:
            keys = dropout_keys[batch.entity_table][batch.index[batch.entity_table][: batch.num_seeds]]
        wide: Tensor = self.columns[self._key(batch.entity_table)](h, batch.columns, keys)
        return wide

    def _check_inputs(self, batch: TreeBatch) -> None:
        expected, found = sorted(self.statistics_widths), sorted(batch.statistics or {})
        if expected != found:
            raise ValueError(
                f"the backbone reads statistics of {expected}, the batch has those of {found}; "
                "give collate_trees the QuestionInputs of its configuration"
            )
        if (self.config.columns is None) != (batch.columns is None):
            raise ValueError("the backbone's configuration and the batch differ in whether seeds have columns")
        if batch.columns is not None and batch.entity_table not in self.columns_widths:
            raise ValueError(f"the backbone reads no columns of {batch.entity_table!r}; add them by `add_columns`")

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
        if self.gnn is not None:
            x = self.gnn(x_dict, edges if num_nodes_per_hop is None else edges[-1])  # type: ignore[index]
            return x if num_nodes_per_hop is None else {t: v[: num_nodes_per_hop[t][0]] for t, v in x.items()}
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
