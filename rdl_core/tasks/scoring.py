"""Predictions of a split scored by task.evaluate, for every head alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask
from sklearn.metrics import mean_absolute_error

from rdl_core.tasks.labels import metric_name


def task_metrics(task: EntityTask, split: str, prediction: NDArray[np.float64]) -> dict[str, float]:
    """Returns the metrics of task.evaluate for the predictions of "val" or "test", with "mae" added for regression.

    Args:
        prediction: float64 [rows of the split], probabilities or values.

    Raises:
        FloatingPointError: A prediction is not finite.
    """
    metric = metric_name(task)
    if not np.isfinite(prediction).all():
        raise FloatingPointError(f"predictions for {task.name} ({split}) are not finite; lower the learning rate")
    table = task.get_table(split, mask_input_cols=False)
    if table.df[task.target_col].isna().any():  # hidden labels: there is nothing to score against
        return {metric: float("nan")}
    metrics = list(task.metrics) + ([_mae] if metric == "mae" else [])
    named = task.evaluate(prediction, table, metrics=metrics)
    return {name.lstrip("_"): float(value) for name, value in named.items()}


def _mae(true: NDArray, pred: NDArray) -> float:
    return float(mean_absolute_error(true, pred))
