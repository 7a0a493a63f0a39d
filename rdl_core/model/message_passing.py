"""One layer of message passing over all tables at once.

    h_v = ReLU(LayerNorm(R x_v + b + sum over edge types e into v's table of aggregation_e(neighbours of v)))

or, as a residual layer, h_v = LayerNorm(x_v + ReLU(R x_v + b + the same sum)).

With sums or means this is PyG's HeteroConv of SAGEConv with sum over edge types, whose root matrices of a table's edge types are merged into one
(their sum is all that counts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rdl_core.batches.edges import Edges
from rdl_core.graph.reg import EdgeType
from rdl_core.model.aggregation import Linear


class RelationalLayer(torch.nn.Module):
    """One layer; see the file's text.

    Args:
        tables: T table names.
        edge_types: Directed edge types (source, relation, target).
        channels: Length of all vectors.
        aggregation: Makes the `Aggregation` of one edge type, given channels.
        residual: Whether new vectors are added to the old ones.
    """

    def __init__(
        self,
        tables: Sequence[str],
        edge_types: Sequence[EdgeType],
        channels: int,
        aggregation: Callable[[int], torch.nn.Module],
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.tables, self.edge_types, self.residual = tuple(tables), tuple(edge_types), residual
        self.root = torch.nn.ModuleList(Linear(channels, channels) for _ in tables)
        self.aggregations = torch.nn.ModuleList(aggregation(channels) for _ in edge_types)
        self.norm = torch.nn.ModuleList(torch.nn.LayerNorm(channels) for _ in tables)

    def forward(
        self, x_dict: Mapping[str, Tensor], edges: Mapping[EdgeType, Edges], num_out: Mapping[str, int] | None = None
    ) -> dict[str, Tensor]:
        """Returns new vectors per table: [num_out[table], channels].

        Args:
            x_dict: [nodes, channels] per table.
            edges: Per directed edge type, between the nodes and the first num_out[target table] nodes.
            num_out: Nodes per table that get a new vector, the first ones; None: all.
        """
        targets = {t: x if num_out is None else x[: num_out[t]] for t, x in x_dict.items()}
        out = {t: root(targets[t]) for t, root in zip(self.tables, self.root, strict=True)}
        for edge_type, aggregation in zip(self.edge_types, self.aggregations, strict=True):
            source, _, target = edge_type
            out[target] = out[target] + aggregation(x_dict[source], targets[target], edges[edge_type])
        if self.residual:
            return {t: norm(targets[t] + out[t].relu()) for t, norm in zip(self.tables, self.norm, strict=True)}
        return {t: norm(out[t]).relu() for t, norm in zip(self.tables, self.norm, strict=True)}
