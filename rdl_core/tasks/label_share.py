"""A task of which some train labels are kept: how good a model is with few labels.

Promises: the rows that are kept are a function of (seed, labels), in the task's own order; fewer rows of the same seed are a part of more
rows, so a curve over shares adds labels and takes none away (but for the one row that brings in a class that would be missing); validation and test
are the task's own. Every arm and head that is given the same task
and seed learns from the same labels.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask, Table, TaskType

from rdl_core.random_streams import PURPOSE_LABEL_SHARE, permuted, stream


def with_label_share(task: EntityTask, share: float, seed: int, *, max_rows: int | None = None) -> EntityTask:
    """Returns the task with a random part of its train rows; the task itself if that is all of them.

    Args:
        task: An entity task.
        share: Part of the train rows, 0 < share <= 1; their number is rounded up.
        seed: Random seed of the choice.
        max_rows: Most rows that are kept. None: no limit.

    Raises:
        ValueError: The share is none, or the labels kept are all of one class.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"label share is {share}; it should be above 0 and at most 1")
    table = task.get_table("train", mask_input_cols=False)
    num_rows = int(np.ceil(round(share * len(table.df), 6)))
    num_kept = min(num_rows, max_rows or num_rows)
    if num_kept == len(table.df):
        return task
    is_binary = task.task_type == TaskType.BINARY_CLASSIFICATION
    classes = table.df[task.target_col].to_numpy(dtype=np.float64) if is_binary else None
    rows = kept_rows(len(table.df), num_kept, seed, classes)
    part = copy.copy(table)
    part.df = table.df.iloc[rows].reset_index(drop=True)
    if is_binary and part.df[task.target_col].nunique() < 2:
        raise ValueError(
            f"task {task.name!r}: the {num_kept} train labels kept of {len(table.df)} are all of one class, expected both. "
            f"Remedy: a larger label share, or another seed than {seed}"
        )
    return cast("EntityTask", _WithTrainTable(task, part))


def kept_rows(num_rows: int, num_kept: int, seed: int, classes: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Returns which of `num_rows` rows are kept: int64 [num_kept], ascending.

    Args:
        classes: float64 [num_rows], the labels of a binary task: where two rows or more would be of one class, the last gives its place to the first
            of the other class.
    """
    order = permuted(np.arange(num_rows), num_rows, stream(seed, PURPOSE_LABEL_SHARE))
    kept = order[:num_kept].copy()
    if classes is not None and num_kept > 1:
        for missing in np.setdiff1d(classes, classes[kept]):
            kept[-1] = order[np.argmax(classes[order] == missing)]
    return np.sort(kept)


class _WithTrainTable:
    """A task with another train table; all else is the task's own."""

    def __init__(self, task: EntityTask, train: Table) -> None:
        self._task, self._train = task, train

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def get_table(self, split: str, mask_input_cols: bool | None = None, **arguments: Any) -> Table:
        """Returns the table of a split, as the task itself does."""
        if split != "train" or mask_input_cols:
            return self._task.get_table(split, mask_input_cols, **arguments)
        return self._train
