"""What a prediction is worth that needs no model: the same value for every row, and each entity's own last label.

Promises: a last label is known when it is used: its window has closed by the seed time. Labels of test are never used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.heads import weighted_median
from rdl_core.tasks.labels import Split


def constant(known: Split, *, is_binary: bool) -> float:
    """Returns the base rate of classes, or the median of numbers, of weighted labels."""
    if is_binary:
        return float(np.average(known.target, weights=known.weights))
    return weighted_median(known.target, known.weights)


def last_labels(known: Split, asked: Split, *, horizon_s: int, otherwise: float) -> NDArray[np.float64]:
    """Returns for each seed the latest label of its own entity whose window had closed by then: float64 [seeds of `asked`].

    Args:
        known: Labels.
        asked: Seeds.
        horizon_s: Seconds from a label's seed time to the end of its window.
        otherwise: The prediction of a seed without such a label.
    """
    order = np.lexsort((known.time_s, known.entities))
    entities, closed_s, target = known.entities[order], known.time_s[order] + horizon_s, known.target[order]
    begin = np.searchsorted(entities, asked.entities, side="left")
    end = np.searchsorted(entities, asked.entities, side="right")
    predicted = np.full(len(asked), otherwise)
    for row in np.flatnonzero(end > begin):
        last = begin[row] + np.searchsorted(closed_s[begin[row] : end[row]], asked.time_s[row], side="right") - 1
        if last >= begin[row]:
            predicted[row] = target[last]
    return predicted
