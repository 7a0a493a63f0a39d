"""Results of one regime, by task and side, and the differences between sides with their intervals.

Promises: sides are compared on the seeds that both have, on the task's own test labels, and on nothing else; a head or arm is chosen by its mean
validation metric alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask

from benchmarks.tasks.bootstrap import Difference, paired_difference
from benchmarks.tasks.result_file import Result
from rdl_core.database import load_task, open_dataset

TaskName = tuple[str, str]
"""(database, task)."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a head of an arm under a setting."""

    setting: str
    arm: str
    head: str

    def __str__(self) -> str:
        return self.arm if self.head == "network" else self.head if self.arm == "none" else f"{self.head} ({self.arm})"


@dataclass(frozen=True)
class Truth:
    """Test labels of a task, in the order of the test split.

    Args:
        target: float64 [rows].
        entities: int64 [rows].
    """

    target: NDArray[np.float64]
    entities: NDArray[np.int64]


def read_truths(folders: Iterable[Path], results: Sequence[Result]) -> dict[TaskName, Truth]:
    """Reads the test labels of all tasks of the results; of those that left test alone, none.

    Raises:
        ValueError: A database of the results is not among the dataset folders.
    """
    datasets = {str(dataset.manifest.name): dataset for dataset in map(open_dataset, folders)}
    truths = {}
    for name in sorted({task_of(result) for result in results if result.predictions is not None}):
        if name[0] not in datasets:
            raise ValueError(
                f"there are results of database {name[0]!r}, and --data has {', '.join(datasets)}; add its folder"
            )
        truths[name] = truth_of(load_task(datasets[name[0]], name[1]))
    return truths


def truth_of(task: EntityTask) -> Truth:
    """Returns the test labels of a task."""
    frame = task.get_table("test", mask_input_cols=False).df
    return Truth(
        frame[task.target_col].to_numpy().astype(np.float64), frame[task.entity_col].to_numpy().astype(np.int64)
    )


def task_of(result: Result) -> TaskName:
    """The task of a result."""
    return result.key.database, result.key.task


class Comparison:
    """Results, with the test labels of those that looked at test.

    Args:
        results: Of one regime.
        truths: Test labels of their tasks.
        resamples: Of each bootstrap.

    Raises:
        ValueError: A result has as many predictions as its test split has no rows.
    """

    def __init__(self, results: Sequence[Result], truths: Mapping[TaskName, Truth], *, resamples: int = 1000) -> None:
        self.truths, self.resamples = truths, resamples
        self._runs: dict[tuple[TaskName, Side, float], dict[int, Result]] = {}
        for result in results:
            if result.predictions is not None:
                _require_rows(result, truths[task_of(result)])
            key = result.key
            place = (task_of(result), Side(key.setting, key.arm, key.head), key.label_share)
            self._runs.setdefault(place, {})[key.seed] = result

    @property
    def tasks(self) -> list[TaskName]:
        """All tasks of which there are results."""
        return sorted({task for task, _, _ in self._runs})

    @property
    def label_shares(self) -> list[float]:
        """All shares of the labels, the largest first."""
        return sorted({share for _, _, share in self._runs}, reverse=True)

    def sides(self, task: TaskName, share: float) -> list[Side]:
        """All sides of which a task has results."""
        return [side for name, side, at in self._runs if (name, at) == (task, share)]

    def runs(self, task: TaskName, side: Side, share: float) -> list[Result]:
        """The results of a side, by seed."""
        runs = self._runs.get((task, side, share), {})
        return [runs[seed] for seed in sorted(runs)]

    def metric(self, task: TaskName) -> str:
        """The metric of a task."""
        return next(run.metric for (name, _, _), runs in self._runs.items() if name == task for run in runs.values())

    def chosen(self, task: TaskName, candidates: Sequence[Side], share: float) -> Side | None:
        """Returns the candidate with the best mean validation metric; None if there is no result of any."""
        sign = 1 if self.metric(task) == "roc_auc" else -1
        there = [side for side in candidates if self.runs(task, side, share)]
        return max(
            there, key=lambda side: sign * statistics.mean(r.val for r in self.runs(task, side, share)), default=None
        )

    def difference(self, task: TaskName, first: Side, second: Side, share: float) -> Difference | None:
        """Returns how much better the first side is on test; None if no seed of both looked at test."""
        runs = [
            {run.key.seed: run for run in self.runs(task, side, share) if run.predictions is not None}
            for side in (first, second)
        ]
        seeds = sorted(runs[0].keys() & runs[1].keys())
        if not seeds:
            return None
        predictions = [np.array([side[seed].predictions for seed in seeds], dtype=np.float64) for side in runs]
        truth = self.truths[task]
        return paired_difference(
            predictions[0], predictions[1], truth.target, truth.entities, self.metric(task), resamples=self.resamples
        )


def _require_rows(result: Result, truth: Truth) -> None:
    assert result.predictions is not None
    if len(result.predictions) != len(truth.target):
        raise ValueError(
            f"{result.key.file_name} has {len(result.predictions)} predictions, the test split {len(truth.target)} rows; "
            "the data are not those of the run. Remedy: the same import"
        )
