"""What pretrain and status do (commands.py has their options)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distributed.commands.inputs import open_data, open_run, open_store, replaced
from distributed.commands.options import Pretrain, Status
from distributed.commands.report import (
    draw_curves,
    pretraining_result,
)
from distributed.console import say
from distributed.runs.checkpoint import CheckpointPolicy
from distributed.runs.folder import finish
from distributed.runs.preset_file import pretraining_preset
from distributed.runs.status import run_status, status_text
from distributed.runs.tracking import TrackingConfig, run_id
from distributed.sampling.plan import with_samples_for
from distributed.training.trainer import pretrain
from rdl_core.config import PretrainingConfig


def run_pretrain(options: Pretrain) -> dict[str, Any]:
    options.check()
    config, checkpoints = (
        with_samples_for(pretraining_config(options), options.workers.most),
        checkpoint_policy(options),
    )
    _, dataset = open_data(options)
    # Not the number of workers: any other one, up to the samples of a step, goes on with the run.
    run = open_run(options, "pretrain", dataset, {"pretraining": dataclasses.asdict(config)})
    if (result := run.result()) is not None:
        say(f"run {run.name} is finished; nothing to do")
        return result
    store = open_store(options, dataset)
    wandb_dir = run.folder / "wandb"
    tracking = TrackingConfig(
        directory=str(run.folder.resolve()), run_id=run_id(run.folder), name=run.name, enabled=options.wandb
    )
    done = pretrain(
        store, config, run.folder, workers=options.workers.least, max_workers=options.workers.most, samplers=options.samplers,
        placement=options.placement, num_shards=options.shards, tracking=tracking, checkpoints=checkpoints,
    )  # fmt: skip
    curves = draw_curves(done.state, run.folder / "curves.png")
    result = pretraining_result(done.checkpoint, done.state, curves, wandb_dir)
    say(f"{done.state.finished} after {done.state.step} steps; best at {done.state.best_step}: " + ", ".join(
        f"{level} {first:.3f} → {last:.3f}" for level, (first, last) in result["losses"].items()))  # fmt: skip
    say(f"checkpoint {done.checkpoint}\ncurves     {curves}\nW&B        {wandb_dir}")
    return finish(run, result)


def pretraining_config(options: Pretrain) -> PretrainingConfig:
    """The preset with what the options change."""
    config = pretraining_preset(options.preset)
    backbone = config.backbone.of_kind(rows=options.rows, aggregation=options.aggregation)
    backbone = replaced(backbone, num_layers=options.num_layers)
    return replaced(
        config, backbone=backbone, corruption=replaced(config.corruption, probability=options.corruption),
        loss=replaced(config.loss, max_negatives=options.max_negatives),
        seed=options.seed, precision=options.precision,
        max_steps=options.max_steps, samples_per_step=options.samples_per_step, validation_samples=options.validation_samples,
        validation_interval_steps=options.validation_interval_steps,
    )  # fmt: skip


def checkpoint_policy(options: Pretrain) -> CheckpointPolicy:
    """How often, and how many stay."""
    return CheckpointPolicy(
        interval_steps=options.checkpoint_interval_steps, interval_s=options.checkpoint_interval_s,
        num_to_keep=options.checkpoints_to_keep,
    )  # fmt: skip


def run_status_command(options: Status) -> dict[str, Any]:
    here = Path(options.run_folder)
    status = run_status(here if here.is_dir() else options.runs_dir / options.run_folder)
    say(status_text(status))
    return status
