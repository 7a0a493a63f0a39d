"""Which checkpoint counts after a crash, whatever was half written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from distributed.cluster.ray_internals import SNAPSHOT
from distributed.runs.commits import (
    COPY,
    committed_checkpoint,
    committed_step,
    remove_uncommitted,
    repair,
)
from distributed.runs.journal import Journal
from distributed.training.controller_callbacks import CommitCopies
from rdl_core.pretraining.state import TrainState


def upload(folder: Path, step: int) -> str:
    path = folder / f"checkpoint_{step}"
    path.mkdir(parents=True)
    (path / "state.json").write_text(json.dumps(dataclasses.asdict(TrainState(step=step))))
    return path.name


def commit(folder: Path, *steps: int) -> None:
    """The snapshot as Ray Train 2.60 writes it."""
    results = [{"version": 0, "checkpoint_dir_name": f"checkpoint_{step}", "metrics": {}} for step in steps]
    snapshot = {"checkpoint_results": results, "latest_checkpoint_result": results[-1]}
    (folder / SNAPSHOT).write_text(json.dumps(snapshot))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three uploads, of which two are committed."""
    folder = tmp_path / "train"
    for step in (0, 10, 20):
        upload(folder, step)
    commit(folder, 0, 10)
    Journal(tmp_path).reach(12)
    CommitCopies(folder).after_report(None, [{"step": 0, "checkpoint_step": 10}] * 2, "checkpoint_10")
    return folder


def test_a_commit_notes_how_far_the_run_had_come_meanwhile(run: Path) -> None:
    (event,) = Journal(run.parent).events("committed")
    assert (event["step"], event["reached"]) == (10, 12)


def test_the_committed_step_is_the_snapshots_newest(run: Path) -> None:
    assert committed_checkpoint(run) == run / "checkpoint_10"
    assert committed_step(run) == 10


def test_without_a_snapshot_nothing_is_committed(tmp_path: Path) -> None:
    upload(tmp_path, 10)
    assert (committed_checkpoint(tmp_path), committed_step(tmp_path)) == (None, 0)
    assert committed_step(tmp_path / "none") == 0


def test_what_was_not_committed_is_removed_and_the_rest_stays(run: Path) -> None:
    (run / "checkpoint_half").mkdir()
    assert remove_uncommitted(run) == ["checkpoint_20", "checkpoint_half"]
    assert sorted(p.name for p in run.glob("checkpoint_*/")) == ["checkpoint_0", "checkpoint_10"]


@pytest.mark.parametrize("written", [None, "", "{", '{"checkpoint_results": [{"ver'])
def test_a_snapshot_half_written_or_gone_is_replaced_by_the_commit_before_it(run: Path, written: str | None) -> None:
    (run / SNAPSHOT).unlink()
    if written is not None:
        (run / SNAPSHOT).write_text(written)
    assert remove_uncommitted(run) == [], "nothing is known to be uncommitted"
    assert repair(run) is not None
    assert committed_step(run) == 10
    assert json.loads((run / SNAPSHOT).read_text()) == json.loads((run / COPY).read_text())


def test_a_snapshot_that_is_whole_stays_though_it_is_newer_than_the_copy(run: Path) -> None:
    commit(run, 10, 20)
    assert repair(run) is None
    assert committed_step(run) == 20


def test_a_new_run_needs_no_repair(tmp_path: Path) -> None:
    assert repair(tmp_path / "train") is None


def test_a_first_commit_that_was_half_written_begins_anew(tmp_path: Path) -> None:
    upload(tmp_path, 0)
    (tmp_path / SNAPSHOT).write_text("{")
    assert "begins anew" in str(repair(tmp_path))
    assert (committed_step(tmp_path), remove_uncommitted(tmp_path)) == (0, ["checkpoint_0"])


def test_a_report_without_a_checkpoint_copies_nothing(tmp_path: Path) -> None:
    CommitCopies(tmp_path).after_report(None, [{}], None)
    assert list(tmp_path.iterdir()) == []
