"""Tiny fine-tuned models of the nasty database's tasks, in folders as `rdl finetune` leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from relbench.base import EntityTask

from rdl_core.config import BackboneConfig, ColumnsConfig, FinetuningConfig, StatisticsConfig, TemporalSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.model.fitting import new_encoder
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.finetuning_result import save_finetuned

PLAIN = BackboneConfig(channels=8)
READING = BackboneConfig(channels=8, statistics=StatisticsConfig(), columns=ColumnsConfig(hops=1))
"""A backbone that reads exact statistics and columns."""


def fine_tune(
    folder: Path, store: Store, task: EntityTask, backbone: BackboneConfig = PLAIN, **changes: Any
) -> tuple[Path, dict[str, np.ndarray]]:
    """Returns the folder of a model and its predictions by split."""
    small: dict[str, Any] = {
        "sampling": TemporalSamplingConfig(num_neighbors=(3, 2)),
        "batch_size": 10,
        "max_steps": 6,
        "validation_interval_steps": 3,
        "head_channels": 8,
    }
    config = FinetuningConfig(**small | changes)
    torch.manual_seed(0)
    run = Finetuning(store, task, new_encoder(store, backbone), "scratch", "rolling", config)
    return save_finetuned(folder / "model", run, run.run()), run.predictions
