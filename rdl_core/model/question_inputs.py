"""What the vector of a node or a seed is made of besides its cells, its age and its neighbours: statistics of its past, and wide columns.

Promises: an input is standardised by means and standard deviations that are fitted once (on questions up to the cutoff, fitting.py) and saved as a
part of the weights; it is clipped, so that no outlier swamps the rest; what is undefined counts as the mean.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.model.aggregation import Linear
from rdl_core.model.dropout import KeyedDropout

MAX_DEVIATIONS = 5.0
"""Standard deviations from the mean at which an input is clipped."""
COLUMNS_DROPOUT = 1 << 31
"""Number of the first table's dropout in `WideColumns`, beyond those of all row encoders."""


class Standardized(torch.nn.Module):
    """Columns in standard deviations from their means, clipped, 0 where undefined.

    Args:
        width: Number of columns.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(self, values: NDArray[np.float32]) -> None:
        """Takes mean and standard deviation of each column's defined values in float32 [rows, width]; a constant column keeps its unit."""
        defined = np.isfinite(values)
        count = np.maximum(defined.sum(0), 1)
        mean = np.where(defined, values, 0.0).sum(0, dtype=np.float64) / count
        std = np.sqrt(np.square(np.where(defined, values - mean, 0.0)).sum(0) / count)
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(np.where(std > 0, std, 1.0)))

    def forward(self, values: Tensor) -> Tensor:
        """Returns [rows, width] from [rows, width], NaN where undefined."""
        z = ((values.to(self.mean.dtype) - self.mean) / self.std).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        return z.masked_fill(values.isnan(), 0.0)


class NodeStatistics(torch.nn.Module):
    """Makes a summand of a node's vector of the statistics of its children.

    Args:
        width: Number of statistics.
        channels: Length of the vector.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.standardized = Standardized(width)
        self.hidden, self.norm = Linear(width, channels), torch.nn.LayerNorm(channels)
        self.out = Linear(channels, channels)

    def forward(self, statistics: Tensor) -> Tensor:
        """Returns [nodes, channels] from [nodes, width], NaN where undefined."""
        return self.out(self.norm(self.hidden(self.standardized(statistics))).relu())


class WideColumns(torch.nn.Module):
    """Puts columns of a seed beside its vector; both are normed, so that neither swamps the other.

    Args:
        width: Number of columns.
        channels: Length of the vector.
        hidden_channels: Hidden channels.
        dropout: Probability that a hidden channel is dropped in training.
        number: The table's number, which tells its dropout apart.
    """

    def __init__(self, width: int, channels: int, hidden_channels: int, dropout: float, number: int) -> None:
        super().__init__()
        self.standardized = Standardized(width)
        self.hidden, self.out = Linear(width, hidden_channels), Linear(hidden_channels, channels)
        self.dropout = KeyedDropout(dropout, COLUMNS_DROPOUT + number)
        self.norm_of_columns, self.norm_of_vector = torch.nn.LayerNorm(channels), torch.nn.LayerNorm(channels)

    def forward(self, vector: Tensor, columns: Tensor, dropout_keys: Tensor | None = None) -> Tensor:
        """Returns [seeds, channels] from the seeds' vectors [seeds, channels] and columns [seeds, width], NaN where undefined."""
        self.dropout.set_keys(dropout_keys)
        hidden = self.dropout(self.hidden(self.standardized(columns).to(vector.dtype)).relu())
        return self.norm_of_vector(vector) + self.norm_of_columns(self.out(hidden))
