"""The two tasks of the nasty database, and a task that watches who reads its labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from relbench.base import EntityTask

WINS, POINTS = "team-wins", "team-points"  # binary classification, regression


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
