"""The work of pretrain and status (options.py has their options)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distributed.commands.inputs import open_data, open_run, open_store, refuse_unlinked, with_samples_for
from distributed.commands.options import Pretrain, Status, pretrained_backbone
from distributed.console import say
from distributed.sharing.push import values_line
from rdl_core.checkpoint_files import weights_digest


def run_pretrain(options: Pretrain) -> dict[str, Any]:
    """Returns what report.pretraining_result says."""
    if options.init_from is not None and options.config.backbone != pretrained_backbone(options.init_from):
        raise ValueError(
            "--rows, --num-layers, --aggregation and --config.backbone... are for fresh weights; the model of --init-from has its own form"
        )
    _, dataset = open_data(options)
    refuse_unlinked(dataset)
    from distributed.commands.report import draw_curves, pretraining_result
    from distributed.runs.checkpoint import CheckpointPolicy
    from distributed.runs.tracking import TrackingConfig, run_id
    from distributed.training.trainer import pretrain

    config = with_samples_for(options.config, options.workers.most)
    # Not the number of workers: any other one, up to the samples per step, goes on with the run.
    begun = {} if options.init_from is None else {"init_from": weights_digest(options.init_from)}
    run = open_run(options, "pretrain", dataset, {"pretraining": dataclasses.asdict(config), **begun})
    if (result := run.result()) is not None:
        say(f"run {run.name} is finished; nothing to do\ncheckpoint {result['checkpoint']}")
        return result
    store = open_store(options, dataset)
    folder = run.folder.resolve()
    done = pretrain(
        store,
        config,
        run.folder,
        workers=options.workers.least,
        max_workers=options.workers.most,
        samplers=options.samplers,
        placement=options.placement,
        num_shards=options.shards,
        tracking=TrackingConfig(directory=str(folder), run_id=run_id(run.folder), name=run.name, enabled=options.wandb),
        checkpoints=CheckpointPolicy(
            interval_steps=options.checkpoint_interval_steps,
            interval_s=options.checkpoint_interval_s,
            num_to_keep=options.checkpoints_to_keep,
        ),
        init_from=None if options.init_from is None else str(options.init_from),
    )
    curves = draw_curves(done.state, run.folder / "curves.png")
    result = pretraining_result(done.checkpoint, done.state, curves, run.folder / "wandb")
    losses = (f"{level} {first:.3f} → {last:.3f}" for level, (first, last) in result["losses"].items())
    say(f"{done.state.finished} after {done.state.step} steps; best at {done.state.best_step}: {', '.join(losses)}")
    say(f"checkpoint {done.checkpoint}\ncurves     {curves}\nW&B        {result['wandb_dir']}")
    say(values_line(done.checkpoint))
    return run.finish(result)


def run_status_command(options: Status) -> dict[str, Any]:
    """Returns what status.run_status says.

    Raises:
        FileNotFoundError: There is no such run.
    """
    from distributed.runs.status import run_status, status_text

    here = Path(options.run_folder)
    status = run_status(here if here.is_dir() else options.runs_dir / options.run_folder)
    say(status_text(status))
    return status
