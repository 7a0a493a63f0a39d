"""A weighted mean of heads' predictions, its weights found greedily on out-of-fold predictions (Caruana et al. 2004).

Start with the best head; add, with repetition, whichever head makes the mean best; keep the best mean on the way. Promises: on the folds the blend is
never worse than the best single head; weights are at least 0 and sum to 1; ties go to the head named first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rdl_core.heads.folds import Fold
from rdl_core.heads.score import fold_score


def greedy_weights(
    predictions: Mapping[str, NDArray[np.float64]],
    folds: Sequence[Fold],
    target: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    is_binary: bool,
    steps: int,
) -> dict[str, float]:
    """Returns the weight of each head, those without one at 0.

    Args:
        predictions: Out-of-fold predictions of each head, float64 [rows of train], defined on the validation rows of `folds`.
        folds: The folds by whose mean score weights are judged.
        target, weights: float64 [rows of train].
        steps: Most heads that are added.
    """
    names = list(predictions)
    sums, counts = np.zeros(len(target)), dict.fromkeys(names, 0)
    best_score, best_counts = -np.inf, dict(counts)
    for step in range(1, steps + 1):
        scores = {
            name: fold_score(folds, target, (sums + predictions[name]) / step, weights, is_binary=is_binary)
            for name in names
        }
        chosen = max(names, key=lambda name: scores[name])
        sums, counts[chosen] = sums + predictions[chosen], counts[chosen] + 1
        if scores[chosen] > best_score:
            best_score, best_counts = scores[chosen], dict(counts)
    total = sum(best_counts.values())
    return {name: count / total for name, count in best_counts.items()}


def blended(predictions: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Returns the weighted mean of the heads' predictions: float64 [rows]."""
    return np.sum([weight * predictions[name] for name, weight in weights.items() if weight > 0], axis=0)
