"""Intervals of many figures at once, which hold all of them together with 95 % (the bootstrap of the largest t: Romano and Wolf 2005).

    t of a draw = the largest over all figures of |figure of the draw - figure| / spread of the figure over the draws
    interval    = figure +- (95 % quantile of t) * spread

Whoever reads the largest of a hundred figures reads the luckiest: an interval of each by itself would leave out 0 for five of a hundred that are 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


def simultaneous_intervals(figures: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the ends of the intervals: float64 [figures, 2]; those of a figure that is the same in all draws are the figure itself.

    Args:
        figures: float64 [figures].
        draws: float64 [figures, draws], each figure in each draw of the bootstrap, finite; all figures of a draw are of the same rows.
    """
    spread = draws.std(axis=1)
    moves = spread > 0
    width = np.zeros(len(figures))
    if moves.any():
        distances = np.abs(draws - figures[:, None])[moves] / spread[moves, None]
        width[moves] = np.quantile(distances.max(axis=0), LEVEL) * spread[moves]
    return np.stack([figures - width, figures + width], axis=1)
