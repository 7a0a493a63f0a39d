"""Parts of a model that are a user's own, by the names that configurations call them: row encoders and graph networks.

Promises: a name stands for one builder, in the process that has registered it; a configuration, and so a checkpoint, keeps the name alone, and who
reads it where the name is not registered is told what to do. Imports no torch: builders are called when a model is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch.nn import Module

    from rdl_core.graph.reg import EdgeType
    from rdl_core.graph.schema import TableSchema

    RowEncoderBuilder = Callable[[TableSchema, int], Module]
    GNNBuilder = Callable[[Sequence[str], Sequence[EdgeType], int, int], Module]

Builder = TypeVar("Builder", bound=Callable)
_ROW_ENCODERS: dict[str, RowEncoderBuilder] = {}
_GNNS: dict[str, GNNBuilder] = {}


def register_row_encoder(name: str) -> Callable[[Builder], Builder]:
    """Gives a row encoder the name by which `BackboneConfig(row_encoder=name)` asks for it; a decorator of a class or a function.

    It is called with (table: TableSchema, channels: int), once for each table that has attributes, and returns a module whose `forward` takes a
    TensorFrame of the table's rows and returns [rows, channels].

    Raises:
        ValueError: Another builder has the name.
    """
    return _registered(_ROW_ENCODERS, name, "row encoder")


def register_gnn(name: str) -> Callable[[Builder], Builder]:
    """Gives a graph network the name by which `BackboneConfig(gnn=name)` asks for it; a decorator of a class or a function.

    It is called with (tables: list of node types, edge_types: list of directed edge types, both ways of each foreign key, channels: int,
    num_layers: int), and returns a module whose `forward` takes PyG's (x_dict, edge_index_dict): [rows, channels] per node type and int64 [2, edges]
    per edge type, from neighbour to row. It returns such an x_dict; a node type that is not in it keeps the vectors that it had.

    Raises:
        ValueError: Another builder has the name.
    """
    return _registered(_GNNS, name, "GNN")


def registered_row_encoder(name: str) -> RowEncoderBuilder:
    """Returns the builder of this name; a ValueError says how to register it."""
    return _found(_ROW_ENCODERS, name, "row encoder", "register_row_encoder")


def registered_gnn(name: str) -> GNNBuilder:
    """Returns the builder of this name; a ValueError says how to register it."""
    return _found(_GNNS, name, "GNN", "register_gnn")


def _registered(registry: dict, name: str, what: str) -> Callable[[Builder], Builder]:
    def register(builder: Builder) -> Builder:
        before = registry.get(name, builder)
        # The cell of a notebook, and a module that is reloaded, define their builder anew.
        if (before.__module__, before.__qualname__) != (builder.__module__, builder.__qualname__):
            raise ValueError(
                f"the {what} {name!r} is registered as {before.__module__}.{before.__qualname__}; choose another name for "
                f"{builder.__module__}.{builder.__qualname__}"
            )
        registry[name] = builder
        return builder

    return register


def _found(registry: dict, name: str, what: str, decorator: str) -> Callable:
    if name not in registry:
        there = f"those registered are {', '.join(map(repr, sorted(registry)))}" if registry else "none is"
        raise ValueError(
            f"no {what} {name!r} is registered in this process ({there}). Remedy: import the module that says @{decorator}({name!r}), before the "
            "model is made or loaded"
        )
    found: Callable = registry[name]
    return found
