"""The plain model: RelBench's HeteroEncoder, HeteroTemporalEncoder and HeteroGraphSAGE, put together as its examples do.

In: TensorFrames and edges. Out: one vector per row. It is the same function as rdl_core's backbone: `copy_weights` and `gradient_difference` say
which of its parameters is which of ours (the root matrices of a table's edge types are one matrix there). Null cells are zero vectors in both, so
the stype encoders that say so are shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from relbench.modeling.nn import HeteroEncoder, HeteroGraphSAGE, HeteroTemporalEncoder
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.nn import ResNet, StypeWiseFeatureEncoder

from rdl_core.config import BackboneConfig, ResNetRows
from rdl_core.graph.features import col_names_dict
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.cell_encoders import STYPE_ENCODERS, column_statistics


class PlainLinearRow(torch.nn.Module):
    """One linear map on the concatenated cell vectors, with the arguments of PyTorch Frame's models."""

    def __init__(
        self, channels: int, out_channels: int, col_stats: dict, col_names_dict: dict, stype_encoder_dict: dict
    ) -> None:
        super().__init__()
        self.encoder = StypeWiseFeatureEncoder(channels, col_stats, col_names_dict, stype_encoder_dict)
        self.linear = torch.nn.Linear(channels * sum(map(len, col_names_dict.values())), out_channels)

    def forward(self, frame: TensorFrame) -> Tensor:
        cells, _ = self.encoder(frame)
        return self.linear(cells.flatten(1))


class PlainModel(torch.nn.Module):
    """Row encoders, relative time and GraphSAGE.

    Args:
        store: Its schema and keys shape the model; every table needs an attribute.
        config: As our backbone's, with ages in days.
    """

    def __init__(self, store: Store, config: BackboneConfig) -> None:
        super().__init__()
        tables = store.schema.tables
        self.edge_types = [d for e in store.graph.edge_types for d in (e, reverse(e))]
        kwargs: dict[str, Any] = {"channels": config.channels}
        if isinstance(config.rows, ResNetRows):
            kwargs |= {"num_layers": config.rows.num_layers, "dropout_prob": config.rows.dropout}
        self.rows = HeteroEncoder(
            config.channels,
            {t: col_names_dict(s) for t, s in tables.items()},
            {t: {c.name: column_statistics(c) for c in s.columns} for t, s in tables.items()},
            ResNet if isinstance(config.rows, ResNetRows) else PlainLinearRow,
            kwargs,
            {s: (encoder, {}) for s, encoder in STYPE_ENCODERS.items()},
        )
        self.time = HeteroTemporalEncoder([t for t, s in tables.items() if s.time_col is not None], config.channels)
        self.sage = HeteroGraphSAGE(
            list(tables), self.edge_types, config.channels, config.aggregation.kind, config.num_layers
        )

    def forward(
        self, frames: Mapping[str, TensorFrame], edges: Mapping[EdgeType, Tensor], age_days: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """{table: [rows, channels]}; `age_days` may be empty."""
        dtype = next(self.parameters()).dtype
        x_dict = self.rows({t: _as_dtype(frame, dtype) for t, frame in frames.items()})
        for table, age in age_days.items():
            encoded = self.time.encoder_dict[table](age).to(dtype)
            x_dict[table] = x_dict[table] + self.time.lin_dict[table](encoded)
        return self.sage(x_dict, edges)

    def parameter_pairs(self, ours: RelationalEncoder) -> list[tuple[Tensor, list[Tensor], str]]:
        """(our parameter, those of this model it is made of, how: "equal" or "sum")."""
        theirs, sage, time_maps = dict(self.named_parameters()), self.sage, self.time.lin_dict
        row_encoders: Any = ours.row_encoders
        layers: Any = zip(ours.layers, sage.convs, sage.norms, strict=True)
        maps: Any = zip(ours.timed_tables, ours.time_maps, strict=True)
        pairs: list[tuple[Tensor, list[Tensor], str]] = []
        for table, encoder in zip(ours.tables, row_encoders, strict=True):
            for name, parameter in encoder.named_parameters():
                pairs.append((parameter, [theirs[f"rows.encoders.{table}.{name}"]], "equal"))
        for table, linear in maps:
            other: Any = time_maps[table]
            pairs += [(linear.weight, [other.weight], "equal"), (linear.bias, [other.bias], "equal")]
        for layer, conv, norms in layers:
            for edge_type, neighbours in zip(layer.edge_types, layer.aggregations, strict=True):
                pairs.append((neighbours.linear.weight, [conv.convs[edge_type].lin_l.weight], "equal"))
            for i, table in enumerate(ours.tables):
                convs = [conv.convs[e] for e in layer.edge_types if e[2] == table]
                pairs.append((layer.root[i].weight, [c.lin_r.weight for c in convs], "sum"))
                pairs.append((layer.root[i].bias, [c.lin_l.bias for c in convs], "sum"))
                pairs.append((layer.norm[i].weight, [norms[table].weight], "equal"))
                pairs.append((layer.norm[i].bias, [norms[table].bias], "equal"))
        return pairs


@torch.no_grad()
def copy_weights(plain: PlainModel, ours: RelationalEncoder) -> None:
    """Gives our backbone the plain model's weights."""
    for parameter, parts, _ in plain.parameter_pairs(ours):
        parameter.copy_(sum(parts))  # type: ignore[arg-type]


def gradient_difference(plain: PlainModel, ours: RelationalEncoder) -> float:
    """The largest absolute difference between our gradients and the plain model's."""
    largest = 0.0
    for parameter, parts, how in plain.parameter_pairs(ours):
        theirs = [torch.zeros_like(p) if p.grad is None else p.grad for p in parts]
        mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        # A root matrix is a sum, so each of its parts has the gradient of the sum.
        expected = theirs
        if how == "sum":  # edge types whose result no seed reads have no gradient there
            expected = [g for g, p in zip(theirs, parts, strict=True) if p.grad is not None]
        largest = max([largest, *(float((mine - g).abs().max()) for g in expected)])
    return largest


def _as_dtype(frame: TensorFrame, dtype: torch.dtype) -> TensorFrame:
    embedding = frame.feat_dict.get(stype.embedding)
    if embedding is not None and embedding.values.dtype != dtype:
        embedding = embedding.clone()
        embedding.values = embedding.values.to(dtype)
        return TensorFrame({**frame.feat_dict, stype.embedding: embedding}, frame.col_names_dict)
    return frame
