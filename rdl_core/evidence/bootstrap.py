"""A 95 % interval of a figure by the bootstrap over entities (Efron 1979; whole entities are drawn: Davison and Hinkley 1997, section 3.8).

    entities with replacement, each with all of its labels -> the metric of what was drawn -> the 2.5 % and 97.5 % quantiles over the draws

Promises: the draws are a function of the number of entities alone, so that two models on the same labels meet the same draws, and the same
predictions have the same interval everywhere. Labels of one entity stay together: they resemble each other, and as independent evidence they would
make the interval too narrow. Costs a pass over the rows per draw: 0.1 s for 10,000 rows and an AUROC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

SEED = 20_260
MAX_DRAWS, MIN_DRAWS = 1000, 200
MAX_ROWS_DRAWN = 100_000_000
"""Rows of all draws together; a large split has fewer draws, and a narrow interval."""
QUANTILES = (0.025, 0.975)

Weighted = Callable[[NDArray[np.float64]], float]
"""The metric of rows with these weights, float64 [rows]; NaN where it is undefined."""


def bootstrap_interval(
    metric: str, target: NDArray[np.float64], prediction: NDArray[np.float64], entities: NDArray[np.int64]
) -> list[float] | None:
    """Returns [low, high], or None where no interval can be given: of another metric, or where all labels of a class, or of a regression all, are
    those of one entity, which is in each draw or decides nothing.

    Args:
        metric: "roc_auc", "accuracy" or "mae".
        target, prediction: float64 [rows]; for "accuracy" the places of classes, and [rows, classes].
        entities: int64 [rows], whom each row is about.
    """
    values = bootstrap_values(metric, target, prediction, entities)
    if values is None:
        return None
    values = values[np.isfinite(values)]  # a draw without a class has no AUROC
    return [float(bound) for bound in np.quantile(values, QUANTILES)]


def bootstrap_values(
    metric: str, target: NDArray[np.float64], prediction: NDArray[np.float64], entities: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Returns the metric of each draw, float64 [draws], NaN of a draw without a class; None, and arguments, as of `bootstrap_interval`.

    Two predictions of the same labels meet the same draws: the difference of their values is that of pairs.
    """
    if metric not in MEASURES or not len(target) or np.isnan(target).any():
        return None
    positive = target == 1
    groups = (entities[positive], entities[~positive]) if metric == "roc_auc" else (entities,)
    if any(len(np.unique(group)) < 2 for group in groups):
        return None
    weighted = MEASURES[metric](target, prediction)
    return np.array([weighted(weights) for weights in _draws(entities)])


def measured(metric: str, target: NDArray[np.float64], prediction: NDArray[np.float64]) -> float:
    """Returns the metric of some rows, each counted once; NaN where it is undefined. Arguments as of `bootstrap_interval`."""
    return MEASURES[metric](target, prediction)(np.ones(len(target)))


def _draws(entities: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    """Yields how often each row was drawn: float64 [rows]."""
    numbers = np.unique(entities, return_inverse=True)[1]
    num_entities = int(numbers.max()) + 1
    generator = np.random.default_rng(SEED)
    for _ in range(max(MIN_DRAWS, min(MAX_DRAWS, MAX_ROWS_DRAWN // len(entities)))):
        drawn = np.bincount(generator.integers(num_entities, size=num_entities), minlength=num_entities)
        yield drawn[numbers].astype(np.float64)


def _auroc(target: NDArray[np.float64], prediction: NDArray[np.float64]) -> Weighted:
    """Returns the area under the ROC curve of weighted rows: pairs that are ranked right, and half of the ties, among all pairs."""
    order = np.argsort(prediction, kind="stable")
    positive = target[order] == 1
    begins = np.flatnonzero(np.diff(prediction[order], prepend=np.nan) != 0)  # of equal predictions

    def weighted(weights: NDArray[np.float64]) -> float:
        sorted_weights = weights[order]
        ups = np.add.reduceat(np.where(positive, sorted_weights, 0.0), begins)
        downs = np.add.reduceat(np.where(positive, 0.0, sorted_weights), begins)
        pairs = ups.sum() * downs.sum()
        return float((ups * (np.cumsum(downs) - 0.5 * downs)).sum() / pairs) if pairs else np.nan

    return weighted


def _accuracy(target: NDArray[np.float64], prediction: NDArray[np.float64]) -> Weighted:
    is_right = (prediction.argmax(axis=1) == target).astype(np.float64)
    return lambda weights: float(weights @ is_right / weights.sum())


def _mean_absolute_error(target: NDArray[np.float64], prediction: NDArray[np.float64]) -> Weighted:
    errors = np.abs(target - prediction)
    return lambda weights: float(weights @ errors / weights.sum())


MEASURES = {"roc_auc": _auroc, "accuracy": _accuracy, "mae": _mean_absolute_error}
"""Makers of the metric of weighted rows from targets and predictions, by its name."""
