"""Contributions of groups of inputs to a task's metric: leave-out importance on the labels of a split.

    change    mean over the labels of |prediction - prediction with the group at its neutral value|
    loss      the metric's loss when the group is at its neutral value: AUROC or accuracy less, MAE more; above 0 where the group helps

Promises: the labels are read for the metric alone; which of them are explained, where not all are, is a function of their number; intervals of all
groups hold together with 95 % (rdl_core/evidence/simultaneous.py), by the bootstrap over entities with the same draws for all groups. They say how
much the labels at hand decide, not how another training would come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from relbench.base import EntityTask

from rdl_core.evidence import bootstrap_values, is_higher_better, measured, simultaneous_intervals
from rdl_core.explanation.explainer import Advance, Explainer, LeftOut
from rdl_core.explanation.groups import Group, Level
from rdl_core.explanation.left_out import Values
from rdl_core.random_streams import PURPOSE_EXPLANATION, numpy_generator
from rdl_core.tasks.labels import Split, metric_name, read_split


@dataclass(frozen=True, kw_only=True)
class GroupImportance:
    """The importance of one group.

    Args:
        group: The group.
        change: Mean absolute change of the prediction; of several classes, of the probability of the most likely one.
        loss: Loss of the metric; NaN where labels are hidden or lack a class.
        interval: (low, high) of the loss; None where none can be given.
    """

    group: Group
    change: float
    loss: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class TaskExplanation:
    """The importance of all groups.

    Args:
        task, split: Whose labels.
        rows, labels: How many of how many.
        metric: "roc_auc", "accuracy" or "mae".
        value: The metric of these rows.
        neutral_value: The same with all inputs at their neutral values.
        groups: Level by level, in each the largest loss first, of equal ones the largest change.
    """

    task: str
    split: str
    rows: int
    labels: int
    metric: str
    value: float
    neutral_value: float
    groups: tuple[GroupImportance, ...]

    @property
    def is_scored(self) -> bool:
        """Whether there is a metric: labels are neither hidden nor, of an AUROC, of one class."""
        return bool(np.isfinite(self.value))

    def most_telling(self, level: Level, number: int) -> list[GroupImportance]:
        """Returns the first groups of a level that change predictions at all."""
        return [one for one in self.groups if one.group.level == level and one.change > 0][:number]


def explain_task(
    explainer: Explainer,
    task: EntityTask,
    split: Literal["val", "test"],
    *,
    rows: int | None = 500,
    advance: Advance = lambda rows: None,
) -> TaskExplanation:
    """Explains a task's metric.

    Args:
        explainer: Of a model of the task.
        task: The task.
        split: Whose labels.
        rows: How many labels at most, drawn without a look at them; None for all.
        advance: Is told the number of labels that are done, now and then.
    """
    predictor = explainer.predictor
    seeds = read_split(task, split, predictor.regime, predictor.store.test_timestamp_s)
    some = drawn_labels(seeds, rows)
    left_out = explainer.leave_out(some.entities, some.time_s, some.before_s, advance=advance)
    metric = metric_name(task)
    changes = np.abs(left_out.of_likeliest_class().contributions).mean(axis=1)
    sign = 1 if is_higher_better(metric) else -1
    is_hidden = bool(np.isnan(some.target).any())
    value, neutral_value = (
        np.nan if is_hidden else measured(metric, some.target, p) for p in (left_out.prediction, left_out.neutral)
    )
    figures = [np.nan if is_hidden else measured(metric, some.target, p) for p in left_out.without]
    losses = sign * (value - np.array(figures))
    intervals = _intervals(metric, some, left_out, losses)
    found = [
        GroupImportance(group=group, change=float(changes[g]), loss=float(losses[g]), interval=intervals[g])
        for g, group in enumerate(explainer.groups)
    ]
    levels = list(dict.fromkeys(group.level for group in explainer.groups))
    return TaskExplanation(
        task=task.name,
        split=split,
        rows=len(some),
        labels=len(seeds),
        metric=metric,
        value=float(value),
        neutral_value=float(neutral_value),
        groups=tuple(
            sorted(found, key=lambda one: (levels.index(one.group.level), -np.nan_to_num(one.loss), -one.change))
        ),
    )


def drawn_labels(seeds: Split, rows: int | None) -> Split:
    """Returns at most so many seeds of a split, in its order: a function of their number alone."""
    if rows is None or rows >= len(seeds):
        return seeds
    return seeds.rows(np.sort(numpy_generator(PURPOSE_EXPLANATION, len(seeds)).permutation(len(seeds))[:rows]))


def _intervals(metric: str, seeds: Split, left_out: LeftOut, losses: Values) -> list[tuple[float, float] | None]:
    """Returns the interval of each group's loss, or None for all where none can be given."""

    def draws(prediction: Values) -> Values | None:
        return bootstrap_values(metric, seeds.target, prediction, seeds.entities)

    whole = draws(left_out.prediction)
    if whole is None:
        return [None] * len(losses)
    sign = 1 if is_higher_better(metric) else -1
    found = []
    for prediction in left_out.without:
        without = whole if np.array_equal(prediction, left_out.prediction) else draws(prediction)
        assert without is not None
        found.append(sign * (whole - without))
    ends = simultaneous_intervals(losses, np.stack(found)[:, np.isfinite(whole)])
    return [(float(low), float(high)) for low, high in ends]
