"""The checkpoint of a run that counts: the one that Ray Train's snapshot names, and what keeps that name through crashes.

    <run>/train/checkpoint_<time>/                checkpoint.py
    <run>/train/checkpoint_manager_snapshot.json  Ray Train's list of committed checkpoints; it overwrites this file in place
    <run>/train/committed.json                    our copy of it, replaced as a whole after each commit

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

from distributed.cluster.ray_internals import SNAPSHOT, read_snapshot
from distributed.runs.journal import Journal
from rdl_core.atomic_write import replace_file

COPY = "committed.json"


def copy_commit(train_folder: Path, step: int) -> None:
    """Copies the snapshot, which now names the checkpoint of `step`, and notes the commit in the run's journal."""
    with replace_file(train_folder / COPY) as partial:
        shutil.copyfile(train_folder / SNAPSHOT, partial)
    journal = Journal(train_folder.parent)
    journal.append("committed", step=step, reached=journal.reached())


def repair(train_folder: Path) -> str | None:
    """Puts the copy in the place of a snapshot that cannot be read, before Ray Train reads it; returns what was done, for people."""
    snapshot, copy = train_folder / SNAPSHOT, train_folder / COPY
    if read_snapshot(train_folder) is not None:
        return None
    if not copy.exists():
        if not snapshot.exists():
            return None
        snapshot.unlink()  # killed while the first checkpoint was committed
        return f"{snapshot.name} was half written and is the run's first; the run begins anew"
    with replace_file(snapshot) as partial:
        shutil.copyfile(copy, partial)
    return f"{snapshot.name} was half written or gone; the run goes on from the commit before it"


def committed_checkpoint(train_folder: Path) -> Path | None:
    """Returns the newest committed checkpoint, from which a restarted group goes on."""
    snapshot = read_snapshot(train_folder)
    return None if snapshot is None or snapshot.newest is None else train_folder / snapshot.newest


def committed_step(train_folder: Path) -> int:
    """Returns the step of the newest committed checkpoint, 0 without one."""
    checkpoint = committed_checkpoint(train_folder)
    return 0 if checkpoint is None else int(json.loads((checkpoint / "state.json").read_text())["step"])


def remove_uncommitted(train_folder: Path) -> list[str]:
    """Removes folders of checkpoints that were not committed (a kill came first), and names them. No worker of the run may be up."""
    snapshot = read_snapshot(train_folder)
    if snapshot is None and (train_folder / COPY).exists():  # to be repaired first
        return []
    committed = frozenset() if snapshot is None else snapshot.names
    left = [p for p in sorted(train_folder.glob("checkpoint_*/")) if p.name not in committed]
    for path in left:
        shutil.rmtree(path)
    return [p.name for p in left]
