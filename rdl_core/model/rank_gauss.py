"""Numbers of any distribution become about normal: each by its rank among those that it was fitted on (rank-Gauss).

Promises: fitted once, on questions up to the cutoff (fitting.py), and saved as a part of the weights; monotone in each column, at most that of the
outermost knots, so that no outlier swamps the rest; what is undefined counts as the median. Ties share one score, the middle of their ranks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

NUM_KNOTS = 65
"""Quantiles between which ranks are interpolated."""
OUTERMOST_RANK = 0.01
"""Rank of the smallest number, and, from above, of the largest: about 2.3 standard deviations."""


class RankGauss(torch.nn.Module):
    """Columns as normal scores of their ranks, 0 where undefined.

    Args:
        width: Number of columns.
    """

    knots: Tensor
    scores: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(width, NUM_KNOTS))
        self.register_buffer("scores", torch.zeros(width, NUM_KNOTS))

    def fit(self, values: NDArray[np.float32]) -> None:
        """Takes the quantiles of each column's defined values in float32 [rows, width]; a constant column is 0 everywhere."""
        ranks = np.linspace(0.0, 1.0, NUM_KNOTS)
        for j, column in enumerate(values.T):
            defined = column[np.isfinite(column)]
            if not len(defined):
                continue
            distinct, place = np.unique(np.quantile(defined, ranks).astype(np.float32), return_inverse=True)
            if len(distinct) < 2:
                continue
            middle = np.bincount(place, ranks) / np.bincount(place)
            scores = ndtri(middle.clip(OUTERMOST_RANK, 1.0 - OUTERMOST_RANK))
            padding = (0, NUM_KNOTS - len(distinct))
            self.knots[j] = torch.from_numpy(np.pad(distinct, padding, mode="edge"))
            self.scores[j] = torch.from_numpy(np.pad(scores, padding, mode="edge"))

    def forward(self, values: Tensor) -> Tensor:
        """Returns [rows, width] from [rows, width], NaN where undefined."""
        columns = values.T.to(self.knots.dtype).contiguous()
        above = torch.searchsorted(self.knots, columns, right=True).clamp(1, NUM_KNOTS - 1)
        low, high = self.knots.gather(1, above - 1), self.knots.gather(1, above)
        share = ((columns - low) / (high - low)).nan_to_num(0.0, 0.0, 0.0).clamp(0.0, 1.0)
        score = torch.lerp(self.scores.gather(1, above - 1), self.scores.gather(1, above), share)
        return score.masked_fill(columns.isnan(), 0.0).T
