"""Columns on one scale for a linear model: each becomes about standard normal by its rank (rank-gauss).

Promises: the map is fitted on the rows given to `fit` and on nothing else; it is monotone, bounded, and continues outside of them with its ends;
an undefined cell (NaN) becomes 0, which is a column's mean; a column without two values becomes 0 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

MAX_KNOTS = 1000
"""Most points at which a column's map is kept; between them it is linear."""


@dataclass(frozen=True)
class RankGauss:
    """A fitted map.

    Args:
        knots: For each column, (values, their images), both float64 [knots] and rising; empty for a column that becomes 0.
    """

    knots: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]

    @classmethod
    def fit(cls, columns: NDArray[np.float32], weights: NDArray[np.float64]) -> RankGauss:
        """Fits the map.

        Args:
            columns: float32 [rows, columns].
            weights: float64 [rows].
        """
        return cls(tuple(_knots(columns[:, c].astype(np.float64), weights) for c in range(columns.shape[1])))

    def __call__(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns the scaled columns: float64 [rows, columns], finite."""
        scaled = np.zeros(columns.shape)
        for c, (values, images) in enumerate(self.knots):
            if len(values):
                known = ~np.isnan(columns[:, c])
                scaled[known, c] = np.interp(columns[known, c], values, images)
        return scaled


def _knots(
    column: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = ~np.isnan(column) & (weights > 0)
    values, place = np.unique(column[known], return_inverse=True)
    if len(values) < 2:
        return np.empty(0), np.empty(0)
    weight = np.bincount(place, weights[known])
    images = ndtri((np.cumsum(weight) - weight / 2) / weight.sum())  # ties share the middle of their ranks
    mean = np.average(images, weights=weight)
    images = (images - mean) / np.sqrt(np.average((images - mean) ** 2, weights=weight))
    if len(values) > MAX_KNOTS:
        by_rank = np.linspace(0, len(values) - 1, MAX_KNOTS // 2).round().astype(np.int64)
        by_image = np.searchsorted(images, np.linspace(images[0], images[-1], MAX_KNOTS // 2))  # for the tails
        kept = np.union1d(by_rank, by_image)
        values, images = values[kept], images[kept]
    return values, images
