"""The metrics by which runs are compared: "roc_auc" of two classes, "accuracy" of several, "mae" of numbers."""

from __future__ import annotations


def is_higher_better(metric: str) -> bool:
    """Returns whether more of a metric is better."""
    return metric != "mae"
