"""The worth of a task's labels before anything is trained: over time, per split, against what needs no model, and what may leak.

In: a dataset in a folder, and a task of it. Out: a `TaskCheck`, of which lines, report.txt, the picture and --json are views. Reads all labels, those
of test too, for people to look at; nothing is chosen by them. Cost: a pass over the labels, over each table at one hop (label_columns.py), and three
runs of the task's SQL at one seed time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from relbench.base import EntityTask, TaskType
from relbench.load import RelBenchDataset
from relbench.manifest import TaskManifest

from distributed.import_report.folder_tables import opened_tables
from distributed.import_report.label_columns import columns_that_tell_labels
from distributed.tasks.window_check import window_findings
from rdl_core.database.label_checks import SPLITS, SplitLabels, class_name, label_problems, split_labels
from rdl_core.tasks.labels import metric_name, read_split
from rdl_core.tasks.scoring import few_labels
from rdl_core.tasks.trivial import trivial_figures
from rdl_core.timestamps import seconds_of

FEW_SEED_TIMES = 5
"""Train seed times below which a model sees hardly any change over time."""
LARGE_SHIFT = 2.0
"""The ratio of two base rates, of positives or of the most frequent class's errors, that is said."""


@dataclass(frozen=True, kw_only=True)
class SeedTime:
    """The labels of one seed time.

    Args:
        share: Labels per entity that is there at that time.
        value: The share of positives, or the median of numbers; None for several classes, and where labels are hidden.
        classes: Of several classes, the share of each.
    """

    split: str
    time: str
    labels: int
    share: float
    value: float | None
    classes: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TaskCheck:
    """All that was found.

    Args:
        metric: By which baselines are scored.
        seed_times: In the order of time.
        splits: Rows and balance of each split.
        baselines: {name: {"val", "test"}}, and in `about` what they are; none where labels of one class leave the metric undefined.
        leaks: Columns that alone nearly tell the label, and what the SQL must not look at.
        warnings: All that somebody should read, leaks among it.
    """

    task: str
    task_type: str
    metric: str
    description: str
    seed_times: tuple[SeedTime, ...]
    splits: Mapping[str, SplitLabels]
    baselines: Mapping[str, Mapping[str, float]]
    about: Mapping[str, str]
    leaks: tuple[str, ...]
    warnings: tuple[str, ...]

    def with_baseline(self, name: str, figures: Mapping[str, float], about: str) -> TaskCheck:
        """Returns it with one more baseline."""
        return dataclasses.replace(
            self, baselines={**self.baselines, name: figures}, about={**self.about, f"baseline {name}": about}
        )

    @property
    def lines(self) -> list[str]:
        """The lines that a user reads."""
        lines = [f"{self.task}: {self.task_type}. {self.description}".strip()]
        lines += [_split_line(name, labels) for name, labels in self.splits.items()]
        lines += [
            f"{one.split:<5} {one.time}: {one.labels:,} labels, {one.share:.0%} of entities{_balance(one, self.task_type)}"
            for one in self.seed_times
        ]
        for name, figures in self.baselines.items():
            shown = ", ".join(f"{split} {figure:.4f}" for split, figure in figures.items())
            lines.append(f"baseline {name} ({self.about[f'baseline {name}']}): {self.metric} {shown}")
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return dataclasses.asdict(self)


def check_task(dataset: RelBenchDataset, task: EntityTask) -> TaskCheck:
    """Looks at a task of a dataset.

    Raises:
        DatabaseError: DuckDB refuses the task's SQL.
    """
    frames = {split: task.get_table(split, mask_input_cols=False).df for split in SPLITS}
    splits = {split: split_labels(frame[task.target_col], task.task_type.value) for split, frame in frames.items()}
    read = {split: read_split(task, split, "rolling", seconds_of(dataset.test_timestamp)) for split in SPLITS}
    seed_times = tuple(_seed_times(dataset, task, frames))
    leaks = (*_columns(dataset, task), *window_findings(task))
    few = [
        f"{split}: {words} bear every figure" for split in ("val", "test") if (words := few_labels(task, read[split]))
    ]
    problems = label_problems(task.task_type.value, splits)
    said = [
        f"{problem}; {problem.remedy}" + ("; fine-tuning will refuse it" if problem.forbids_training else "")
        for problem in problems
    ]
    baselines, about = {}, {}
    if not any(problem.forbids_training for problem in problems):  # else the metric is undefined
        baselines["trivial"], about["baseline trivial"] = trivial_figures(task, *read.values())
    manifest = _manifest(task)
    return TaskCheck(
        task=task.name,
        task_type=task.task_type.value,
        metric=metric_name(task),
        description=(manifest.description if manifest is not None else None) or "",
        seed_times=seed_times,
        splits=splits,
        baselines=baselines,
        about=about,
        leaks=leaks,
        warnings=(*said, *few, *_windows(dataset, task, frames), *_shifts(seed_times, splits), *leaks),
    )


def _manifest(task: EntityTask) -> TaskManifest | None:
    path = Path(getattr(task, "_task_dir", None) or "") / "manifest.yaml"
    return TaskManifest.load(path) if path.is_file() else None


