"""The question that a fine-tuned model answers: of which table's rows, with which meaning, how far ahead.

Kept with the model, so that it predicts on a dataset that has no labels and not even the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from relbench.base import AutoCompleteTask, EntityTask, TaskType

from rdl_core.config import checked, decode


@checked
class Question:
    """The question that a model answers.

    Args:
        task: Name of the task.
        entity_table: Table whose rows are asked about.
        target: Name of what is predicted.
        is_binary: Whether predictions are probabilities; else they are values, or the most likely of several classes.
        horizon_s: Seconds from the time asked for to the end of the window that is predicted.
        is_of_own_row: Whether a column of the entity's own row is predicted, so that the row may be of the very time asked for.
    """

    task: str
    entity_table: str
    target: str
    is_binary: bool
    horizon_s: int
    is_of_own_row: bool = False

    @classmethod
    def of_task(cls, task: EntityTask) -> Question:
        """Returns the question of a task."""
        return cls(
            task=task.name,
            entity_table=task.entity_table,
            target=task.target_col,
            is_binary=task.task_type == TaskType.BINARY_CLASSIFICATION,
            horizon_s=int(np.ceil(pd.Timedelta(task.timedelta).total_seconds())),
            is_of_own_row=isinstance(task, AutoCompleteTask),
        )

    @classmethod
    def of_model(cls, about: Mapping[str, Any]) -> Question | None:
        """Returns the question that a checkpoint's `about` holds, or None where the checkpoint is of before it was kept."""
        kept = about.get("question")
        return None if kept is None else decode(cls, kept, "the model's question")
