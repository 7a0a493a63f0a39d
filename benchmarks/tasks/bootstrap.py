"""Paired bootstrap over entities and seeds: the interval of a difference between two arms or heads on one test split.

Of each resample, entities are drawn with replacement, all rows of an entity together, and seeds are drawn with replacement; both sides are measured
on the same draw (Efron and Tibshirani 1993, chapter 8; seeds and entities as two crossed factors, Owen 2007). An entity's rows share what is
peculiar to it, so rows drawn one by one would make the interval too narrow.

Promises: positive differences mean that the first side is better, whichever the metric; the same arguments give the same interval; ties of
predictions count one half in AUROC. Cost: one sort per side and seed, then sums over [resamples, rows].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.random_streams import numpy_generator

Floats = NDArray[np.float64]
RESAMPLES_AT_ONCE = 100
"""Bounds memory: so many rows of float64 [resamples, test rows] are held at a time."""
LEVEL = 0.95
"""Share of the resamples inside the interval."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of a metric, in the metric's unit; above 0 the first side is better.

    Args:
        mean: Over the seeds, on the test split as it is.
        low, high: 95 % interval (percentiles of the resamples).
        num_seeds: Seeds of which both sides have a run.
    """

    mean: float
    low: float
    high: float
    num_seeds: int


def paired_difference(
    first: Floats,
    second: Floats,
    target: Floats,
    entities: NDArray[np.int64],
    metric: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Difference:
    """Returns how much better `first` is than `second`, with its interval.

    Args:
        first, second: Predictions, float64 [seeds, rows]; row i of both is of the same seed.
        target, entities: Label and entity of each test row, [rows].
        metric: "roc_auc" or "mae".
        resamples: Number of resamples. Those in which AUROC is not defined, all their labels being of one class, are left out.
        seed: Random seed of the resamples.

    Raises:
        ValueError: Shapes differ, labels or predictions are not finite, or AUROC has one class only.
    """
    _check(first, second, target, entities, metric)
    generator = numpy_generator(seed)
    _, entity = np.unique(entities, return_inverse=True)
    measure = _AUROC if metric == "roc_auc" else _NegativeMAE
    sides = [[measure(prediction, target) for prediction in side] for side in (first, second)]

    def differences(weights: Floats) -> Floats:
        """Returns the metric of each seed under each row of weights: [resamples, seeds]."""
        ours, theirs = (np.stack([one(weights) for one in side], axis=1) for side in sides)
        return ours - theirs

    num_entities, num_seeds, found = int(entity.max()) + 1, len(first), []
    for begin in range(0, resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, resamples - begin)
        times_drawn = generator.multinomial(num_entities, np.full(num_entities, 1 / num_entities), size=size)
        seeds_drawn = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size) / num_seeds
        found.append((differences(times_drawn[:, entity].astype(np.float64)) * seeds_drawn).sum(axis=1))
    drawn = np.concatenate(found)
    low, high = np.quantile(drawn[~np.isnan(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = differences(np.ones((1, len(target)))).mean()
    return Difference(mean=float(mean), low=float(low), high=float(high), num_seeds=num_seeds)


class _AUROC:
    """AUROC of one vector of predictions under many weights of the rows.

    With rows sorted by prediction and tied ones in a group, it is the sum over groups of the positive weight times (the negative weight below the
    group + half of that in it), over the product of all positive and all negative weight (Mann and Whitney 1947).
    """

    def __init__(self, prediction: Floats, target: Floats) -> None:
        self.order = np.argsort(prediction, kind="stable")
        ordered = prediction[self.order]
        self.begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.is_positive = target[self.order] > 0.5

    def __call__(self, weights: Floats) -> Floats:
        """Returns the metric of each row of weights [resamples, rows]: [resamples], NaN where one class has no weight."""
        ordered = weights[:, self.order]
        positive = np.add.reduceat(ordered * self.is_positive, self.begins, axis=1)
        negative = np.add.reduceat(ordered * ~self.is_positive, self.begins, axis=1)
        below = np.cumsum(negative, axis=1) - negative
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        won = (positive * (below + negative / 2)).sum(axis=1)
        return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


class _NegativeMAE:
    """Minus the mean absolute error of one vector of predictions under many weights of the rows."""

    def __init__(self, prediction: Floats, target: Floats) -> None:
        self.error = np.abs(prediction - target)

    def __call__(self, weights: Floats) -> Floats:
        """Returns the metric of each row of weights [resamples, rows]: [resamples]."""
        return -(weights @ self.error) / weights.sum(axis=1)


def _check(first: Floats, second: Floats, target: Floats, entities: NDArray[np.int64], metric: str) -> None:
    if metric not in ("roc_auc", "mae"):
        raise ValueError(f"metric is {metric!r}; it should be 'roc_auc' or 'mae'")
    shape = (len(first), len(target))
    if first.shape != shape or second.shape != shape or entities.shape != target.shape or 0 in shape:
        raise ValueError(
            f"predictions have the shapes {first.shape} and {second.shape}, labels {target.shape}, entities {entities.shape}; "
            "expected [seeds, rows] twice and [rows]. Remedy: pair runs of the same seeds on the same test split"
        )
    for name, values in (("predictions", first), ("predictions", second), ("labels", target)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{name} hold values that are not finite; expected numbers. Remedy: a task with test labels"
            )
    if metric == "roc_auc" and len(np.unique(target)) < 2:
        raise ValueError(f"all {len(target)} test labels are {target[0]:g}; AUROC needs both classes")
