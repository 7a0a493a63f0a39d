"""Inputs of the vector of a node or a seed besides its cells, its age and its neighbours: statistics of its past, and wide columns.

Promises: inputs are ranks (rank_gauss.py), fitted once on questions up to the cutoff (fitting.py) and saved as a part of the weights, so that no
outlier swamps the rest; what is undefined counts as the median.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.model.aggregation import Linear
from rdl_core.model.dropout import KeyedDropout
from rdl_core.model.rank_gauss import RankGauss

COLUMNS_DROPOUT = 1 << 31
"""Number of the first table's dropout in `WideColumns`, beyond those of all row encoders."""


class NodeStatistics(torch.nn.Module):
    """Makes a summand of a node's vector of the statistics of its children.

    Args:
        width: Number of statistics.
        channels: Length of the vector.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.ranks = RankGauss(width)
        self.hidden, self.norm = Linear(width, channels), torch.nn.LayerNorm(channels)
        self.out = Linear(channels, channels)

    def forward(self, statistics: Tensor) -> Tensor:
        """Returns [nodes, channels] from [nodes, width], NaN where undefined."""
        return self.out(self.norm(self.hidden(self.ranks(statistics))).relu())


class WideColumns(torch.nn.Module):
    """Puts columns of a seed beside its vector; both are normed, so that neither swamps the other.

    Args:
        width: Number of columns.
        channels: Length of the vector.
        hidden_channels: Hidden channels.
        input_dropout: Probability that a column is dropped in training.
        dropout: Probability that a hidden channel is.
        number: The table's number, which tells its dropout apart.
    """

    def __init__(
        self, width: int, channels: int, hidden_channels: int, input_dropout: float, dropout: float, number: int
    ) -> None:
        super().__init__()
        self.ranks = RankGauss(width)
        self.hidden, self.out = Linear(width, hidden_channels), Linear(hidden_channels, channels)
        self.input_dropout = KeyedDropout(input_dropout, COLUMNS_DROPOUT + 2 * number)
        self.dropout = KeyedDropout(dropout, COLUMNS_DROPOUT + 2 * number + 1)
        self.norm_of_columns, self.norm_of_vector = torch.nn.LayerNorm(channels), torch.nn.LayerNorm(channels)

    def forward(self, vector: Tensor, columns: Tensor, dropout_keys: Tensor | None = None) -> Tensor:
        """Returns [seeds, channels] from the seeds' vectors [seeds, channels] and columns [seeds, width], NaN where undefined."""
        self.input_dropout.set_keys(dropout_keys)
        self.dropout.set_keys(dropout_keys)
        hidden = self.dropout(self.hidden(self.input_dropout(self.ranks(columns).to(vector.dtype))).relu())
        return self.norm_of_vector(vector) + self.norm_of_columns(self.out(hidden))
