"""Which checkpoint of a run counts: the one that Ray Train's snapshot names, and what keeps that name through crashes.

    <run>/train/checkpoint_<time>/                checkpoint.py
    <run>/train/checkpoint_manager_snapshot.json  Ray Train's list of committed checkpoints; it overwrites this file in place
    <run>/train/committed.json                    our copy of it, written beside and renamed after each commit

A checkpoint is committed when the snapshot names it: after its upload and at most RAY_TRAIN_HEALTH_CHECK_INTERVAL_S later. So a folder that is half
there counts for nothing, and a kill wastes at most the steps of an interval and those done while the newest checkpoint was on its way (the journal's
`committed` events say how many).

A snapshot that is half there (a kill or a full disk while it was written) is replaced by the copy, whose checkpoints still exist: Ray Train deletes
old ones only after it has written the snapshot.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import ray.train

from distributed.runs.checkpoint import load_state
from distributed.runs.journal import Journal

SNAPSHOT, COPY = "checkpoint_manager_snapshot.json", "committed.json"


class CommitCopies(ray.train.UserCallback):
    """Keeps the copy; runs in Ray Train's controller.

    Args:
        train_folder: <run>/train.
    """

    def __init__(self, train_folder: Path) -> None:
        self.train_folder = train_folder

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called after the snapshot with this checkpoint has been written; `metrics` are those of the ranks."""
        if checkpoint is None:
            return
        partial = self.train_folder / (COPY + ".partial")
        shutil.copyfile(self.train_folder / SNAPSHOT, partial)
        partial.replace(self.train_folder / COPY)
        journal = Journal(self.train_folder.parent)
        journal.note("committed", step=metrics[0]["checkpoint_step"], reached=journal.reached())


def repair(train_folder: Path) -> str | None:
    """Puts the copy in the place of a snapshot that cannot be read, before Ray Train reads it; returns what was done, for people."""
    snapshot, copy = train_folder / SNAPSHOT, train_folder / COPY
    if _snapshot(train_folder) is not None:
        return None
    if not copy.exists():
        if not snapshot.exists():
            return None
        snapshot.unlink()  # killed while the first checkpoint was committed
        return f"{snapshot.name} was half written and is the run's first; the run begins anew"
    partial = snapshot.with_name(snapshot.name + ".partial")
    shutil.copyfile(copy, partial)
    partial.replace(snapshot)
    return f"{snapshot.name} was half written or gone; the run goes on from the commit before it"


def committed_checkpoint(train_folder: Path) -> Path | None:
    """The newest committed checkpoint, from which a restarted group goes on."""
    latest = (_snapshot(train_folder) or {}).get("latest_checkpoint_result")
    return None if latest is None else train_folder / latest["checkpoint_dir_name"]


def committed_step(train_folder: Path) -> int:
    """Its step, 0 without one."""
    checkpoint = committed_checkpoint(train_folder)
    return 0 if checkpoint is None else load_state(checkpoint).step


def remove_uncommitted(train_folder: Path) -> list[str]:
    """Removes folders of checkpoints that were not committed (a kill came first), and names them. No worker of the run may be up."""
    snapshot = _snapshot(train_folder)
    if snapshot is None and (train_folder / COPY).exists():  # to be repaired first
        return []
    committed = {result["checkpoint_dir_name"] for result in (snapshot or {}).get("checkpoint_results", [])}
    left = [p for p in sorted(train_folder.glob("checkpoint_*/")) if p.name not in committed]
    for path in left:
        shutil.rmtree(path)
    return [p.name for p in left]


def _snapshot(train_folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((train_folder / SNAPSHOT).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found
