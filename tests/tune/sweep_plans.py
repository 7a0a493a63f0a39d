"""Small sweeps on the nasty database: test_sweep.py runs them in its session and, to be killed, in a process of its own.

python -m tests.tune.sweep_plans STORE FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from ray.tune import loguniform

from rdl_core.config import FinetuningConfig, HGSamplingConfig, PretrainingConfig, TemporalSamplingConfig, contrast
from rdl_core.tasks.downstream import DownstreamConfig
from tune.search_space import SearchSpace, Setting
from tune.sweep import run_sweep
from tune.sweep_plan import SweepPlan, base_config, rung_steps, with_trials

HANG_AFTER_S = 12.0
KILLED_STEPS = 32


def small_base(max_steps: int = 16, **changes: Any) -> PretrainingConfig:
    """Returns a sweep's base whose samples the nasty database has enough rows for."""
    base = base_config(contrast().pretraining, max_steps=max_steps, validation_samples=3)
    values: dict[str, Any] = {
        "sampling": HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6, num_hops=2),
        "backbone": dataclasses.replace(contrast().pretraining.backbone, channels=16),
        "samples_per_step": 2,
    }
    return dataclasses.replace(base, **values | changes)


def small_plan(
    store_path: Path, folder: Path, found: list[Setting], base: PretrainingConfig, **changes: Any
) -> SweepPlan:
    """Returns a plan with two trials at a time."""
    values: dict[str, Any] = {"max_concurrent": 2, "hang_after_s": HANG_AFTER_S, "wandb": False}
    plan = SweepPlan(folder=folder, store_path=str(store_path), base=base, trials=[], **values | changes)
    return with_trials(plan, found, seeds=1)


def suggested_plan(store_path: Path, folder: Path, data: Path, samples: int) -> SweepPlan:
    """Returns a plan of trials one after another, suggested by how frozen backbones do on two tasks."""
    base = small_base(4)
    space = SearchSpace(
        preset="contrast", values={"learning_rate": loguniform(1e-4, 1e-2), "corruption.probability": [0.2, 0.6]}
    )
    finetuning = FinetuningConfig(
        sampling=TemporalSamplingConfig(num_neighbors=(4,), strategy="recent"),
        batch_size=10,
        max_steps=6,
        validation_interval_steps=2,
        head_channels=8,
    )
    downstream = DownstreamConfig(
        data=str(data),
        tasks=("team-wins", "team-points"),
        arm="frozen",
        regime="rolling",
        finetuning=finetuning,
        steps=rung_steps(base, "asha", 2.0),
    )
    return SweepPlan(
        folder=folder,
        store_path=str(store_path),
        base=base,
        trials=[],
        space=space,
        samples=samples,
        downstream=downstream,
        max_concurrent=1,
        wandb=False,
    )


def plan_to_kill(store_path: Path, folder: Path) -> SweepPlan:
    """Returns a plan long enough for a kill in its middle."""
    found = [{"learning_rate": rate, "corruption.probability": p} for rate in (1e-3, 4e-3) for p in (0.2, 0.6)]
    return small_plan(store_path, folder, found, small_base(KILLED_STEPS))


if __name__ == "__main__":
    run_sweep(plan_to_kill(Path(sys.argv[1]), Path(sys.argv[2])))
