"""Calibration of probabilities on validation: isotonic or Platt's, kept as plain numbers, with what it is judged by.

    isotonic   the rising step function that is nearest in squares (Zadrozny & Elkan 2002), linear between its steps
    platt      sigmoid(slope * logit(p) + intercept), fitted to targets smoothed as in Platt 1999
    Brier      mean of (p - y)^2
    ECE        sum over 15 bins of equal width of (rows of the bin / rows) * |share of positives - mean p| (Guo et al. 2017)

Promises: a calibrated probability is a function of the probability alone, rising or flat: two rows are never put in the other order (AUROC changes by
ties only). What is reported of validation is of maps fitted on other entities of it, since a map's own labels flatter it.
Limit: a network's number of updates was chosen on the same labels, and a refitted model has learned from them: its map is that of the model fitted on
train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from rdl_core.config import CalibrationName
from rdl_core.prediction.intervals import require_pairs
from rdl_core.problems import InputError

LEAST_OF_A_CLASS = 10
"""A map of fewer labels of either class would say more of chance than of the model."""
NUM_BINS = 15
NUM_PARTS = 5
LEAST_PROBABILITY = 1e-7
"""Probabilities nearer to 0 or 1 have the logit of this one."""
Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted map of probabilities.

    Args:
        kind: "isotonic" or "platt".
        num_labels: Labels of validation.
        probabilities, images: Of isotonic, the points of the map, rising; empty of Platt.
        slope, intercept: Of Platt; 1 and 0 of isotonic.
    """

    kind: CalibrationName
    num_labels: int
    probabilities: tuple[float, ...] = ()
    images: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def fit(cls, kind: CalibrationName, probability: Vector, target: Vector) -> Calibration:
        """Fits a map.

        Args:
            probability, target: float64 [labels], of labels that the model has not learned from; targets 0 or 1.

        Raises:
            InputError: A probability is not between 0 and 1, or there are fewer than 10 labels of a class.
        """
        require_pairs(probability, target, "calibration")
        if probability.min(initial=0.0) < 0 or probability.max(initial=0.0) > 1:
            raise InputError(
                f"calibration: expected probabilities from 0 to 1, got {probability.min()} to {probability.max()}"
            )
        require_both_classes(target)
        if kind == "platt":
            slope, intercept = _platt(probability, target)
            return cls(kind=kind, num_labels=len(target), slope=slope, intercept=intercept)
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(probability, target)
        points, images = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
        return cls(kind=kind, num_labels=len(target), probabilities=tuple(points), images=tuple(images))

    def __call__(self, probability: Vector) -> Vector:
        """Returns calibrated probabilities: float64 [rows]."""
        if self.kind == "platt":
            return np.asarray(expit(self.slope * _logit(probability) + self.intercept))
        return np.interp(probability, self.probabilities, self.images)

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and lists."""
        kept: dict[str, Any] = {"kind": self.kind, "num_labels": self.num_labels}
        if self.kind == "platt":
            return kept | {"slope": self.slope, "intercept": self.intercept}
        return kept | {"probabilities": list(self.probabilities), "images": list(self.images)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Calibration:
        """Returns what `to_json` described."""
        kept: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**kept)


def out_of_part(kind: CalibrationName, probability: Vector, target: Vector, entities: NDArray[np.int64]) -> Vector:
    """Returns each label's probability, calibrated by a map that was fitted without its entity: float64 [labels].

    Args:
        entities: int64 [labels], rows of the entity table. Entities are dealt into 5 parts in the order of their numbers.

    Raises:
        InputError: The other parts have fewer than 10 labels of a class.
    """
    calibrated = np.empty(len(target))
    for own in _parts(entities):
        calibrated[own] = Calibration.fit(kind, probability[~own], target[~own])(probability[own])
    return calibrated


def require_labels(target: Vector, entities: NDArray[np.int64]) -> None:
    """Raises InputError if labels, float64 of 0 and 1, are too few of a class to calibrate on, with or without a part of the entities."""
    require_both_classes(target)
    for own in _parts(entities):
        require_both_classes(target[~own])


def require_both_classes(target: Vector) -> None:
    """Raises InputError if labels, float64 of 0 and 1, are too few of a class for a map."""
    counts = {name: int((target == value).sum()) for name, value in (("negative", 0), ("positive", 1))}
    for name, count in counts.items():
        if count < LEAST_OF_A_CLASS:
            raise InputError(
                f"calibration: expected at least {LEAST_OF_A_CLASS} {name} labels in four fifths of validation, got {count} of {len(target)}.\n"
                "Remedy: leave out --calibrate, or use a task with more validation labels (num_eval_timestamps)"
            )


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Probabilities beside what came, in bins of equal width that are not empty.

    Args:
        probability: float64 [bins], mean probability.
        frequency: float64 [bins], share of positives.
        count: int64 [bins], rows.
        brier, ece: See the file.
    """

    probability: Vector
    frequency: Vector
    count: NDArray[np.int64]
    brier: float
    ece: float

    @classmethod
    def of(cls, probability: Vector, target: Vector) -> Reliability:
        """Measures probabilities, float64 [rows], against targets of 0 and 1, float64 [rows].

        Raises:
            InputError: The lengths differ, there is no row, or a value is not finite.
        """
        require_pairs(probability, target, "reliability")
        if not len(target):
            raise InputError("reliability: expected labels, got none")
        bins = np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        count = np.bincount(bins, minlength=NUM_BINS)
        there = count > 0
        mean, frequency = (
            np.bincount(bins, values, NUM_BINS)[there] / count[there] for values in (probability, target)
        )
        return cls(
            probability=mean,
            frequency=frequency,
            count=count[there],
            brier=float(np.mean((probability - target) ** 2)),
            ece=float(count[there] @ np.abs(frequency - mean) / len(target)),
        )

    def figures(self) -> dict[str, float]:
        """Returns {"brier", "ece"}."""
        return {"brier": self.brier, "ece": self.ece}


@dataclass(frozen=True)
class Calibrated:
    """Probabilities of one split before and after calibration.

    Args:
        before, after: As the model gives them, and calibrated.
    """

    before: Reliability
    after: Reliability

    def figures(self) -> dict[str, float]:
        """Returns {"brier", "ece", "brier_calibrated", "ece_calibrated"}."""
        return self.before.figures() | {f"{name}_calibrated": value for name, value in self.after.figures().items()}


def _parts(entities: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Returns which labels are of the entities of each part: bool [labels]."""
    part = np.unique(entities, return_inverse=True)[1] % NUM_PARTS
    return [part == number for number in range(NUM_PARTS) if (part == number).any()]


def _platt(probability: Vector, target: Vector) -> tuple[float, float]:
    """Returns (slope, intercept); a slope below 0, which would turn the order round, is 0, with the smoothed share of positives."""
    positives, number = float(target.sum()), len(target)
    smoothed = np.where(target == 1, (positives + 1) / (positives + 2), 1 / (number - positives + 2))
    scores = _logit(probability)[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    classes = np.repeat([1, 0], number)  # a label of weight t of one class and 1 - t of the other is a label t
    model.fit(np.concatenate([scores, scores]), classes, sample_weight=np.concatenate([smoothed, 1 - smoothed]))
    if (slope := float(model.coef_[0, 0])) >= 0:
        return slope, float(model.intercept_[0])
    return 0.0, float(logit(smoothed.mean()))


def _logit(probability: Vector) -> Vector:
    return np.asarray(logit(np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)))
