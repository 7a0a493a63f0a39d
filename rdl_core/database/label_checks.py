"""Checks of what the labels of a task hold, split by split, and of where they are too few or too alike to learn from or to measure by.

In: one target column per split. Out: `SplitLabels` (rows, classes or range) and `LabelProblem`s. A problem `forbids_training` where a metric of the
task could not be computed after hours of training: AUROC needs both classes in every split; NMAE divides by the standard deviation of the train
labels. All other problems are warnings: the import says them, and fine-tuning again. Labels that are hidden (null) are no problem. Test labels are
counted, and nothing but the refusal depends on them.

Cost: one pass over each target column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from relbench.base import EntityTask, TaskType

from rdl_core.database.column_checks import DatabaseError, Problem

MIN_ROWS = 10
"""Fewer labels of a split, or of one of its two classes, leave a metric to chance."""
MAX_CLASSES_LISTED = 50
SPLITS = ("train", "val", "test")
REMEDY = (
    "choose other timestamps (--val-timestamp, --test-timestamp of the import), more num_eval_timestamps in the task's "
    "manifest, or another target"
)


@dataclass(frozen=True, kw_only=True)
class SplitLabels:
    """The labels of one split.

    Args:
        num_null: Hidden labels.
        classes: Rows per class, the most frequent first, at most 50 classes; {} for numbers and links.
        num_distinct: Distinct labels.
        num_infinite: Numbers that are infinite.
        lowest, median, mean, highest, std: Of finite numbers (std with ddof=1, as in NMAE); None for classes, and where there is no label.
    """

    num_rows: int
    num_null: int = 0
    num_distinct: int = 0
    num_infinite: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    lowest: float | None = None
    median: float | None = None
    mean: float | None = None
    highest: float | None = None
    std: float | None = None


@dataclass(frozen=True, kw_only=True)
class LabelProblem:
    """A lack of one split; with `forbids_training`, a metric of the task cannot be computed."""

    split: str
    expected: str
    got: str
    forbids_training: bool
    remedy: str = REMEDY

    def __str__(self) -> str:
        return f"{self.split}: expected {self.expected}, got {self.got}"


def split_labels(target: pd.Series, task_type: str) -> SplitLabels:
    """Returns what a target column holds; of lists (links, several labels at once) only rows and nulls are counted."""
    known = target.dropna()
    counted = SplitLabels(num_rows=len(target), num_null=len(target) - len(known))
    if task_type == TaskType.REGRESSION.value:
        return _of_numbers(counted, known.to_numpy(dtype=np.float64))
    if task_type not in (TaskType.BINARY_CLASSIFICATION.value, TaskType.MULTICLASS_CLASSIFICATION.value):
        return counted
    rows = known.map(class_name).value_counts()
    ordered = sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    return replace(
        counted,
        num_distinct=len(ordered),
        classes={str(name): int(number) for name, number in ordered[:MAX_CLASSES_LISTED]},
    )


def class_name(label: object) -> str:
    """Returns a label as a class: 1, 1.0 and True are one."""
    if isinstance(label, bool | int | float | np.bool_ | np.number) and float(label).is_integer():
        return str(int(label))
    return str(label)


def class_names(labels: pd.Series) -> tuple[str, ...]:
    """Returns the distinct classes of labels, without nulls: whole numbers in the order of numbers, else in the order of texts."""
    names = {class_name(label) for label in labels.dropna().unique().tolist()}
    are_numbers = all(name.lstrip("-").isdecimal() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if are_numbers else (lambda name: (0, name))))


def label_problems(task_type: str, splits: Mapping[str, SplitLabels]) -> list[LabelProblem]:
    """Returns what the labels lack, split by split; hidden labels and links have no problem but too few rows."""
    problems = []
    for split, labels in splits.items():
        if labels.num_rows == labels.num_null and labels.num_rows:
            if split != "test":
                problems.append(_fatal(split, "labels", f"null in all {labels.num_rows:,} rows"))
            continue
        found = {
            TaskType.BINARY_CLASSIFICATION.value: _binary_problems,
            TaskType.REGRESSION.value: _number_problems,
            TaskType.MULTICLASS_CLASSIFICATION.value: _class_problems,
        }.get(task_type, lambda *_: [])(split, labels, splits)
        if not found and labels.num_rows - labels.num_null < MIN_ROWS:
            found = [_warning(split, f"at least {MIN_ROWS} labels", f"{labels.num_rows - labels.num_null}")]
        problems += found
    return problems


def task_label_problems(task: EntityTask) -> list[LabelProblem]:
    """Returns what the labels of an opened task lack; its label files are read, or made by RelBench where there are none."""
    task_type = TaskType(task.task_type).value
    return label_problems(
        task_type,
        {
            split: split_labels(task.get_table(split, mask_input_cols=False).df[task.target_col], task_type)
            for split in SPLITS
        },
    )


def require_measurable_labels(task: EntityTask) -> list[LabelProblem]:
    """Returns the warnings of a task's labels.

    Raises:
        DatabaseError: A metric of the task cannot be computed, or nothing can be learned; it holds every such split.
    """
    problems = task_label_problems(task)
    fatal = [
        Problem(
            place=f"task {task.name!r}, {problem.split} labels",
            column=task.target_col,
            expected=problem.expected,
            got=problem.got,
            remedy=problem.remedy,
        )
        for problem in problems
        if problem.forbids_training
    ]
    if fatal:
        raise DatabaseError(f"labels of task {task.name!r}", fatal)
    return problems


def _of_numbers(counted: SplitLabels, values: np.ndarray) -> SplitLabels:
    finite = values[np.isfinite(values)]
    return replace(
        counted,
        num_distinct=len(np.unique(values)),
        num_infinite=len(values) - len(finite),
        lowest=float(finite.min()) if len(finite) else None,
        median=float(np.median(finite)) if len(finite) else None,
        mean=float(finite.mean()) if len(finite) else None,
        highest=float(finite.max()) if len(finite) else None,
        std=float(finite.std(ddof=1)) if len(finite) > 1 else None,
    )


def _fatal(split: str, expected: str, got: str) -> LabelProblem:
    return LabelProblem(split=split, expected=expected, got=got, forbids_training=True)


def _warning(split: str, expected: str, got: str) -> LabelProblem:
    return LabelProblem(split=split, expected=expected, got=got, forbids_training=False)


def _binary_problems(split: str, labels: SplitLabels, splits: Mapping[str, SplitLabels]) -> list[LabelProblem]:
    strange = sorted(set(labels.classes) - {"0", "1"})
    if strange:
        return [_fatal(split, "the classes 0 and 1 of a binary task", f"the classes {_listed(labels.classes)}")]
    if len(labels.classes) < 2:
        need = "nothing can be learned from one" if split == "train" else "AUROC needs both"
        return [_fatal(split, f"the classes 0 and 1 ({need})", f"only the class {_listed(labels.classes)}")]
    rare, number = min(labels.classes.items(), key=lambda item: item[1])
    if number < MIN_ROWS:
        what = "positives" if rare == "1" else "negatives"
        expected = f"at least {MIN_ROWS} {what} (class {rare}): a metric over fewer is chance"
        return [_warning(split, expected, f"{number} of {labels.num_rows:,} labels")]
    return []


def _number_problems(split: str, labels: SplitLabels, splits: Mapping[str, SplitLabels]) -> list[LabelProblem]:
    if labels.num_infinite:
        return [_fatal(split, "finite numbers", f"{labels.num_infinite} infinite labels")]
    if labels.num_distinct > 1:
        return []
    got = f"{labels.lowest} in all {labels.num_rows - labels.num_null:,} labels"
    if split == "train":
        return [_fatal(split, "two distinct labels (NMAE divides by their standard deviation)", got)]
    return [_warning(split, "two distinct labels: with one, a metric tells models hardly apart", got)]


def _class_problems(split: str, labels: SplitLabels, splits: Mapping[str, SplitLabels]) -> list[LabelProblem]:
    if len(labels.classes) < 2:
        return [_fatal(split, "two classes", f"only the class {_listed(labels.classes)}")]
    train, problems = splits.get("train"), []
    unseen: dict[str, int] = {}
    if train is not None and train.num_distinct <= MAX_CLASSES_LISTED:
        unseen = {name: n for name, n in labels.classes.items() if name not in train.classes}
    if unseen:
        problems.append(_warning(split, "classes that train has, too", f"labels of {_listed(unseen)}"))
    if rare := {name: n for name, n in labels.classes.items() if n < MIN_ROWS}:
        problems.append(_warning(split, f"at least {MIN_ROWS} labels of each class", f"{_listed(rare)}"))
    return problems


def _listed(classes: Mapping[str, int]) -> str:
    shown = [f"{name} ({number:,} rows)" for name, number in list(classes.items())[:10]]
    return ", ".join(shown) + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")
