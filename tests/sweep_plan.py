"""A small sweep on the nasty database: what test_sweep.py runs in its session and, to be killed, in a process of its own.

python tests/sweep_plan.py STORE FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from rdl_core.config import PretrainingConfig, robust
from rdl_core.hg_sampling import HGSamplingConfig
from tune.search_space import Setting
from tune.sweep import SweepPlan, base_config, run_sweep, trials_of

HANG_AFTER_S = 12.0
KILLED_STEPS = 32


def small_base(max_steps: int = 16, **changes: Any) -> PretrainingConfig:
    """A sweep's base whose samples the nasty database has enough rows for."""
    base = base_config("robust", max_steps=max_steps, validation_samples=3)
    values: dict[str, Any] = {
        "sampling": HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6, num_hops=2),
        "backbone": dataclasses.replace(robust().pretraining.backbone, channels=16),
        "samples_per_step": 2,
    }
    return dataclasses.replace(base, **values | changes)


def small_plan(
    store_path: Path, folder: Path, found: list[Setting], base: PretrainingConfig, **changes: Any
) -> SweepPlan:
    """Two trials at a time."""
    values: dict[str, Any] = {"max_concurrent": 2, "hang_after_s": HANG_AFTER_S, "wandb": False}
    return SweepPlan(
        folder=folder, store_path=str(store_path), trials=trials_of(base, found, seeds=1), **values | changes
    )


def plan_to_kill(store_path: Path, folder: Path) -> SweepPlan:
    """Long enough for a kill in its middle."""
    found = [{"learning_rate": rate, "corruption.probability": p} for rate in (1e-3, 4e-3) for p in (0.2, 0.6)]
    return small_plan(store_path, folder, found, small_base(KILLED_STEPS))


if __name__ == "__main__":
    run_sweep(plan_to_kill(Path(sys.argv[1]), Path(sys.argv[2])))
