"""What one run finds, before it becomes a result: metrics, and predictions of the test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, roc_auc_score


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run.

    Args:
        metric: "roc_auc" (higher is better) or "mae" (lower is better).
        val, test: The metric; test is None where it was left alone.
        predictions: Of the test rows in their order, float64 [rows], or None.
        steps: Updates of a network, trees of LightGBM, or 0.
        seconds: Training and prediction.
    """

    metric: str
    val: float
    test: float | None
    predictions: NDArray[np.float64] | None
    steps: int
    seconds: float


def measure(metric: str, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Returns "roc_auc" or "mae" of predictions, as RelBench's tasks measure them."""
    if metric == "roc_auc":
        return float(roc_auc_score(target, prediction))
    return float(mean_absolute_error(target, prediction))