def _seed_times(dataset: RelBenchDataset, task: EntityTask, frames: Mapping[str, pd.DataFrame]) -> Iterator[SeedTime]:
    spec = dataset.manifest.tables[task.entity_table]
    path = dataset.db_dir / f"{task.entity_table}.parquet"
    num_rows, exists = pq.read_metadata(path).num_rows, None
    if spec.time_col is not None:
        exists = (
            pd.to_datetime(pq.read_table(path, columns=[spec.time_col]).column(0).to_pandas(), utc=True)
            .dropna()
            .sort_values()
        )
    for split, frame in frames.items():
        for time, labels in frame.groupby(task.time_col)[task.target_col]:
            stamp = pd.Timestamp(time)
            utc = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp
            there = num_rows if exists is None else int(exists.searchsorted(utc, side="right"))
            yield SeedTime(
                split=split,
                time=str(time),
                labels=len(labels),
                share=len(labels) / max(there, 1),
                value=_value(task, labels),
                classes=_classes(task, labels),
            )


def _value(task: EntityTask, labels: pd.Series) -> float | None:
    known = labels.dropna()
    if known.empty or task.task_type == TaskType.MULTICLASS_CLASSIFICATION:
        return None
    numbers = known.to_numpy(dtype=np.float64)
    return float(numbers.mean() if task.task_type == TaskType.BINARY_CLASSIFICATION else np.median(numbers))


def _classes(task: EntityTask, labels: pd.Series) -> dict[str, float]:
    if task.task_type != TaskType.MULTICLASS_CLASSIFICATION:
        return {}
    shares = labels.dropna().map(class_name).value_counts(normalize=True)
    return {str(name): float(share) for name, share in shares.items()}


def _columns(dataset: RelBenchDataset, task: EntityTask) -> list[str]:
    """Returns the columns at one hop that alone nearly tell the label; of a task whose files lie elsewhere, none are tried."""
    folder, manifest = Path(dataset.dataset_dir), _manifest(task)
    if manifest is None or not (folder / "tasks" / manifest.name / "train.parquet").is_file():
        return []
    with opened_tables(folder, dataset.manifest) as opened:
        return [f"{found.place} {found.text}; {found.remedy}" for found in columns_that_tell_labels(opened, manifest)]


def _windows(dataset: RelBenchDataset, task: EntityTask, frames: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yields the labels whose windows reach into the next split."""
    for split, end, name in (
        ("train", dataset.val_timestamp, "validation"),
        ("val", dataset.test_timestamp, "test"),
    ):
        closes = pd.to_datetime(frames[split][task.time_col], utc=True) + task.timedelta
        until = end.tz_localize("UTC") if end.tzinfo is None else end
        if number := int((closes > until).sum()):
            yield (
                f"{split}: the windows of {number:,} of {len(closes):,} labels are not closed by the {name} timestamp {end}: with a window of "
                f"{task.timedelta} they look at what {name} asks for"
            )


def _shifts(seed_times: tuple[SeedTime, ...], splits: Mapping[str, SplitLabels]) -> Iterator[str]:
    train = [one for one in seed_times if one.split == "train"]
    if len(train) < FEW_SEED_TIMES:
        yield f"train: labels of only {len(train)} seed times; --label-stride 0.25 of finetune asks the same SQL more often"
    rates = {split: _rate(labels) for split, labels in splits.items()}
    for split in ("val", "test"):
        before, now = rates["train"], rates[split]
        if before and now and max(before / now, now / before) >= LARGE_SHIFT:
            yield f"{split}: {now:.1%} of the labels are positive, and {before:.1%} in train: the question changes over time, and so do probabilities"


def _rate(labels: SplitLabels) -> float | None:
    known = labels.num_rows - labels.num_null
    return (
        labels.classes.get("1", 0) / known if known and set(labels.classes) <= {"0", "1"} and labels.classes else None
    )


def _split_line(split: str, labels: SplitLabels) -> str:
    if labels.classes:
        known = max(labels.num_rows - labels.num_null, 1)
        shown = ", ".join(f"{name} {number / known:.1%}" for name, number in list(labels.classes.items())[:8])
        more = labels.num_distinct - 8
        return f"{split:<5} {labels.num_rows:,} labels: {shown}" + (f" and {more} more classes" if more > 0 else "")
    if labels.median is None:
        return f"{split:<5} {labels.num_rows:,} labels, hidden"
    return (
        f"{split:<5} {labels.num_rows:,} labels: from {labels.lowest:.4g} to {labels.highest:.4g}, median {labels.median:.4g}, "
        f"mean {labels.mean:.4g}"
    )


def _balance(one: SeedTime, task_type: str) -> str:
    if one.classes:
        name, share = max(one.classes.items(), key=lambda item: item[1])
        return f", most frequent {name} ({share:.0%})"
    if one.value is None:
        return ""
    return f", {one.value:.1%} positive" if task_type == "binary_classification" else f", median {one.value:.4g}"
