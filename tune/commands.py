"""The commands: each a dataclass of its options (tyro makes the command line of it) with a `run` that returns the report's line.

What they do is in sweep_command.py, which `run` imports: it loads torch and Ray, and the help does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from distributed.commands.shared_options import StoreOptions


@dataclass(frozen=True, kw_only=True)
class Sweep(StoreOptions):
    """Many pretraining settings on one database, with early stopping; the same command goes on after a kill.

    By the validation loss, and by how well a task goes:

        python -m tune sweep --data shop --grid robust --name first
        python -m tune sweep --data shop --grid space.yaml --search optuna --samples 32 --tasks customer-churn --name churn

    space.yaml names the configuration's fields by dotted path, each with a list of values or a distribution:

        preset: robust
        space:
          backbone.num_layers: [2, 3]
          learning_rate: {loguniform: [1e-4, 1e-2]}"""

    run_name: tyro.conf.Suppress[str | None] = None
    name: str | None = None
    """Folder below runs-dir. Default: made from data and configuration; the same name continues."""
    grid: str = "paper"
    """'paper' (layers, aggregation, corruption, rows: 24 settings), 'robust' (12), or a YAML file."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """'grid': every setting; 'random': --samples of them; 'optuna': --samples, suggested (TPE) from those before, five random ones."""
    samples: int = 16
    """Settings of a random or optuna search."""
    rows: Literal["linear", "resnet"] | None = None
    """Only this way to make a row a vector."""
    seeds: int = 1
    """Seeds of each setting, from --seed on; the validation is the same for all."""
    tasks: tuple[str, ...] = ()
    """Entity tasks of the database. The objective is then their mean validation error (1 - AUROC; MAE over that of the train median), measured
    at the rungs and at the end on the weights of the lowest validation loss so far. Default: none, and the validation loss is the objective."""
    arm: Literal["frozen", "finetuned"] = "frozen"
    """Of the tasks: only the head learns, or all does."""
    regime: Literal["rolling", "snapshot"] = "rolling"
    """Of the tasks, see `finetune`."""
    finetune_steps: int = 500
    """Updates of a task's run at most; validated every fifth part of them."""
    early_stopping: Literal["asha", "none"] = "asha"
    """'asha' stops at each rung the trials that are not in the better half; 'none' runs all to the end."""
    reduction_factor: float = 2.0
    """Of ASHA: a rung is so many times as far as the one before, and the better 1/so many go on."""
    validation_interval_steps: int | None = None
    """Steps between validations, and to the first rung. Default: an eighth of the steps."""
    validation_samples: int = 50
    """Subgraphs of a validation."""
    max_concurrent: int | None = None
    """Trials at a time. Default: as many as cores and memory, or the cluster's CPUs, allow."""
    workers_per_trial: int = 1
    """Worker processes of a trial."""
    execution: Literal["auto", "in_process", "ray_train"] = "auto"
    """Trials 'in_process' (one CPU worker, no start-up) or by 'ray_train'; 'auto': the first where it can be."""
    hang_after_s: float = 600.0
    """A trial without a step for so long, of pretraining or of a task, is ended as hung."""
    wandb: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Track with Weights & Biases (offline if there is no key)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in (
            "samples", "seeds", "max_concurrent", "workers_per_trial", "validation_samples", "hang_after_s", "finetune_steps",
        ):  # fmt: skip
            if (value := getattr(self, option)) is not None and value < 1:
                raise ValueError(f"--{option.replace('_', '-')} must be at least 1, got {value}")
        if self.reduction_factor <= 1:
            raise ValueError(f"--reduction-factor must be above 1, got {self.reduction_factor}")
        if self.execution == "in_process" and self.workers_per_trial > 1:
            raise ValueError("--execution in_process has one worker; --workers-per-trial needs ray_train")
        if self.search == "optuna" and self.seeds > 1:
            raise ValueError("--search optuna tries each setting with one seed; --seeds needs grid or random")

    def run(self) -> dict[str, Any]:
        from tune.sweep_command import run_sweep_command

        return run_sweep_command(self)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a sweep found so far: report.md, trials.csv, pictures and the best setting as a preset file."""

    name: tyro.conf.Positional[str]
    """Of the sweep."""
    runs_dir: Path = Path("runs")
    """Where sweeps are."""
    json: bool = False
    """Print the trials, the best of them, the share of steps used and the preset as the last line of stdout."""

    def run(self) -> dict[str, Any]:
        from tune.sweep_command import reported

        return reported(self.runs_dir / self.name)
