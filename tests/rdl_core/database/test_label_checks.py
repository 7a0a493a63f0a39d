"""Labels that are too few or too alike are told, with what the split holds; those by which no metric can be computed forbid training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from relbench.base import EntityTask, TaskType

from rdl_core.database import DatabaseError
from rdl_core.database.label_checks import SPLITS, label_problems, require_measurable_labels, split_labels

BINARY, NUMBER, CLASS = "binary_classification", "regression", "multiclass_classification"
GOOD: dict[str, list[Any]] = {
    BINARY: [0, 1] * 20,
    NUMBER: [float(i) for i in range(40)],
    CLASS: ["a", "b", "c", "d"] * 10,
}


def problems(task_type: str, **splits: Any) -> list[tuple[str, bool, str]]:
    """(split, whether it forbids training, what was got) of labels that are good where not given."""
    labels = {split: split_labels(pd.Series(splits.get(split, GOOD[task_type])), task_type) for split in SPLITS}
    return [(found.split, found.forbids_training, found.got) for found in label_problems(task_type, labels)]


@pytest.mark.parametrize("task_type", GOOD)
def test_good_labels_have_no_problem(task_type: str) -> None:
    assert problems(task_type) == []


@pytest.mark.parametrize(
    ("task_type", "split", "labels", "got"),
    [
        (BINARY, "train", [0] * 40, "only the class 0 (40 rows)"),
        (BINARY, "val", [1] * 40, "only the class 1 (40 rows)"),
        (BINARY, "val", [0.0] * 40, "only the class 0 (40 rows)"),
        (BINARY, "test", [False] * 40, "only the class 0 (40 rows)"),
        (BINARY, "train", [1, 2] * 20, "the classes 1 (20 rows), 2 (20 rows)"),
        (BINARY, "val", ["yes", "no"] * 20, "the classes no (20 rows), yes (20 rows)"),
        (BINARY, "val", [0, 1, 2, 2], "the classes 2 (2 rows), 0 (1 rows), 1 (1 rows)"),
        (BINARY, "val", [1] + [None] * 9, "only the class 1 (1 rows)"),
        (NUMBER, "train", [0.0] * 195, "0.0 in all 195 labels"),
        (NUMBER, "train", [7], "7.0 in all 1 labels"),
        (NUMBER, "val", [1.0, np.inf], "1 infinite labels"),
        (NUMBER, "test", [-np.inf, 2.0, np.inf], "2 infinite labels"),
        (CLASS, "train", ["a"] * 40, "only the class a (40 rows)"),
        (CLASS, "val", [3.0] * 40, "only the class 3 (40 rows)"),
        (BINARY, "train", [None] * 12, "null in all 12 rows"),
        (NUMBER, "val", [np.nan] * 12, "null in all 12 rows"),
    ],
)
def test_labels_by_which_nothing_can_be_measured_forbid_training(
    task_type: str, split: str, labels: list[Any], got: str
) -> None:
    found = problems(task_type, **{split: labels})
    assert (split, True, got) in found and all(forbids == (s == split) for s, forbids, _ in found)


@pytest.mark.parametrize(
    ("task_type", "split", "labels", "got"),
    [
        (BINARY, "test", [0] * 100 + [1], "1 of 101 labels"),
        (BINARY, "val", [0] * 100 + [1] * 9, "9 of 109 labels"),
        (BINARY, "train", [1] * 100 + [0] * 3, "3 of 103 labels"),
        (BINARY, "train", [True, False] * 4, "4 of 8 labels"),
        (NUMBER, "val", [3.5] * 40, "3.5 in all 40 labels"),
        (NUMBER, "test", [0] * 40, "0.0 in all 40 labels"),
        (NUMBER, "val", [1.0, 2.0, 3.0], "3"),
        (CLASS, "test", ["a", "b"] * 20 + ["e"] * 12, "labels of e (12 rows)"),
        (CLASS, "train", ["a", "b", "c"] * 20 + ["d"] * 2, "d (2 rows)"),
    ],
)
def test_few_labels_are_warned_of(task_type: str, split: str, labels: list[Any], got: str) -> None:
    assert problems(task_type, **{split: labels}) == [(split, False, got)]


@pytest.mark.parametrize("number", [10, 11, 1000])
def test_ten_positives_are_enough(number: int) -> None:
    assert problems(BINARY, val=[1] * number + [0] * 1000) == problems(BINARY, val=[0] * number + [1] * 1000) == []


@pytest.mark.parametrize("task_type", GOOD)
def test_hidden_test_labels_are_no_problem(task_type: str) -> None:
    assert problems(task_type, test=[None] * 40) == []


def test_links_are_counted_only() -> None:
    labels = split_labels(pd.Series([[1, 2], [3]] * 20), "recommendation")
    assert (labels.num_rows, labels.classes) == (40, {}) and label_problems("recommendation", {"val": labels}) == []


class FixedTask:
    """A task with the labels of its splits."""

    name, target_col, task_type = "leaves", "y", TaskType.BINARY_CLASSIFICATION

    def __init__(self, **splits: list[int]) -> None:
        self.splits = splits

    def get_table(self, split: str, mask_input_cols: bool = True) -> Any:
        return type("Labels", (), {"df": pd.DataFrame({"y": self.splits.get(split, GOOD[BINARY])})})


def as_task(**splits: list[int]) -> EntityTask:
    return FixedTask(**splits)  # type: ignore[return-value]


def test_every_split_without_a_metric_is_refused_with_its_remedy() -> None:
    with pytest.raises(DatabaseError) as refused:
        require_measurable_labels(as_task(val=[0] * 40, test=[1] * 40))
    text = str(refused.value)
    for words in (
        "2 problems",
        "task 'leaves', val labels, column 'y'",
        "only the class 0",
        "test labels",
        "num_eval_timestamps",
    ):
        assert words in text


def test_what_only_weakens_a_metric_is_returned() -> None:
    (problem,) = require_measurable_labels(as_task(test=[0] * 40 + [1]))
    assert (
        str(problem)
        == "test: expected at least 10 positives (class 1): a metric over fewer is chance, got 1 of 41 labels"
    )
