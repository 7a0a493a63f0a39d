"""Aggregations, by which the neighbours of a row along one edge type become one vector.

A new aggregation is a class here or elsewhere, under autograd, and a frozen dataclass with `build(channels)` (config) that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

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


class TemporalKernels(Aggregation):
    """A linear map of several views of the neighbours, the most recent first: the latest, means that decay with the rank, the mean, the maximum.

    Args:
        channels: Length of all vectors.
        half_lives: Ranks after which a neighbour's weight has halved, one decaying mean each.
    """

    def __init__(self, channels: int, half_lives: Sequence[float]) -> None:
        super().__init__()
        self.channels, self.half_lives = channels, tuple(half_lives)
        self.linear = Linear((3 + len(self.half_lives)) * channels, channels, bias=False)

    def forward(self, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        """Returns [targets, channels]; see `Aggregation`.

        Raises:
            ValueError: A target has several neighbours whose order is not known to be that of time.
        """
        if edges.is_single:  # all views of one neighbour are the neighbour itself
            weight = self.linear.weight.unflatten(1, (-1, self.channels)).sum(1)
            if not len(edges.source):  # zeros, with a gradient of zeros
                return linear(source[:0], weight).to(source.dtype).sum(0).expand(edges.num_targets, -1)
            if len(source) <= edges.num_targets:
                return edges.sum_sources(linear(source, weight).to(source.dtype))
            return linear(edges.sum_sources(source), weight).to(source.dtype)
        if not edges.is_newest_first:
            raise ValueError(
                "temporal kernels need edges in the order of time; make the batch with newest_first=config.newest_first"
            )
        views = [edges.sum_sources(source, weights) for weights in self.weights(edges, source.dtype)]
        return self.linear(torch.cat([*views, edges.largest(edges.of_sources(source))], dim=1))

    def weights(self, edges: Edges, dtype: torch.dtype) -> list[Tensor]:
        """Returns [edges] for each view but the maximum; those of a target sum to 1."""
        rank, degree = edges.rank.to(dtype), edges.degree.to(dtype).squeeze(1)
        weights = [(rank == 0).to(dtype)]
        for half_life in self.half_lives:
            total = (1 - torch.exp2(-degree / half_life)) / (1 - 2 ** (-1 / half_life))
            weights.append(torch.exp2(-rank / half_life) / total[edges.target])
        return [*weights, (1 / degree)[edges.target]]


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
