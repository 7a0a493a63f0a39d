"""The peer: torch-sparse's `hgt_sample`, the only other library implementation of HGSampling, called raw.

Its best use: neighbours as CSC for both directions of each key, made once and not timed; only rows up to the bound; the operator called without
PyG's loader, without features. Only the operator's own compiled library is loaded, so neither torch-scatter nor scipy is needed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.samplers.links import Pairs
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph

HOW_TO_INSTALL = "torch-sparse is not installed: make bench-peers"


def installed() -> bool:
    """Loads the operator if the package is there; says whether it is."""
    found = importlib.util.find_spec("torch_sparse")
    if found is None or found.origin is None:
        return False
    for library in Path(found.origin).parent.glob("_hgt_sample*.so"):
        torch.ops.load_library(library)
    return hasattr(torch.ops.torch_sparse, "hgt_sample")


class HGTSample:
    """`hgt_sample` on the rows of a graph before a bound.

    Args:
        graph: The relational entity graph.
        config: Configuration of the sampler to compare with; rows per table and hop, and hops, are taken over.
        seed_table: Where seeds come from.
        before_s: Only rows that exist before this UNIX second.
    """

    def __init__(
        self, graph: RelationalEntityGraph, config: HGSamplingConfig, *, seed_table: str, before_s: int
    ) -> None:
        self.graph, self.seed_table, self.num_hops = graph, seed_table, config.num_hops
        self.num_samples = {table: [config.rows_per_hop] * config.num_hops for table in graph.node_types}
        self.colptr: dict[str, torch.Tensor] = {}
        self.row: dict[str, torch.Tensor] = {}
        for edge_type in graph.edge_types:
            child, fkey_col, parent = edge_type
            children, parents = _visible_pairs(graph, edge_type, before_s)
            self._add(child, fkey_col, parent, children, parents)
            self._add(parent, f"rev_{fkey_col}", child, parents, children)

    def _add(self, source: str, relation: str, target: str, sources: NDArray, targets: NDArray) -> None:
        order = np.argsort(targets, kind="stable")
        counts = np.bincount(targets, minlength=self.graph.num_rows(target))
        name = f"{source}__{relation}__{target}"
        self.colptr[name] = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
        self.row[name] = torch.from_numpy(sources[order].astype(np.int64))

    def sample(self, seeds: torch.Tensor) -> tuple[Any, ...]:
        """Returns the operator's own result for int64 [seeds]: nodes per table, row and column per edge type, edges."""
        hgt_sample = torch.ops.torch_sparse.hgt_sample
        result: tuple[Any, ...] = hgt_sample(
            self.colptr, self.row, {self.seed_table: seeds}, self.num_samples, self.num_hops
        )
        return result

    def rows_and_pairs(self, seeds: torch.Tensor) -> tuple[dict[str, NDArray], Pairs]:
        """Sampled rows per table, and per key the (child row, parent row) of its edges child -> parent.

        These come from looking at the children of each sampled parent, of a hub at 50; the other direction has all of its edges."""
        nodes, source, target, _ = self.sample(seeds)
        rows = {table: nodes[table].numpy() if table in nodes else np.zeros(0, np.int64) for table in self.num_samples}
        pairs = {}
        for child, fkey_col, parent in self.graph.edge_types:
            name = f"{child}__{fkey_col}__{parent}"
            pairs[child, fkey_col, parent] = np.stack(
                [rows[child][source[name].numpy()], rows[parent][target[name].numpy()]]
            )
        return rows, pairs


def _visible_pairs(graph: RelationalEntityGraph, edge_type: EdgeType, before_s: int) -> tuple[NDArray, NDArray]:
    """Returns (child rows, parent rows) of the key's links between rows before the bound."""
    parent = graph.key_parent(edge_type)
    children = np.flatnonzero((parent >= 0) & (graph.table_time(edge_type[0]) < before_s))
    children = children[graph.table_time(edge_type[2])[parent[children]] < before_s]
    return children, parent[children]
