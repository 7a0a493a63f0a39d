"""The check of a task: what it counts is what a loop counts, and it says what is wrong with planted leaks and thin labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from relbench.manifest import TaskManifest

from distributed.tasks.check import TaskCheck, check_task
from distributed.tasks.check_picture import draw_check
from distributed.tasks.command import CheckTask, Question
from distributed.tasks.new_task import add_task, task_manifest
from distributed.tasks.run import run_check_task
from rdl_core.database import load_task, open_dataset
from rdl_core.problems import InputError
from tests.nasty_database import TEST, VAL, write_nasty_database
from tests.nasty_tasks import TOWNS, add_class_task


def checked(
    folder: Path, question: Question | None = None, sql: tuple[str, str] = ("", ""), **changes: Any
) -> TaskCheck:
    """The check of a new task, some text of whose SQL is replaced."""
    dataset = open_dataset(folder)
    if question is None:
        return check_task(dataset, load_task(dataset, **changes))
    manifest = task_manifest(dataset, question)
    assert sql[0] in str(manifest.sql)
    manifest.sql = str(manifest.sql).replace(*sql)
    add_task(dataset, manifest, replaces=True)
    return check_task(dataset, load_task(dataset, manifest.name))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_nasty_database(tmp_path / "nasty")


ORDERS = Question(entity="teams", target="COUNT(order) = 0", window="30d", name="own")


def test_labels_over_time_and_baseline_are_those_of_the_files(folder: Path) -> None:
    found = checked(folder, ORDERS)
    rows = [
        (split, str(row["timestamp"])[:10], row["own"])
        for split in ("train", "val", "test")
        for row in pq.read_table(folder / "tasks" / "own" / f"{split}.parquet").to_pylist()
    ]
    for one in found.seed_times:
        labels = [label for split, time, label in rows if (split, time) == (one.split, one.time[:10])]
        assert (one.labels, one.value) == (len(labels), pytest.approx(sum(labels) / len(labels)))
        assert one.share == len(labels) / 12
        assert any(
            f"{one.time}: {len(labels)} labels" in line and f", {one.value:.1%} positive" in line
            for line in found.lines
        )
    assert sum(one.labels for one in found.seed_times) == len(rows)
    assert found.metric == "roc_auc" and set(found.baselines["trivial"]) == {"val", "test"}
    assert not found.leaks


def test_sql_that_looks_beyond_its_window_is_found(folder: Path) -> None:
    leak = ("asked.timestamp + INTERVAL '{timedelta}'", "asked.timestamp + INTERVAL '{timedelta}' * 4")
    found = checked(folder, ORDERS, leak)
    assert "the SQL looks beyond the window" in found.leaks[0] and found.leaks[0] in found.warnings


def test_sql_that_asks_whom_only_the_future_knows_is_found(folder: Path) -> None:
    found = checked(folder, ORDERS, ("\nLEFT JOIN counted", "\nJOIN counted"))
    assert any(line.startswith("who is asked depends on rows after the seed time") for line in found.leaks)


def test_asking_nobody_without_a_row_is_told_from_asking_some_whom_the_future_names(folder: Path) -> None:
    average = Question(entity="teams", target="AVG(match.score)", window="30d", name="own", via=("match.home_id",))
    (said,) = checked(folder, average).leaks
    assert "are asked because such a row came" in said
    later = ("ON seen.time <= timestamps.timestamp", "ON seen.time <= timestamps.timestamp + INTERVAL '{timedelta}'")
    (said,) = checked(folder, ORDERS, later).leaks
    assert "1 of 11 entities" in said and "nobody can know whom to ask" in said


def test_windows_that_are_open_at_the_next_split_and_thin_labels_are_said(folder: Path) -> None:
    path = folder / "tasks" / "team-wins" / "manifest.yaml"
    manifest = TaskManifest.load(path)
    manifest.timedelta = "80 days"
    manifest.save(path)
    found = checked(folder, task_name="team-wins")
    assert any(
        line.startswith("train: the windows of 20 of 40 labels are not closed by the validation")
        for line in found.warnings
    )
    assert any(
        line.startswith("val: the windows of 11 of 22 labels are not closed by the test") for line in found.warnings
    )
    assert any("train: labels of only 4 seed times" in line for line in found.warnings)
    assert any(line.startswith("val: ") and "bear every figure" in line for line in found.warnings)


def test_a_base_rate_that_changes_is_said(folder: Path) -> None:
    found = checked(folder, Question(entity="teams", target="COUNT(order) >= 3", window="30d", name="own", via=()))
    rates = {split: labels.classes.get("1", 0) / labels.num_rows for split, labels in found.splits.items()}
    said = any("of the labels are positive" in line for line in found.warnings)
    assert said == any(
        rates[s] and max(rates[s] / rates["train"], rates["train"] / rates[s]) >= 2 for s in ("val", "test")
    )


def test_a_task_of_several_classes_has_their_shares_a_picture_and_plain_json(folder: Path, tmp_path: Path) -> None:
    add_class_task(folder)
    found = checked(folder, task_name=TOWNS)
    assert found.metric == "accuracy" and found.seed_times[0].classes == {"town 0": 0.4, "town 1": 0.3, "town 2": 0.3}
    assert draw_check(found, tmp_path / "check.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads(json.dumps(found.as_json()))["seed_times"][0]["split"] == "train"
    times = {one.time[:10] for one in found.seed_times}
    assert {str(VAL.date()), str(TEST.date())} < times


def test_a_baseline_of_several_classes_is_refused_before_anything_is_made(folder: Path, tmp_path: Path) -> None:
    add_class_task(folder)
    with pytest.raises(InputError, match="several classes.*Remedy"):
        run_check_task(CheckTask(data=str(folder), task=TOWNS, baseline=True, runs_dir=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
