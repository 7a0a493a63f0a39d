"""The worth of a prediction that needs no model: the same value for every row, or each entity's own last label.

Promises: a last label is known when it is used: its window has closed by the seed time and, of a snapshot, by the test timestamp. Which of the two
stands beside a figure is chosen on validation, from labels of train; no test label is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.base import EntityTask

from rdl_core.evidence import is_higher_better
from rdl_core.heads import weighted_median
from rdl_core.tasks.labels import Split, classes_of, metric_name
from rdl_core.tasks.scoring import task_metrics


@dataclass(frozen=True, kw_only=True)
class Trivial:
    """A prediction without a model.

    Args:
        value: The base rate of two classes, the place of the most frequent of several, or the median of numbers.
        uses_last: Whether an entity's last label is predicted, and `value` only where there is none.
        classes: Names of several classes; () of other tasks.
    """

    value: float
    uses_last: bool
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, train: Split, *, uses_last: bool, is_binary: bool, classes: tuple[str, ...] = ()) -> Trivial:
        """Returns it for weighted labels; of several classes that are equally frequent, the first."""
        if classes:
            counts = np.bincount(train.target.astype(np.int64), train.weights, minlength=len(classes))
            return cls(value=float(counts.argmax()), uses_last=uses_last, classes=classes)
        if is_binary:
            return cls(value=float(np.average(train.target, weights=train.weights)), uses_last=uses_last)
        return cls(value=weighted_median(train.target, train.weights), uses_last=uses_last)

    @property
    def about(self) -> str:
        if self.uses_last:
            return "the entity's last label"
        return f"{self.classes[int(self.value)] if self.classes else f'{self.value:.4g}'} always"

    def predict(self, known: Split, asked: Split, *, horizon_s: int) -> NDArray[np.float64]:
        """Returns predictions of seeds: float64 [seeds of `asked`], of several classes [seeds of `asked`, classes] with a 1 in each row.

        Args:
            known: Labels that may be known; each is from the end of its window on.
            asked: Seeds.
            horizon_s: Seconds from a label's seed time to the end of its window.
        """
        if not self.classes:
            return self._values(known, asked, horizon_s)
        predicted = self._values(known.rows(np.flatnonzero(known.target >= 0)), asked, horizon_s)
        return np.eye(len(self.classes))[predicted.astype(np.int64)]

    def _values(self, known: Split, asked: Split, horizon_s: int) -> NDArray[np.float64]:
        predicted = np.full(len(asked), self.value)
        if not self.uses_last or not len(known):
            return predicted
        # A snapshot ends a second before its bound; a seed of the rolling regime knows what has closed by its own time.
        known_until_s = np.where(asked.before_s < asked.time_s, asked.before_s - 1, asked.time_s)
        entities = np.concatenate([known.entities, asked.entities])
        when_s = np.concatenate([known.time_s + horizon_s, known_until_s])
        is_asked = np.arange(len(entities)) >= len(known)
        order = np.lexsort((is_asked, when_s, entities))  # a label that closes at this very second is known
        last = np.maximum.accumulate(np.where(is_asked[order], -1, np.arange(len(order))))
        rows = order[last]  # of the label before each place; the first place's, where there is none
        has_label = (last >= 0) & (entities[rows] == entities[order]) & is_asked[order]
        predicted[order[has_label] - len(known)] = known.target[rows[has_label]]
        return predicted


def best_trivial(task: EntityTask, train: Split, val: Split) -> Trivial:
    """Returns the better on validation of a constant and each entity's last label; of equal ones the constant.

    Args:
        train, val: Labels; both are chosen from train's.
    """
    metric = metric_name(task)
    sign, classes = 1 if is_higher_better(metric) else -1, classes_of(task)
    both = [Trivial.of(train, uses_last=last, is_binary=metric == "roc_auc", classes=classes) for last in (False, True)]
    horizon_s = window_s(task)
    return max(
        both, key=lambda one: sign * task_metrics(task, "val", one.predict(train, val, horizon_s=horizon_s))[metric]
    )


def trivial_predictions(
    task: EntityTask, trivial: Trivial, train: Split, val: Split, test: Split
) -> dict[str, NDArray[np.float64]]:
    """Returns {"val", "test": predictions as of `Trivial`}; test knows the labels of train and validation whose windows have closed."""
    horizon_s = window_s(task)
    return {
        "val": trivial.predict(train, val, horizon_s=horizon_s),
        "test": trivial.predict(_joined(train, val), test, horizon_s=horizon_s),
    }


def trivial_figures(task: EntityTask, train: Split, val: Split, test: Split) -> tuple[dict[str, float], str]:
    """Returns ({"val", "test"}: the metric of the better trivial prediction, what it predicts in words)."""
    trivial = best_trivial(task, train, val)
    metric, predictions = metric_name(task), trivial_predictions(task, trivial, train, val, test)
    return {split: task_metrics(task, split, p)[metric] for split, p in predictions.items()}, trivial.about


def window_s(task: EntityTask) -> int:
    """Returns the seconds from a label's seed time to the end of its window."""
    return int(np.ceil(pd.Timedelta(task.timedelta).total_seconds()))


def _joined(train: Split, val: Split) -> Split:
    """The labels of both; hidden ones of validation are not known to anybody."""
    val = val.rows(np.flatnonzero(np.isfinite(val.target)))
    names = ("entities", "time_s", "before_s", "target", "numbers", "weights")
    return Split(**{name: np.concatenate([getattr(train, name), getattr(val, name)]) for name in names})
