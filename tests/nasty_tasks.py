"""The two tasks of the nasty database, one more of several classes, and a task that watches who reads its labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.base import EntityTask
from relbench.manifest import TaskManifest

WINS, POINTS = "team-wins", "team-points"  # binary classification, regression
TOWNS = "team-towns"  # of three classes, which `add_class_task` adds


def add_class_task(folder: Path, label: Callable[[str, int], Any] = lambda split, team: f"town {team % 3}") -> None:
    """Adds TOWNS to a nasty database: the seeds of WINS, and labels of (split, team), by default what the team's "home town" says."""
    manifest = TaskManifest.load(folder / "tasks" / WINS / "manifest.yaml")
    changes = {"name": TOWNS, "task_type": "multiclass_classification", "target_col": "town"}
    dataclasses.replace(manifest, **changes).save(folder / "tasks" / TOWNS / "manifest.yaml")
    for split in ("train", "val", "test"):
        rows = pq.read_table(folder / "tasks" / WINS / f"{split}.parquet")
        towns = pa.array([label(split, team) for team in rows["team_id"].to_pylist()])
        rows = rows.drop_columns(["wins"]).append_column("town", towns)
        pq.write_table(rows, folder / "tasks" / TOWNS / f"{split}.parquet")


class WatchedTask:
    """A task that passes everything on, counts reads of labels, and keeps those of test closed until `is_open`."""

    def __init__(self, task: EntityTask, **changes: Any) -> None:
        self._task, self._changes, self.is_open, self.reads = task, changes, False, 0

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else getattr(self._task, name)

    def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
        if split == "test":
            assert self.is_open, "test labels were read before training was over"
            self.reads += 1
        return self._task.get_table(split, *args, **kwargs)


def labels(task: EntityTask, split: str) -> np.ndarray:
    return task.get_table(split, mask_input_cols=False).df[task.target_col].to_numpy()
