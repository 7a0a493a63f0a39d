"""The options of sweep and report, as dataclasses of which tyro makes the command line; sweep_command.py does the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from distributed.commands.command_line import Command
from distributed.commands.options import with_given_kinds
from distributed.commands.shared_options import StoreOptions, require_positive
from distributed.runs.preset_file import read_yaml
from rdl_core.config import PRESETS, PretrainingConfig, Regime, RowsKind


def preset_of_grid(grid: str) -> str:
    """Returns the built-in preset around which a grid varies: grids are called as presets, and a file names one.

    Raises:
        ValueError: The file is not YAML.
    """
    if grid in PRESETS or not Path(grid).is_file():
        return grid if grid in PRESETS else "robust"
    content = read_yaml(Path(grid))
    preset = content.get("preset", "robust") if isinstance(content, dict) else "robust"
    return preset if preset in PRESETS else "robust"  # what is wrong in the file is said when it is read as a whole


@dataclass(frozen=True, kw_only=True)
class Sweep(StoreOptions):
    """Many pretraining settings on one database, with early stopping; the same command goes on after a kill.

    By the validation loss, and by how well a task goes:

        rdl sweep --data shop --grid robust --name first
        rdl sweep --data shop --grid space.yaml --search optuna --samples 32 --tasks customer-churn --name churn

    space.yaml names the configuration's fields by dotted path, each with a list of values or a distribution:

        preset: robust
        space:
          backbone.num_layers: [2, 3]
          learning_rate: {loguniform: [1e-4, 1e-2]}

    What is not varied is the grid's preset; its settings are options, too: --config.backbone.channels 64."""

    run_name: tyro.conf.Suppress[str | None] = None
    name: str | None = None
    """Folder below runs-dir. Default: made from data and configuration; the same name continues."""
    grid: str = "paper"
    """'paper' (layers, aggregation, corruption, rows: 24 settings), 'robust' (12), 'contrast' (12), or a YAML file."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """'grid': every setting; 'random': --samples of them; 'optuna': --samples, suggested (TPE) from those before, five random ones."""
    samples: int = 16
    """Settings of a random or optuna search."""
    max_steps: int | None = None
    """Most updates per trial. Default: the preset's (2000; robust: 400)."""
    seed: int = 0
    """Random seed; the first of --seeds."""
    rows: RowsKind | None = None
    """Only this way to make a row a vector, of those in the grid."""
    seeds: int = 1
    """Seeds of each setting, from --seed on; the validation is the same for all."""
    tasks: tuple[str, ...] = ()
    """Entity tasks of the database. The objective is then their mean validation error (1 - AUROC; MAE over that of the train median), measured
    at the rungs and at the end on the weights of the lowest validation loss so far. Default: none, and the validation loss is the objective."""
    arm: Literal["frozen", "finetuned"] = "frozen"
    """The way in which tasks are learned: only the head learns, or all does."""
    regime: Regime = "rolling"
    """Regime of the tasks, see `finetune`."""
    finetune_steps: int = 500
    """Most updates of a task's run; validated every fifth part of them."""
    early_stopping: Literal["asha", "none"] = "asha"
    """'asha' stops at each rung the trials that are not in the better half; 'none' runs all to the end."""
    reduction_factor: float = 2.0
    """Factor of ASHA: a rung is so many times as far as the one before, and the better 1/so many go on."""
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
    config: PretrainingConfig
    """The configuration around which settings vary."""

    def __post_init__(self) -> None:
        counts = ("max_steps", "samples", "seeds", "max_concurrent", "workers_per_trial", "finetune_steps")
        require_positive(self, *counts, "validation_samples", "validation_interval_steps", "hang_after_s")
        if self.reduction_factor <= 1:
            raise ValueError(f"--reduction-factor must be above 1, got {self.reduction_factor}")
        if self.execution == "in_process" and self.workers_per_trial > 1:
            raise ValueError("--execution in_process has one worker; --workers-per-trial needs ray_train")
        if self.search == "optuna" and self.seeds > 1:
            raise ValueError("--search optuna tries each setting with one seed; --seeds needs grid or random")

    @classmethod
    def defaults(cls, given: Callable[[str], str | None]) -> Sweep:
        config = PRESETS[preset_of_grid(given("--grid") or "paper")]().pretraining
        backbone = with_given_kinds(
            config.backbone, lambda option: given(option) if "." in option else None, "--config.backbone"
        )
        return cls(config=replace(config, backbone=backbone))


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of a sweep so far: report.md, trials.csv, pictures and the best setting as a preset file."""

    name: tyro.conf.Positional[str]
    """Name of the sweep."""
    runs_dir: Path = Path("runs")
    """Folder of sweeps."""
    json: bool = False
    """Print the trials, the best of them, the share of steps used and the preset as the last line of stdout."""


def exit_status(result: Mapping[str, Any]) -> int:
    """Returns 0, 3 or 1 by how the trials of a report ended."""
    statuses = [trial["status"] for trial in result["trials"]]
    if not any(trial["metric"] is not None for trial in result["trials"]):
        return 1
    return 3 if {"failed", "hung"} & set(statuses) else 0


COMMANDS: dict[str, Command] = {
    "sweep": Command(options=Sweep, runner="tune.input_checks:run_sweep_command", exit_status=exit_status),
    "report": Command(options=Report, runner="tune.input_checks:run_report_command", exit_status=exit_status),
}
