"""A task of which some train labels are kept: how good a model is with few labels.

Promises: the rows that are kept are a function of (seed, number of rows), in the task's own order; fewer rows of the same seed are a part of more
rows, so a curve over shares adds labels and takes none away; validation and test are the task's own. Every arm and head that is given the same task
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
    rows = kept_rows(len(table.df), num_kept, seed)
    part = copy.copy(table)
    part.df = table.df.iloc[rows].reset_index(drop=True)
    if task.task_type == TaskType.BINARY_CLASSIFICATION and part.df[task.target_col].nunique() < 2:
        raise ValueError(
            f"task {task.name!r}: the {num_kept} train labels kept of {len(table.df)} are all of one class, expected both. "
            f"Remedy: a larger label share, or another seed than {seed}"
        )
    return cast("EntityTask", _WithTrainTable(task, part))


def kept_rows(num_rows: int, num_kept: int, seed: int) -> NDArray[np.int64]:
    """Returns which of `num_rows` rows are kept: int64 [num_kept], ascending."""
    return np.sort(permuted(np.arange(num_kept), num_rows, stream(seed, PURPOSE_LABEL_SHARE)))


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
