"""Labels of an entity task.

Promises: seed times are rounded down and row times up (timestamps.py), so "strictly before" holds in whole seconds; the two regimes differ only in
the bound: `rolling` sees what exists before the seed's own time, `snapshot` the same of a database cut at the test timestamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask, TaskType

from rdl_core.config import Regime
from rdl_core.timestamps import series_to_unix_seconds


@dataclass(frozen=True, kw_only=True)
class Split:
    """Seeds and labels of one split.

    Args:
        entities: int64 [seeds], rows of the entity table.
        time_s: int64 [seeds], UNIX seconds.
        before_s: int64 [seeds], what a tree may hold exists strictly before.
        target: float64 [seeds].
    """

    entities: NDArray[np.int64]
    time_s: NDArray[np.int64]
    before_s: NDArray[np.int64]
    target: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.entities)


def read_split(task: EntityTask, split: str, regime: Regime, test_timestamp_s: int) -> Split:
    """Seeds and labels of "train", "val" or "test".

    Args:
        regime: "rolling" or "snapshot".
        test_timestamp_s: UNIX seconds; rows up to it (inclusive) are the snapshot.
    """
    frame = task.get_table(split, mask_input_cols=False).df
    time_s = series_to_unix_seconds(frame[task.time_col])
    before_s = time_s if regime == "rolling" else np.minimum(time_s, test_timestamp_s + 1)
    return Split(
        entities=frame[task.entity_col].to_numpy().astype(np.int64),
        time_s=time_s,
        before_s=before_s,
        target=frame[task.target_col].to_numpy().astype(np.float64),
    )


def metric_name(task: EntityTask) -> str:
    """The metric that selects and is reported: "roc_auc" (higher is better) or "mae" (lower is better)."""
    return "roc_auc" if task.task_type == TaskType.BINARY_CLASSIFICATION else "mae"
