"""Intervals around predictions of numbers by split conformal prediction: quantiles of the residuals on labels that were not learned from.

    residual r = target - prediction, of the n labels of validation, in rising order
    interval of coverage c:  prediction + r[n + 1 - k]  to  prediction + r[k],   k = ceil((n + 1) (1 + c) / 2), counted from 1

Promises: if the residuals of validation and the one to come are exchangeable, the interval holds the target with a probability of at least c, for any
model and any n (Vovk et al. 2005, Lei et al. 2018; both tails are cut alike, so that a skewed target has a skewed interval). Where n is too small for
that, the interval is infinite instead of too narrow. A wider coverage never gives a narrower interval.

Limits: rows of validation are earlier than those that are asked about and an entity may have several labels, so that exchangeability is an
approximation; a network's number of updates was chosen on the same labels; a refitted model has learned from them, so that its interval is that of
the model fitted on train. The interval has one width for all rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdl_core.problems import InputError

COVERAGES = (*(percent / 100 for percent in range(50, 100)), 0.995, 0.999)
"""Coverages whose quantiles are kept; another one has those of the next greater one."""
Interval = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Quantiles of one model's residuals.

    Args:
        num_labels: Labels of validation.
        lower, upper: For each of COVERAGES, what is added to a prediction, in units of the target; -inf and inf where there are too few labels.
    """

    num_labels: int
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @classmethod
    def fit(cls, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> Intervals:
        """Fits the quantiles.

        Args:
            prediction, target: float64 [labels], of labels that the model has not learned from.

        Raises:
            InputError: The lengths differ, or a value is not finite.
        """
        require_pairs(prediction, target, "intervals")
        residuals, number = np.sort(target - prediction), len(target)
        padded = np.concatenate([[-np.inf], residuals, [np.inf]])  # counted from 1
        ranks = [min(_rank(number, coverage), number + 1) for coverage in COVERAGES]
        return cls(
            num_labels=number,
            lower=tuple(float(padded[number + 1 - rank]) for rank in ranks),
            upper=tuple(float(padded[rank]) for rank in ranks),
        )

    def __call__(self, prediction: NDArray[np.float64], coverage: float) -> Interval:
        """Returns the lower and the upper ends: float64 [rows] each.

        Args:
            prediction: float64 [rows].
            coverage: Probability that an interval shall hold its target, above 0 and at most 0.999.

        Raises:
            InputError: Another coverage is asked for.
        """
        if not 0 < coverage <= COVERAGES[-1]:
            raise InputError(
                f"coverage: expected a share above 0 and at most {COVERAGES[-1]}, such as 0.9, got {coverage}"
            )
        place = next(place for place, kept in enumerate(COVERAGES) if kept >= coverage - 1e-9)
        return prediction + self.lower[place], prediction + self.upper[place]

    def to_json(self) -> dict[str, Any]:
        """Returns numbers, lists and None for infinite ends, as a JSON file holds them."""
        ends = {name: [v if math.isfinite(v) else None for v in getattr(self, name)] for name in ("lower", "upper")}
        return {"num_labels": self.num_labels, "coverages": list(COVERAGES), **ends}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Intervals:
        """Returns what `to_json` described.

        Raises:
            InputError: It is of other coverages than this version's.
        """
        if tuple(values["coverages"]) != COVERAGES:
            raise InputError("intervals: the model keeps other coverages than this version reads; fine-tune it again")
        ends = {
            name: tuple(sign * math.inf if v is None else float(v) for v in values[name])
            for name, sign in (("lower", -1), ("upper", 1))
        }
        return cls(num_labels=int(values["num_labels"]), **ends)


def labels_needed(coverage: float) -> int:
    """Returns the fewest labels of validation of which an interval of this coverage is finite."""
    return next(number for number in range(1, 1 << 20) if _rank(number, coverage) <= number)


def observed_coverage(interval: Interval, target: NDArray[np.float64]) -> float:
    """Returns the share of targets, float64 [rows], that lie in their intervals, ends included."""
    lower, upper = interval
    return float(np.mean((lower <= target) & (target <= upper)))


def require_pairs(prediction: NDArray[np.float64], target: NDArray[np.float64], what: str) -> None:
    """Raises InputError unless there are finite predictions and as many finite targets."""
    if prediction.shape != target.shape or not prediction.shape == (len(target),):
        raise InputError(
            f"{what}: expected one prediction for each target, got {list(prediction.shape)} and {list(target.shape)}"
        )
    if (wrong := np.flatnonzero(~np.isfinite(prediction) | ~np.isfinite(target))).size:
        raise InputError(
            f"{what}: expected finite numbers, got prediction {prediction[wrong[0]]} of target {target[wrong[0]]} in row {wrong[0]}"
        )


def _rank(number: int, coverage: float) -> int:
    return math.ceil(round((number + 1) * (1 + coverage) / 2, 9))
