"""The labels of imported tasks: what each split holds, what the trivial prediction reaches, and what is too little or too alike.

In: task manifests and their written label files. Out: `TaskLabels` per task, and a `Finding` per split that lacks something; the import goes on,
since the tables are good without the task, and fine-tuning refuses what cannot be measured. Test labels are read for the report only.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from relbench.base import TaskType
from relbench.manifest import TaskManifest

from distributed.import_report.report import Finding, TaskLabels
from rdl_core.database.label_checks import SPLITS, class_name, label_problems, split_labels


def labels_of_tasks(tasks: Iterable[TaskManifest], folder: Path) -> dict[str, TaskLabels]:
    """Returns the labels of each task whose files `folder/tasks/<name>` holds."""
    return {task.name: _labels(task, folder / "tasks" / task.name) for task in tasks}


def label_findings(tasks: Mapping[str, TaskLabels]) -> list[Finding]:
    """Returns a finding per split whose labels are too few, all alike or not what their type says."""
    return [
        Finding(
            kind="labels",
            table=labels.entity_table,
            column=labels.target_col,
            num_rows=labels.splits[problem.split].num_rows,
            text=f"labels: expected {problem.expected}, got {problem.got}; "
            + ("fine-tuning will refuse it; " if problem.forbids_training else "")
            + problem.remedy,
            remedy=problem.remedy,
            task=name,
            split=problem.split,
        )
        for name, labels in tasks.items()
        for problem in label_problems(labels.task_type, labels.splits)
    ]


def label_lines(tasks: Mapping[str, TaskLabels]) -> list[str]:
    """Returns a line per task: rows, classes or range, and the trivial prediction's metric, of each split."""
    return [
        f"task {shlex.quote(name)}: " + "; ".join(_split_line(labels, split) for split in labels.splits)
        for name, labels in tasks.items()
    ]


def _labels(task: TaskManifest, folder: Path) -> TaskLabels:
    target_col = task.target_col if task.src_entity_col is None else task.dst_entity_col
    targets: dict[str, pd.Series] = {}
    for split in SPLITS:
        frame = pq.read_table(folder / f"{split}.parquet", columns=None if target_col is None else [target_col])
        targets[split] = frame.to_pandas().iloc[:, 0]
    return TaskLabels(
        task_type=task.task_type,
        entity_table=str(task.entity_table or task.src_entity_table),
        target_col=target_col,
        splits={split: split_labels(target, task.task_type) for split, target in targets.items()},
        baseline=_baseline(targets, task.task_type),
    )


def _baseline(targets: Mapping[str, pd.Series], task_type: str) -> dict[str, dict[str, float]]:
    """Returns the metrics of the constant that is best on train; {} where there is none to compute."""
    train = targets["train"].dropna()
    if train.empty:
        return {}
    known = {split: target.dropna() for split, target in targets.items() if target.notna().any()}
    if task_type == TaskType.REGRESSION.value:
        if any(not np.isfinite(target.to_numpy(dtype=np.float64)).all() for target in known.values()):
            return {}
        median, std = float(np.median(train)), float(train.std(ddof=1))
        mae = {
            split: float(np.abs(target.to_numpy(dtype=np.float64) - median).mean()) for split, target in known.items()
        }
        return {split: {"mae": value} | ({"nmae": value / std} if std > 0 else {}) for split, value in mae.items()}
    if task_type == TaskType.BINARY_CLASSIFICATION.value:
        rates = {split: float((target.map(class_name) == "1").mean()) for split, target in known.items()}
        return {
            split: {"positive_share": rate} | ({"roc_auc": 0.5} if 0 < rate < 1 else {})
            for split, rate in rates.items()
        }
    if task_type == TaskType.MULTICLASS_CLASSIFICATION.value:
        classes = train.map(class_name)
        majority = min(classes.value_counts().items(), key=lambda item: (-item[1], item[0]))[0]
        return {
            split: {"accuracy": float((target.map(class_name) == majority).mean())} for split, target in known.items()
        }
    return {}


def _split_line(labels: TaskLabels, split: str) -> str:
    found, baseline = labels.splits[split], labels.baseline.get(split, {})
    text = f"{found.num_rows:,} {split}"
    if "positive_share" in baseline:
        return f"{text} ({baseline['positive_share']:.1%} positive)"
    if "mae" in baseline:
        return f"{text} (MAE of train's median {baseline['mae']:.4g})"
    if "accuracy" in baseline:
        return f"{text} (accuracy of train's most frequent class {baseline['accuracy']:.1%})"
    return text
