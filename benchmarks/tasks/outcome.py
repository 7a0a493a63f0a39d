"""The findings of one run, before they become results: metrics, and predictions of the test split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask, Table


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run.

    Args:
        metric: "roc_auc" (higher is better) or "mae" (lower is better).
        val, test: The metric.
        predictions: Of the test rows in their order, float64 [rows].
        steps: Updates of the network until it stopped; 0 without one.
        seconds: Training, with its validations; of heads on columns, of all that were fitted together.
    """

    metric: str
    val: float
    test: float
    predictions: NDArray[np.float64]
    steps: int
    seconds: float


Outcomes = Mapping[tuple[str, bool], Outcome]
"""By (head, whether it was refitted on every closed label)."""


class WithoutTest:
    """A task whose test split is its validation split: what is given it cannot look at test."""

    def __init__(self, task: EntityTask) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def get_table(self, split: str, *arguments: Any, **named: Any) -> Table:
        """Returns the table of a split; of "test", that of "val"."""
        return self._task.get_table("val" if split == "test" else split, *arguments, **named)


class WithShuffledLabels:
    """A task whose labels of train and validation are dealt out anew, each split in itself; test keeps its own.

    Whoever learns from it learns nothing of the rows: a figure on test that is better than chance would show a leak.

    Args:
        task: The task.
        seed: Of the permutations.
    """

    def __init__(self, task: EntityTask, seed: int) -> None:
        self._task, self._seed = task, seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def get_table(self, split: str, *arguments: Any, **named: Any) -> Table:
        """Returns the table of a split."""
        table = self._task.get_table(split, *arguments, **named)
        if split == "test":
            return table
        labels = np.random.default_rng([self._seed, len(table.df)]).permutation(table.df[self._task.target_col])
        frame = table.df.assign(**{self._task.target_col: labels})
        return Table(frame, table.fkey_col_to_pkey_table, table.pkey_col, table.time_col)


def with_shuffled_labels(task: EntityTask, seed: int) -> EntityTask:
    """Returns the task with the labels of train and validation shuffled."""
    return cast("EntityTask", WithShuffledLabels(task, seed))


def without_test(task: EntityTask) -> EntityTask:
    """Returns the task with its validation split as test."""
    return cast("EntityTask", WithoutTest(task))
