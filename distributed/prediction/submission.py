"""Predictions of a task's own labels in RelBench's submission format: key columns and the prediction under the target's name, as CSV.

Promises: the file is checked by RelBench's own validator (relbench.submit), which reads it back and scores it; its score and ours are compared, and a
difference is an error. The labels of test are read by that scoring alone.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from relbench.base import EntityTask
from relbench.load import RelBenchDataset
from relbench.submit import evaluate_task, write_prediction_table

from rdl_core.atomic_write import replace_file
from rdl_core.prediction import Predictor
from rdl_core.problems import InputError
from rdl_core.tasks.labels import is_multiclass, read_split
from rdl_core.tasks.scoring import task_metrics


def write_submission(
    predictor: Predictor, task: EntityTask, dataset: RelBenchDataset, split: Literal["val", "test"], out: Path
) -> tuple[int, dict[str, float]]:
    """Writes predictions of all labels of a split; returns (rows, metrics).

    Raises:
        ValueError: RelBench's validator refuses the file, or scores it differently; or the task has several classes.
    """
    if is_multiclass(task):
        raise InputError(
            f"task {task.name!r} has several classes, of which RelBench has neither metric nor submission. Remedy: predictions without --split"
        )
    seeds = read_split(task, split, predictor.regime, predictor.store.test_timestamp_s)
    predicted = predictor.predict_rows(seeds.entities, seeds.time_s, seeds.before_s)
    metrics = task_metrics(task, split, predicted)
    with replace_file(out) as partial:
        write_prediction_table(task, predicted, partial, split=split)
        if split == "test" and not any(map(math.isnan, metrics.values())):
            _check(metrics, evaluate_task(f"{dataset.manifest.name}/{task.name}", partial, dataset=dataset))
    return len(seeds), metrics


def submission_name(dataset: RelBenchDataset, task: str) -> str:
    """Returns the name under which RelBench takes a file."""
    return f"{dataset.manifest.name}__{task}.csv"


def _check(ours: dict[str, float], theirs: dict[str, Any]) -> None:
    for name, value in theirs.items():
        if name in ours and not math.isclose(ours[name], value, rel_tol=0, abs_tol=1e-9):
            raise ValueError(f"RelBench scores the file {name} {value}, and we {ours[name]}: the file lost digits")
