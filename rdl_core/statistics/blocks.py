"""Columns of many rows of which few are distinct: values once, and which of them each row has.

Sixteen latest results of each of a thousand drivers at one time have ten constructors: their columns are computed for ten rows, and a mean over
results reads them where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.kernel_cache import kernel


@dataclass(frozen=True)
class Block:
    """Some columns of m rows.

    Args:
        values: float32 [n, d].
        place: int64 [m], which row of `values` each row has, -1 for none; None where they are the m rows themselves.
    """

    values: NDArray[np.float32]
    place: NDArray[np.int64] | None = None

    def at(self, rows: NDArray[np.int64]) -> Block:
        """Returns the columns of some of the rows: int64 of any shape, -1 for none, which is kept as the shape of `place`."""
        if self.place is None:
            return Block(self.values, rows)
        if not len(self.place):
            return Block(self.values, np.full(rows.shape, -1, np.int64))
        return Block(self.values, np.where(rows >= 0, self.place[rows], -1))

    def write(self, out: NDArray[np.float32]) -> None:
        """Writes the columns into float32 [m, d]; NaN for a row that has none."""
        if self.place is None:
            out[:] = self.values
            return
        there = self.place >= 0
        out[there] = self.values[self.place[there]]
        out[~there] = np.nan

    def means(self) -> Block:
        """Returns the mean over each row of `place`, here int64 [m, k], of what is there and not NaN."""
        assert self.place is not None
        return Block(_means(self.values, self.place))


@kernel
def _means(values: NDArray[np.float32], place: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sums in float64, in the order of the places, so that a mean depends on nothing but its rows."""
    means = np.empty((len(place), values.shape[1]), np.float32)
    sums, counts = np.empty(values.shape[1], np.float64), np.empty(values.shape[1], np.int64)
    for i in range(len(place)):
        sums[:] = 0.0
        counts[:] = 0
        for j in range(place.shape[1]):
            row = place[i, j]
            if row < 0:
                continue
            for c in range(values.shape[1]):
                if not np.isnan(values[row, c]):
                    sums[c] += values[row, c]
                    counts[c] += 1
        for c in range(values.shape[1]):
            means[i, c] = np.float32(sums[c] / counts[c]) if counts[c] > 0 else np.float32(np.nan)
    return means
