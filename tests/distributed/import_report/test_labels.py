"""Labels of an import: what it says of them, the trivial prediction, and that fine-tuning refuses what cannot be measured before it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distributed.__main__ import main
from distributed.import_report.report import ImportReport
from distributed.importing.importer import import_database
from tests.distributed.importing.small_imports import config, sqlite_file

SHOP = """CREATE TABLE buyer (id INTEGER PRIMARY KEY, town TEXT);
CREATE TABLE sale (no INTEGER PRIMARY KEY, buyer INTEGER REFERENCES buyer, at DATE, price REAL);
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 39) INSERT INTO buyer SELECT i, 'town ' || (i % 7) FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1199)
INSERT INTO sale SELECT i, (i * 7) % 40, date('2020-01-01', '+' || (i / 6) || ' days'), i % 11 FROM n;"""
TASK = """name: goal
kind: forecast
task_type: {task_type}
entity_table: buyer
entity_col: buyer
target_col: y
time_col: timestamp
timedelta: 10 days
sql: |-
  SELECT t.timestamp, b.id AS buyer, {y} AS y FROM timestamps t, buyer b
"""
VAL, TEST = "2020-05-01", "2020-06-01"


def imported(folder: Path, y: str, task_type: str = "binary_classification") -> tuple[ImportReport, list[str]]:
    """Imports the shop with one task; returns the report and the lines."""
    (folder / "tasks").mkdir()
    (folder / "tasks" / "goal.yaml").write_text(TASK.format(y=y, task_type=task_type))
    source = sqlite_file(folder / "shop.db", SHOP)
    options: dict[str, Any] = {"tasks": folder / "tasks", "val_timestamp": VAL, "test_timestamp": TEST}
    lines: list[str] = []
    report = import_database(config(source, folder / "out", **options), lines.append)
    return report, lines


def test_good_labels_are_shown_with_the_trivial_prediction_and_nothing_is_warned_of(tmp_path: Path) -> None:
    report, lines = imported(tmp_path, "CAST(b.id % 4 = 0 AS BIGINT)")
    labels = report.labels["goal"]
    assert labels.splits["val"].classes == {"0": 30, "1": 10} and labels.baseline["val"] == {
        "positive_share": 0.25,
        "roc_auc": 0.5,
    }
    assert report.label_findings == () and any("40 val (25.0% positive)" in line for line in lines)


def test_the_trivial_prediction_of_numbers_is_the_median_of_train(tmp_path: Path) -> None:
    report, _ = imported(
        tmp_path, f"CAST(b.id * b.id + 5 * (t.timestamp >= TIMESTAMP '{VAL}')::INT AS DOUBLE)", "regression"
    )
    train = np.arange(40.0) ** 2
    expected = np.abs(train + 5 - np.median(train)).mean()
    num_train = report.labels["goal"].splits["train"].num_rows // 40
    std = np.tile(train, num_train).std(ddof=1)
    assert report.labels["goal"].baseline["val"] == pytest.approx({"mae": expected, "nmae": expected / std})


def test_the_trivial_prediction_of_classes_is_the_most_frequent_of_train(tmp_path: Path) -> None:
    y = f"CASE WHEN t.timestamp >= TIMESTAMP '{VAL}' THEN b.id % 2 + 4 WHEN b.id < 25 THEN 4 ELSE 5 END"
    report, _ = imported(tmp_path, y, "multiclass_classification")
    assert report.labels["goal"].baseline["val"] == {"accuracy": 0.5}
    assert report.labels["goal"].baseline["train"] == {"accuracy": 25 / 40}


LATE = f"t.timestamp >= TIMESTAMP '{VAL}'"
LAST = f"t.timestamp >= TIMESTAMP '{TEST}'"
REFUSED = [
    (f"CASE WHEN {LATE} THEN 0 ELSE b.id % 2 END", "binary_classification", {"val", "test"}),
    ("1 + b.id % 2", "binary_classification", {"train", "val", "test"}),
    ("CAST(0 AS DOUBLE)", "regression", {"train"}),
]


@pytest.mark.parametrize(("y", "task_type", "splits"), REFUSED)
def test_labels_that_nothing_can_be_measured_by_are_said_at_import(
    tmp_path: Path, y: str, task_type: str, splits: set[str]
) -> None:
    report, lines = imported(tmp_path, y, task_type)
    refused = [finding for finding in report.label_findings if "fine-tuning will refuse it" in finding.text]
    assert {finding.split for finding in refused} == splits
    assert {(finding.kind, finding.task, finding.table, finding.column) for finding in refused} == {
        ("labels", "goal", "buyer", "y")
    }
    assert {finding.line for finding in report.label_findings} <= set(lines) & set(report.warnings)


@pytest.mark.parametrize(
    ("y", "task_type", "warned"),
    [
        (
            f"CASE WHEN {LAST} THEN (b.id = 3)::BIGINT ELSE b.id % 2 END",
            "binary_classification",
            [("test", "1 of 40 labels")],
        ),
        (
            f"CASE WHEN {LATE} THEN (b.id > 3)::BIGINT ELSE b.id % 2 END",
            "binary_classification",
            [("val", "4 of 40"), ("test", "4 of 40")],
        ),
        (
            f"CASE WHEN {LAST} THEN b.id % 3 ELSE b.id % 2 END",
            "multiclass_classification",
            [("test", "labels of 2 (13 rows)")],
        ),
        (
            "CASE WHEN b.id < 38 THEN 'a' ELSE 'b' END",
            "multiclass_classification",
            [("val", "b (2 rows)"), ("test", "b (2 rows)")],
        ),
    ],
)
def test_few_labels_are_warned_of_at_import(
    tmp_path: Path, y: str, task_type: str, warned: list[tuple[str, str]]
) -> None:
    report, _ = imported(tmp_path, y, task_type)
    found = [finding for finding in report.label_findings if finding.split != "train"]
    assert [finding.split for finding in found] == [split for split, _ in warned]
    assert all(text in finding.text for finding, (_, text) in zip(found, warned, strict=True))


@pytest.mark.parametrize(("y", "task_type", "splits"), [REFUSED[0], REFUSED[2]])
def test_fine_tuning_refuses_them_before_it_makes_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], y: str, task_type: str, splits: set[str]
) -> None:
    imported(tmp_path, y, task_type)
    runs = ["--runs-dir", str(tmp_path / "runs"), "--run-name", "tuned"]
    words = ["finetune", "--data", str(tmp_path / "out"), "--task", "goal", "--arm", "scratch", *runs]
    assert main(words) == 2
    text = capsys.readouterr().err
    assert all(f"task 'goal', {split} labels, column 'y'" in text for split in splits) and "remedy" in text
    assert not (tmp_path / "runs").exists()
