"""The linear head: strongly L2-regularised logistic regression of classes, smoothed L1 regression of numbers, on rank-gauss columns.

    minimise   sum_i w_i loss(y_i, x_i b + a) + |b|^2 / (2 C)
    loss       log(1 + exp(z)) - y z        or        sqrt((z - y)^2 + d^2) - d,  y in units of its mean absolute deviation from its median

Promises: multiplying all targets by a number multiplies the predictions by it; predictions of numbers stay between the least and the greatest target;
same rows, same bits. Fitted by L-BFGS in the eigenbasis of the columns' second moments, each coordinate scaled by its curvature, in some ten steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rdl_core.heads.examples import Examples, weighted_median
from rdl_core.heads.scaling import RankGauss

SMOOTHING = 0.1
"""d: below this distance, in mean absolute deviations, the loss of a number is about quadratic."""
MAX_ITERATIONS = 200
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """The unit in which a target is learned, and its range.

    Args:
        centre, scale: A target is `centre + scale * z`; for classes z is the logit.
        least, greatest: Range of predictions.
    """

    centre: float
    scale: float
    least: float
    greatest: float

    @classmethod
    def of(cls, examples: Examples) -> Unit:
        """Returns the unit of a target: its weighted median, and the mean absolute deviation from it."""
        if examples.is_binary:
            return cls(0.0, 1.0, 0.0, 1.0)
        target, counts = examples.target, examples.weights > 0
        centre = weighted_median(target, examples.weights)
        scale = float(np.average(np.abs(target - centre), weights=examples.weights))
        return cls(centre, scale or 1.0, float(target[counts].min()), float(target[counts].max()))


@dataclass(frozen=True)
class LinearModel:
    """A fitted linear head.

    Args:
        columns: int64 [k], the columns that it reads.
        inverse_regularization: C.
        scaling: Their scaling.
        coefficients: float64 [k].
        intercept, unit, is_binary: See the file.
    """

    columns: NDArray[np.int64]
    inverse_regularization: float
    scaling: RankGauss
    coefficients: Vector
    intercept: float
    unit: Unit
    is_binary: bool

    def predict(self, columns: NDArray[np.float32]) -> Vector:
        """Returns probabilities or values: float64 [rows].

        Args:
            columns: float32 [rows, all columns].
        """
        z = self.scaling(columns[:, self.columns]) @ self.coefficients + self.intercept
        if self.is_binary:
            return expit(z)
        return np.clip(self.unit.centre + self.unit.scale * z, self.unit.least, self.unit.greatest)

    def refit(self, examples: Examples) -> LinearModel:
        """Returns a model of other rows: same columns, same C."""
        return fit_linear(examples, self.columns, [self.inverse_regularization])[0]


def fit_linear(
    examples: Examples, columns: NDArray[np.int64], inverse_regularizations: Sequence[float]
) -> list[LinearModel]:
    """Fits one model for each C, from the smallest on, and returns them in the order given.

    Args:
        examples: The rows.
        columns: int64 [k], the columns to read.
        inverse_regularizations: C, see the file.
    """
    scaling = RankGauss.fit(examples.columns[:, columns], examples.weights)
    unit = Unit.of(examples)
    path = _Path(scaling(examples.columns[:, columns]), (examples.target - unit.centre) / unit.scale, examples)
    fitted = {}
    for c in sorted(set(inverse_regularizations)):
        coefficients, intercept = path.solve(c)
        fitted[c] = LinearModel(columns, c, scaling, coefficients, intercept, unit, examples.is_binary)
    return [fitted[c] for c in inverse_regularizations]


class _Path:
    """Solutions for rising C, each the start of the next."""

    def __init__(self, x: Vector, target: Vector, examples: Examples) -> None:
        self.target, self.weights, self.is_binary = target, examples.weights, examples.is_binary
        total = self.weights.sum()
        self.mean = self.weights @ x / total
        x = x - self.mean
        self.moments, self.basis = np.linalg.eigh((x * self.weights[:, None]).T @ x)
        self.moments = np.maximum(self.moments, 0.0)
        self.x = x @ self.basis
        base = float(self.weights @ target / total)
        self.curvature = base * (1 - base) if self.is_binary else 1.0
        self.solution = np.zeros(x.shape[1] + 1)  # coordinates in the basis, then the intercept
        if self.is_binary:
            clipped = np.clip(base, 1e-6, 1 - 1e-6)
            self.solution[-1] = np.log(clipped / (1 - clipped))

    def solve(self, c: float) -> tuple[Vector, float]:
        """Returns (coefficients of the scaled columns, intercept) for C = c."""
        curvature = np.append(self.moments, self.weights.sum()) * max(self.curvature, 1e-6)
        scale = 1 / np.sqrt(curvature + np.append(np.full(len(self.moments), 1 / c), 0.0))

        def value_and_gradient(scaled: Vector) -> tuple[float, Vector]:
            coordinates = scaled * scale
            b, z = coordinates[:-1], self.x @ coordinates[:-1] + coordinates[-1]
            losses, slopes = self._loss(z)
            slopes = slopes * self.weights
            gradient = np.append(slopes @ self.x + b / c, slopes.sum())
            return float(self.weights @ losses + b @ b / (2 * c)), gradient * scale

        options = {"maxiter": MAX_ITERATIONS, "ftol": 1e-10, "gtol": 1e-6}
        found = minimize(value_and_gradient, self.solution / scale, jac=True, method="L-BFGS-B", options=options)
        self.solution = found.x * scale
        coefficients = self.basis @ self.solution[:-1]
        return coefficients, float(self.solution[-1] - self.mean @ coefficients)

    def _loss(self, z: Vector) -> tuple[Vector, Vector]:
        if self.is_binary:
            return np.logaddexp(0.0, z) - self.target * z, expit(z) - self.target
        gap = z - self.target
        root = np.sqrt(gap * gap + SMOOTHING * SMOOTHING)
        return root - SMOOTHING, gap / root
