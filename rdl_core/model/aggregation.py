"""How the neighbours of a row along one edge type become one vector.

A new aggregation is a class here or elsewhere, under autograd, and a frozen dataclass with `build(channels)` (config) that makes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.batches.edges import Edges
from rdl_core.model.positional_encoding import PositionalEncoding

LOG_AGE_FACTOR = 3.0
"""A day to ten years of log_days then span 2 to 25 of the encoding's shortest period of 2 pi."""


class Linear(torch.nn.Linear):
    """A linear map that keeps its input's type: under autocast operands are rounded, sums and norms between products are not."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns [rows, out_features] from [rows, in_features]."""
        return super().forward(input).to(input.dtype)


class Aggregation(torch.nn.Module):
    """Makes one vector per row from its neighbours along one edge type; a layer has one of these per edge type."""

    def forward(self, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        """Returns [targets, channels]; a target without neighbours gets zeros.

        Args:
            source: [sources, channels], vectors of the source table's nodes.
            target: [targets, channels], vectors of the target table's nodes.
            edges: Who is whose neighbour, and how old each is.
        """
        raise NotImplementedError


class Sum(Aggregation):
    """A linear map of the neighbours' sum (GraphSAGE, Hamilton et al. 2017): W (A x) = A (W x), so the product runs on the side with fewer rows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = Linear(channels, channels, bias=False)

    def forward(self, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        """Returns [targets, channels]; see `Aggregation`."""
        if len(source) <= edges.num_targets:
            return edges.sum_sources(self.linear(source))
        return self.linear(edges.sum_sources(source))


class Mean(Sum):
    """A linear map of the neighbours' mean."""

    def forward(self, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        """Returns [targets, channels]; see `Aggregation`."""
        return super().forward(source, target, edges) / edges.degree.to(source.dtype)


class TimeAttention(Aggregation):
    """Attention over neighbours that knows how old each is (TGAT, Xu et al. 2020: time in keys and values).

    Args:
        channels: Length of all vectors.
        heads: Attention heads; a divisor of channels.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = Linear(channels, channels, bias=False), Linear(channels, channels, bias=False)
        self.key_value, self.of_age = Linear(channels, 2 * channels), Linear(channels, 2 * channels, bias=False)
        self.age_encoding = PositionalEncoding(channels)

    def forward(self, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        """Returns [targets, channels]; see `Aggregation`."""
        frequency = self.age_encoding.frequency
        # Without time all are of age 0: every parameter gets a gradient in every step, as DistributedDataParallel expects.
        age_days = frequency.new_zeros(1) if edges.age_days is None else edges.age_days.to(frequency.dtype)
        ages = self.age_encoding(age_days.log1p() * LOG_AGE_FACTOR)
        key_value = edges.of_sources(self.key_value(source)) + self.of_age(ages.to(source.dtype))
        key, value = key_value.unflatten(1, (2, self.heads, -1)).unbind(1)  # [edges, heads, channels / heads]
        query = edges.of_targets(self.query(target)).view_as(key)
        weights = edges.softmax((query * key).sum(2) * key.shape[2] ** -0.5)
        return self.out(edges.sum_edges((weights.unsqueeze(2) * value).flatten(1)))
