"""Predictions of a split scored by task.evaluate, for every head alike, and what such a figure rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from rdl_core.database.label_checks import class_name
from rdl_core.evidence import LabelCount, bootstrap_interval
from rdl_core.tasks.labels import Split, classes_of, is_multiclass, metric_name


def task_metrics(task: EntityTask, split: str, prediction: NDArray[np.float64]) -> dict[str, float]:
    """Returns the metrics of task.evaluate for the predictions of "val" or "test", with "mae" added for regression.

    RelBench has no metric of several classes: "accuracy" and "macro_f1" of the most likely class, by scikit-learn, are given to task.evaluate then.

    Args:
        prediction: float64 [rows of the split], probabilities or values; of several classes [rows of the split, classes].

    Raises:
        FloatingPointError: A prediction is not finite.
    """
    metric = metric_name(task)
    if not np.isfinite(prediction).all():
        raise FloatingPointError(f"predictions for {task.name} ({split}) are not finite; lower the learning rate")
    table = task.get_table(split, mask_input_cols=False)
    if table.df[task.target_col].isna().any():  # hidden labels: there is nothing to score against
        return {metric: float("nan")}
    if is_multiclass(task):
        most_likely = np.asarray(classes_of(task), dtype=object)[prediction.argmax(axis=1)]
        named = task.evaluate(most_likely, table, metrics=[_accuracy, _macro_f1])
        return {name.lstrip("_"): value for name, value in named.items()}
    metrics = list(task.metrics) + ([_mae] if metric == "mae" else [])
    named = task.evaluate(prediction, table, metrics=metrics)
    return {name.lstrip("_"): float(value) for name, value in named.items()}


def intervals(
    task: EntityTask, labels: Callable[[str], Split], predictions: Mapping[str, NDArray[np.float64]]
) -> dict[str, list[float] | None]:
    """Returns {name: [low, high]}, 95 % intervals of the metric, or None where none can be given.

    Args:
        labels: The seeds of "val" and "test".
        predictions: float64 [seeds], of several classes [seeds, classes], of "val", "test" and "test_refit", or some of them.
    """
    found = {}
    for name, prediction in predictions.items():
        split = labels(name.removesuffix("_refit"))
        found[name] = bootstrap_interval(metric_name(task), split.target, prediction, split.entities)
    return found


def few_labels(task: EntityTask, split: Split) -> str | None:
    """Returns how many labels a figure of this split rests on, in words, where they are few and not hidden."""
    if np.isnan(split.target).any():
        return None
    is_classification = metric_name(task) == "roc_auc"  # accuracy is of all labels, however rare a class is
    count = LabelCount.of(split.target, split.entities, is_classification=is_classification)
    return count.words if count.is_few else None


def _accuracy(true: NDArray, pred: NDArray) -> float:
    return float(accuracy_score(_names(true), _names(pred)))


def _macro_f1(true: NDArray, pred: NDArray) -> float:
    return float(f1_score(_names(true), _names(pred), average="macro", zero_division=0.0))


def _names(labels: NDArray) -> list[str]:
    return [class_name(label) for label in labels.tolist()]


def _mae(true: NDArray, pred: NDArray) -> float:
    return float(mean_absolute_error(true, pred))
