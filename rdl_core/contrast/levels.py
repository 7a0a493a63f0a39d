"""The three contrastive levels: rows, links, contexts. Each is a module that makes its logits; `info_nce` makes the loss of them.

    row:     logits[v, u] = h_corrupted[u] @ W[table] @ h[v], or (W[table] @ h_corrupted[u]) @ (W[table] @ h[v])
    link:    logits[v, u] = h[u] @ W[u -> v] @ h[v]; shared: W[parent -> child] = W[child -> parent].T
    context: logits[v, u] = c[u] @ h[v], where c[u] is the mean over the neighbours w of u of h[w] @ W[table of w] + b[table of w]

In: per table [rows, channels], clean and corrupted rows after message passing, and the layout of the same rows. Out: a `LossSum`.
Promises: an input without a negative leaves both sum and count, and 1.0 is chance; negatives never leave their sample, so the sums of a batch are
the sums of its samples; every parameter gets a gradient in every batch, even if its table or key is empty there.
Cost: one block of logits per table, and per key and direction.
Source: Peleska and Sir, Task-Agnostic Contrastive Pretraining for Relational Deep Learning, arXiv 2506.22530, Eq. 1-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module, Parameter, ParameterList
from torch.nn.functional import linear

from rdl_core.batches.sample_layout import SampleLayout
from rdl_core.config import LossConfig
from rdl_core.graph.reg import EdgeType
from rdl_core.kernels.info_nce import info_nce

Rows = Mapping[str, Tensor]
"""[rows, channels] per table."""


@dataclass(frozen=True)
class LossSum:
    """The sum over inputs of their losses (0-dim) and their number: added over tables, samples and ranks, divided once.

    Args:
        total: 0-dim, with its graph.
        count: int64 0-dim.
    """

    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """total / count; 0 with its graph where there is no input."""
        return self.total / self.count.clamp(min=1)


class RowLevel(Module):
    """Eq. 1: a row finds itself among the corrupted rows of its table.

    Args:
        node_types: Tables.
        channels: Length of all vectors.
        config: Form, and scale of the start.
    """

    def __init__(self, node_types: Sequence[str], channels: int, config: LossConfig) -> None:
        super().__init__()
        self.node_types, self.is_code = tuple(node_types), config.row_form == "code"
        self.matrices = _matrices(len(node_types), channels, config)

    def forward(self, h: Rows, h_corrupted: Rows, layout: SampleLayout) -> LossSum:
        """Returns the sum over all rows."""
        sums = []
        for table, matrix in zip(self.node_types, self.matrices, strict=True):
            grid, candidates = layout.grids[table], h_corrupted[table]
            anchors = grid.pad(linear(h[table], matrix))
            candidates = grid.pad(linear(candidates, matrix) if self.is_code else candidates)
            pairs = layout.row[table]
            sums.append(LossSum(info_nce(anchors @ candidates.mT, pairs), pairs.count))
        return _added(sums)


class LinkLevel(Module):
    """Eq. 2: the end of a link finds the other end among the rows of its table, in both directions of each key.

    Args:
        edge_types: Foreign keys (child table, column, parent table).
        channels: Length of all vectors.
        config: Form, and scale of the start.
    """

    def __init__(self, edge_types: Sequence[EdgeType], channels: int, config: LossConfig) -> None:
        super().__init__()
        self.edge_types, self.is_shared = tuple(edge_types), config.link_matrix == "shared"
        self.matrices = _matrices(len(edge_types) * (1 if self.is_shared else 2), channels, config)

    def forward(self, h: Rows, h_corrupted: Rows, layout: SampleLayout) -> LossSum:
        """Returns the sum over all links and both directions. Corrupted rows are not read."""
        padded = {table: layout.grids[table].pad(x) for table, x in h.items()}
        sums = []
        for number, edge_type in enumerate(self.edge_types):
            child, _, parent = edge_type
            to_parent, to_child = layout.link[edge_type]
            matrix = self.matrices[number if self.is_shared else 2 * number]
            logits = layout.grids[parent].pad(linear(h[parent], matrix)) @ padded[child].mT
            sums.append(LossSum(info_nce(logits, to_parent), to_parent.count))
            if not self.is_shared:
                # (h_v W^T) . h_u = h_v . (h_u W): the product runs on the parents' side, which has fewer rows
                logits = layout.grids[parent].pad(h[parent] @ self.matrices[2 * number + 1]) @ padded[child].mT
            sums.append(LossSum(info_nce(logits.mT, to_child), to_child.count))
        return _added(sums) if sums else _none(h)


class ContextLevel(Module):
    """Eq. 3 and 4: a row finds the mean of its neighbours among those of the other rows of its table.

    Args:
        node_types: Tables with a key, to or from them.
        channels: Length of all vectors.
        config: Form, and scale of the start.
    """

    def __init__(self, node_types: Sequence[str], channels: int, config: LossConfig) -> None:
        super().__init__()
        self.node_types = tuple(node_types)
        self.matrices = _matrices(len(node_types), channels, config)
        num_biases = len(node_types) if config.context_bias else 0
        self.biases = ParameterList(Parameter(torch.zeros(channels)) for _ in range(num_biases))

    def forward(self, h: Rows, h_corrupted: Rows, layout: SampleLayout) -> LossSum:
        """Returns the sum over all rows that have a context. Corrupted rows are not read."""
        sums = []
        for table, context in self.contexts(h, layout).items():
            grid, pairs = layout.grids[table], layout.context[table]
            sums.append(LossSum(info_nce(grid.pad(h[table]) @ grid.pad(context).mT, pairs), pairs.count))
        return _added(sums) if sums else _none(h)

    def contexts(self, h: Rows, layout: SampleLayout) -> dict[str, Tensor]:
        """Returns [rows, channels] per table with a key, zeros where a row has no neighbour (Eq. 3)."""
        if not self.node_types:
            return {}
        biases = self.biases or (None,) * len(self.node_types)
        parts = zip(self.node_types, self.matrices, biases, strict=True)
        x = torch.cat([linear(h[table], matrix.T, bias) for table, matrix, bias in parts])
        for mean in layout.context_means:
            x = mean.sum_sources(x) / mean.degree.to(x.dtype)
        return dict(zip(self.node_types, x.split([len(h[table]) for table in self.node_types]), strict=True))


def _matrices(number: int, channels: int, config: LossConfig) -> ParameterList:
    scale = config.initial_scale / channels**0.5
    return ParameterList(Parameter(torch.randn(channels, channels) * scale) for _ in range(number))


def _added(sums: Sequence[LossSum]) -> LossSum:
    return LossSum(torch.stack([s.total for s in sums]).sum(), torch.stack([s.count for s in sums]).sum())


def _none(h: Rows) -> LossSum:
    some = next(iter(h.values()))
    return LossSum(some.new_zeros(()), torch.zeros((), dtype=torch.int64, device=some.device))
