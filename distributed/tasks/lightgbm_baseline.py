"""LightGBM on all generated columns as a task's baseline, before anything else is trained."""

from __future__ import annotations

from relbench.base import EntityTask

from rdl_core.config import ColumnsConfig, FinetuningConfig, HeadsConfig
from rdl_core.graph.store import Store
from rdl_core.tasks.column_heads import ColumnHeads


def lightgbm_figures(store: Store, task: EntityTask) -> tuple[dict[str, float], str]:
    """Returns ({"val", "test"}: the task's metric, what was fitted in words).

    Raises:
        InputError: The task has several classes.
    """
    heads = ColumnHeads(store, task, "rolling", FinetuningConfig(), HeadsConfig(), ColumnsConfig())
    found = heads.run((), baseline=True).baselines["lightgbm"]
    return found.figures(), found.about
