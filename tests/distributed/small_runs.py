"""Pretraining runs on the nasty database that take seconds; `python -m tests.distributed.small_runs STORE FOLDER` does one with two workers."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import ray.train

from distributed.runs.checkpoint import CheckpointPolicy
from distributed.runs.tracking import TrackingConfig
from distributed.training.trainer import PretrainResult, pretrain
from rdl_core.config import HGSamplingConfig, PretrainingConfig, contrast
from rdl_core.graph.store import Store, open_store

INTERVAL, STEPS = 2, 16
SMALL_SAMPLES = (
    *("--config.sampling.seeds-per-sample", "4", "--config.sampling.rows-per-hop", "6"),
    *("--config.sampling.num-hops", "2", "--config.backbone.channels", "16"),
)
SMALL_OPTIONS = (
    *("--preset", "contrast", *SMALL_SAMPLES, "--config.patience", "1000", "--samples-per-step", "2"),
    *("--validation-interval-steps", str(INTERVAL), "--validation-samples", "3"),
)
"""`small_config` as options of a command, but for the number of steps and the seed."""


def small_config(**changes: Any) -> PretrainingConfig:
    """Returns 16 steps of two small samples, validated every second step."""
    config = contrast().pretraining
    values: dict[str, Any] = {
        "sampling": HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6, num_hops=2),
        "backbone": dataclasses.replace(config.backbone, channels=16),
        "samples_per_step": 2,
        "max_steps": STEPS,
        "validation_interval_steps": INTERVAL,
        "validation_samples": 3,
        "patience": 1000,
        "seed": 11,
    }
    return dataclasses.replace(config, **values | changes)


def run(
    store: Store,
    folder: Path,
    *,
    workers: int,
    num_shards: int | None = None,
    num_to_keep: int = 3,
    interval_steps: int | None = None,
    callbacks: list[ray.train.UserCallback] | None = None,
    max_workers: int | None = None,
    resize_interval_s: float = 20.0,
    init_from: str | None = None,
    **changes: Any,
) -> PretrainResult:
    """Pretrains in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    tracking = TrackingConfig(directory=str(folder), run_id=folder.name, name=folder.name)
    return pretrain(
        store,
        small_config(**changes),
        folder,
        workers=workers,
        max_workers=max_workers,
        resize_interval_s=resize_interval_s,
        samplers=1,
        tracking=tracking,
        placement="sharded" if num_shards else "local",
        num_shards=num_shards,
        checkpoints=CheckpointPolicy(num_to_keep=num_to_keep, interval_steps=interval_steps),
        init_from=init_from,
        callbacks=callbacks,
    )


if __name__ == "__main__":
    run(open_store(sys.argv[1]), Path(sys.argv[2]), workers=2)
