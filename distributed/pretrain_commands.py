"""Commands of pretraining runs: pretrain, status (data_commands.py says what a command is)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from distributed.checkpoint import CheckpointPolicy
from distributed.options import WORKERS, SamplingOptions, StoreOptions, WorkerRange, replaced
from distributed.preset_file import check_preset_name, pretraining_preset
from distributed.progress import say
from distributed.report import (
    draw_curves,
    pretraining_result,
)
from distributed.runs import finish
from distributed.seeds import with_samples_for
from distributed.status import run_status, status_text
from distributed.tracking import TrackingConfig, run_id
from distributed.trainer import pretrain
from rdl_core.config import Precision, PretrainingConfig


@dataclass(frozen=True, kw_only=True)
class Pretrain(SamplingOptions, StoreOptions):
    """Contrastive pretraining without labels, through Ray Data and Ray Train."""

    preset: str = "robust"
    """'robust' (recommended), 'paper' (arXiv 2506.22530), or a preset file with its own seed (`python -m tune report` writes one)."""
    workers: Annotated[WorkerRange, WORKERS] = WorkerRange()
    """Worker processes. 1:4 is elastic: as many from 1 to 4 as the cluster has place for, now and later; a step is the same samples all the time."""
    rows: Literal["linear", "resnet"] | None = None
    """How a row becomes a vector. Default: the preset's."""
    num_layers: int | None = None
    """GraphSAGE layers. Default: the preset's."""
    aggregation: Literal["sum", "mean"] | None = None
    """Of neighbours. Default: the preset's."""
    corruption: float | None = None
    """Probability of a cell to be replaced in the second view. Default: the preset's."""
    samples_per_step: int | None = None
    """Subgraphs of a step over all workers; at least one each. Default: the preset's."""
    negatives: Literal["within_sample", "gathered"] | None = None
    """Where negatives come from: a row's own subgraph (the paper), or 'gathered' from all subgraphs of a step on all workers. Validation keeps to
    the subgraph. Default: the preset's."""
    max_negatives: int | None = None
    """Most negatives of a row; gathered, raise it with --samples-per-step. Default: the preset's."""
    precision: Precision | None = None
    """Of the encoder's matrix products: 'float32', or 'bfloat16' by autocast; weights, Adam, norms and losses stay float32. Default: the preset's."""
    validation_interval_steps: int | None = None
    """Steps between validations. Default: the preset's."""
    validation_samples: int | None = None
    """Subgraphs of a validation. Default: the preset's."""
    checkpoint_interval_steps: int | None = None
    """Updates between checkpoints. Default: only by time, and at each validation."""
    checkpoint_interval_s: float = 300.0
    """Seconds between checkpoints, besides those at validations."""
    checkpoints_to_keep: int = 3
    """The last so many stay."""
    wandb: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Track with Weights & Biases (offline if there is no key)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_preset_name(self.preset)

    def checkpoints(self) -> CheckpointPolicy:
        return CheckpointPolicy(
            interval_steps=self.checkpoint_interval_steps, interval_s=self.checkpoint_interval_s,
            num_to_keep=self.checkpoints_to_keep,
        )  # fmt: skip

    def config(self) -> PretrainingConfig:
        config = pretraining_preset(self.preset)
        backbone = replaced(config.backbone, num_layers=self.num_layers, aggregation=self.aggregation)
        backbone = dataclasses.replace(backbone, rows=replaced(backbone.rows, model=self.rows))
        return replaced(
            config, backbone=backbone, corruption=replaced(config.corruption, probability=self.corruption),
            loss=replaced(config.loss, negatives=self.negatives, max_negatives=self.max_negatives),
            seed=self.seed, precision=self.precision,
            max_steps=self.max_steps, samples_per_step=self.samples_per_step, validation_samples=self.validation_samples,
            validation_interval_steps=self.validation_interval_steps,
        )  # fmt: skip

    def run(self) -> dict[str, Any]:
        self.check()
        config, checkpoints = with_samples_for(self.config(), self.workers.most), self.checkpoints()
        _, dataset = self.open_data()
        # Not the number of workers: any other one, up to the samples of a step, goes on with the run.
        run = self.open_run("pretrain", dataset, {"pretraining": dataclasses.asdict(config)})
        if (result := run.result()) is not None:
            say(f"run {run.name} is finished; nothing to do")
            return result
        store = self.open_store(dataset)
        wandb_dir = run.folder / "wandb"
        tracking = TrackingConfig(
            directory=str(run.folder.resolve()), run_id=run_id(run.folder), name=run.name, enabled=self.wandb
        )
        done = pretrain(
            store, config, run.folder, workers=self.workers.least, max_workers=self.workers.most, samplers=self.samplers,
            placement=self.placement, num_shards=self.shards, tracking=tracking, checkpoints=checkpoints,
        )  # fmt: skip
        curves = draw_curves(done.state, run.folder / "curves.png")
        result = pretraining_result(done.checkpoint, done.state, curves, wandb_dir)
        say(f"{done.state.finished} after {done.state.step} steps; best at {done.state.best_step}: " + ", ".join(
            f"{level} {first:.3f} → {last:.3f}" for level, (first, last) in result["losses"].items()))  # fmt: skip
        say(f"checkpoint {done.checkpoint}\ncurves     {curves}\nW&B        {wandb_dir}")
        return finish(run, result)


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a run is, from its folder alone: running, finished, failed or silent, how far, and what happened to it.

    Shows the step and how many are left, the last validation's losses, steps/s, the newest checkpoint and its age, every restart with its reason, its
    cost in steps and seconds, workers and nodes, and where the curves are. Needs no Ray and no GPU, changes nothing, works while the run runs, on any
    machine that sees the folder:

        python -m distributed status pretrain-shop-1a2b3c4d --runs-dir /mnt/shared/runs
        watch -n 30 python -m distributed status /mnt/shared/runs/pretrain-shop-1a2b3c4d

    "silent" is a run without a step or an event for five minutes: dead, hung, or waiting for machines. Run its command again: it goes on from the
    checkpoint, or refuses if it still runs."""

    run_folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Name of a run below runs-dir, or its folder."""
    runs_dir: Path = Path("runs")
    """Where run folders are."""
    json: bool = False
    """Print all of it as the last line of stdout."""

    def run(self) -> dict[str, Any]:
        here = Path(self.run_folder)
        status = run_status(here if here.is_dir() else self.runs_dir / self.run_folder)
        say(status_text(status))
        return status
