"""The commands: each a dataclass of its options (tyro makes the command line of it) with a `run` that returns the report's line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.markdown import Markdown

from distributed.options import StoreOptions
from distributed.progress import console, say
from distributed.runs import open_run
from rdl_core.pretraining import local_sampler
from rdl_core.store import StoreConfig, store_name
from tune.report import make_report, markdown, read_sweep
from tune.search_space import Search, read_space, settings, with_rows
from tune.slots import Execution
from tune.sweep import VALIDATION_SAMPLES, SweepPlan, base_config, run_sweep, trials_of
from tune.wandb_runs import log_sweep


@dataclass(frozen=True, kw_only=True)
class Sweep(StoreOptions):
    """Many pretraining settings on one database, with early stopping; the same command goes on after a kill."""

    run_name: tyro.conf.Suppress[str | None] = None
    name: str | None = None
    """Folder below runs-dir. Default: made from data and configuration; the same name continues."""
    grid: str = "paper"
    """'paper' (layers, aggregation, corruption, rows: 24 settings), 'robust' (12), or a YAML file."""
    search: Search = "grid"
    """'grid': every setting; 'random': --samples of them."""
    samples: int = 16
    """Settings of a random search."""
    rows: Literal["linear", "resnet"] | None = None
    """Only this way to make a row a vector."""
    seeds: int = 1
    """Seeds of each setting, from --seed on; the validation is the same for all."""
    early_stopping: Literal["asha", "none"] = "asha"
    """'asha' stops at each rung the trials that are not in the better half; 'none' runs all to the end."""
    reduction_factor: float = 2.0
    """Of ASHA: a rung is so many times as far as the one before, and the better 1/so many go on."""
    validation_interval_steps: int | None = None
    """Steps between validations, and to the first rung. Default: an eighth of the steps."""
    validation_samples: int = VALIDATION_SAMPLES
    """Subgraphs of a validation."""
    max_concurrent: int | None = None
    """Trials at a time. Default: as many as cores and memory, or the cluster's CPUs, allow."""
    workers_per_trial: int = 1
    """Worker processes of a trial."""
    execution: Execution = "auto"
    """Trials 'in_process' (one CPU worker, no start-up) or by 'ray_train'; 'auto': the first where it can be."""
    hang_after_s: float = 600.0
    """A trial without a step for so long is ended as hung."""
    wandb: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Track with Weights & Biases (offline if there is no key)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("samples", "seeds", "max_concurrent", "workers_per_trial", "validation_samples", "hang_after_s"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise ValueError(f"--{option.replace('_', '-')} must be at least 1, got {value}")
        if self.reduction_factor <= 1:
            raise ValueError(f"--reduction-factor must be above 1, got {self.reduction_factor}")
        if self.execution == "in_process" and self.workers_per_trial > 1:
            raise ValueError("--execution in_process has one worker; --workers-per-trial needs ray_train")

    def run(self) -> dict[str, Any]:
        space = with_rows(read_space(self.grid), self.rows)
        base = base_config(
            space.preset, max_steps=self.max_steps, validation_interval_steps=self.validation_interval_steps,
            validation_samples=self.validation_samples, seed=self.seed or 0,
        )  # fmt: skip
        trials = trials_of(base, settings(space, self.search, self.samples, base.seed), self.seeds)
        data, dataset = self.open_data()
        identity = {
            "store": store_name(dataset, self.store_config()), "early_stopping": self.early_stopping,
            "reduction_factor": self.reduction_factor, "workers_per_trial": self.workers_per_trial,
            "execution": self.execution, "trials": {t.id: {**t.setting, "seed": t.seed} for t in trials},
            "base": dataclasses.asdict(base),
        }  # fmt: skip
        run = open_run(self.runs_dir, self.name, "sweep", dataset.manifest.name, identity)
        store = self.open_store(dataset)
        # A database with too few rows for one sample is refused here, and not by every trial; all have the same sampling.
        seeds = local_sampler(store, base, base.seed).seeds
        say(
            f"sweep {run.name}: {len(trials)} trials of at most {base.max_steps} steps, from {len(seeds.eligible)} seed rows"
        )
        plan = SweepPlan(
            folder=run.folder, store_path=store.place, trials=trials, early_stopping=self.early_stopping,
            reduction_factor=self.reduction_factor, workers=self.workers_per_trial, execution=self.execution,
            max_concurrent=self.max_concurrent, hang_after_s=self.hang_after_s, wandb=self.wandb,
            store_options=("--data", str(data), *self.changed_store_options()),
        )  # fmt: skip
        run_sweep(plan)
        result = _reported(run.folder)
        if run.result() is None:
            rows = [(t["id"], str(t["config"]), t["status"], t["steps"], t["metric"]) for t in result["trials"]]
            best = {"best": result["best"], "steps_used_share": result["steps_used_share"]}
            best["best_loss"] = next((t["metric"] for t in result["trials"] if t["id"] == result["best"]), None)
            log_sweep(run.folder, identity, ("trial", "setting", "status", "steps", "loss"), rows, best, self.wandb)
        run.finish(result)
        return result

    def changed_store_options(self) -> list[str]:
        """As on a command line: those that are not the default."""
        options: list[str] = []
        for option in dataclasses.fields(StoreConfig):
            if (value := getattr(self, option.name)) != option.default:
                options += [f"--{option.name.replace('_', '-')}", *([value] if isinstance(value, str) else value)]
        return options


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
        return _reported(self.runs_dir / self.name)


def _reported(folder: Path) -> dict[str, Any]:
    sweep = read_sweep(folder)
    result = make_report(sweep)
    console.print(Markdown(markdown(sweep, sweep.best()).split("\n![")[0]))
    say(f"report {folder / 'report'}")
    return result
