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
from rdl_core.config.registered import registered_gnn
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


class OwnGNN(torch.nn.Module):
    """A graph network of a user's own in the place of all layers: any module of PyG's (x_dict, edge_index_dict).

    Args:
        name: As it is registered (config/registered.py).
        tables: Table names.
        edge_types: Directed edge types (source, relation, target).
        channels: Length of all vectors.
        num_layers: Number of layers that it is told.

    Raises:
        ValueError: No GNN of this name is registered.
    """

    def __init__(
        self, name: str, tables: Sequence[str], edge_types: Sequence[EdgeType], channels: int, num_layers: int
    ) -> None:
        super().__init__()
        self.name, self.channels = name, channels
        self.gnn = registered_gnn(name)(list(tables), list(edge_types), channels, num_layers)

    def forward(self, x_dict: Mapping[str, Tensor], edges: Mapping[EdgeType, Edges]) -> dict[str, Tensor]:
        """Returns new vectors per table: [nodes, channels]; a table that the network does not return keeps its vectors.

        Raises:
            ValueError: The network returns another number of rows or channels than a table has.
        """
        found: Mapping[str, Tensor] = self.gnn(dict(x_dict), {e: of.edge_index for e, of in edges.items()})
        for table, x in x_dict.items():
            if table in found and found[table].shape != x.shape:
                raise ValueError(
                    f"GNN {self.name!r} returned {tuple(found[table].shape)} for table {table!r}, expected {tuple(x.shape)} [rows, channels]"
                )
        return {table: found.get(table, x) for table, x in x_dict.items()}
