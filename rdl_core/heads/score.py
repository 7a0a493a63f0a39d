"""The score of predictions, higher being better: weighted AUROC of classes, the negative weighted mean absolute error of numbers.

AUROC = P(prediction of a positive > that of a negative) + P(equal) / 2
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rdl_core.heads.folds import Fold


def score(
    target: NDArray[np.float64], prediction: NDArray[np.float64], weights: NDArray[np.float64], *, is_binary: bool
) -> float:
    """Returns the score of predictions; 0.5 for one class, of which AUROC says nothing.

    Args:
        target, prediction, weights: float64 [rows].
    """
    if not is_binary:
        return -float(np.average(np.abs(prediction - target), weights=weights))
    values, place = np.unique(prediction, return_inverse=True)
    positive = np.bincount(place, weights * target, minlength=len(values))
    negative = np.bincount(place, weights * (1 - target), minlength=len(values))
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return 0.5
    return float((positive * (np.cumsum(negative) - negative / 2)).sum() / pairs)


def fold_score(
    folds: Sequence[Fold],
    target: NDArray[np.float64],
    prediction: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    is_binary: bool,
) -> float:
    """Returns the mean of the folds' scores, each counting as its validation rows weigh.

    Args:
        target, prediction, weights: float64 [rows of train]; only validation rows are read.
    """
    scores = [
        score(target[f.validation], prediction[f.validation], weights[f.validation], is_binary=is_binary) for f in folds
    ]
    return float(np.average(scores, weights=[weights[fold.validation].sum() for fold in folds]))
