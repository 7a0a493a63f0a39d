"""The commands: each a dataclass of its options (tyro makes the command line of it) with a `run` that returns the report's line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.markdown import Markdown

from distributed.finetune import absolute
from distributed.options import StoreOptions
from distributed.progress import console, say
from distributed.runs import open_run
from rdl_core.config import PRESETS, PretrainingConfig, Regime
from rdl_core.downstream import DownstreamConfig
from rdl_core.materialization import StoreConfig, store_name
from rdl_core.pretraining import local_sampler
from rdl_core.remote_folder import Place
from rdl_core.task_inputs import refuse_visible_labels
from tune.plan import VALIDATION_SAMPLES, EarlyStopping, SweepPlan, base_config, rung_steps, with_trials
from tune.report import make_report
from tune.report_text import markdown
from tune.search_space import Search, SearchSpace, read_space, settings, with_rows
from tune.slots import Execution
from tune.suggestions import distributions_of
from tune.sweep import run_sweep
from tune.sweep_result import read_sweep
from tune.wandb_runs import log_sweep


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
    search: Search = "grid"
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
    regime: Regime = "rolling"
    """Of the tasks, see `finetune`."""
    finetune_steps: int = 500
    """Updates of a task's run at most; validated every fifth part of them."""
    early_stopping: EarlyStopping = "asha"
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
        space = with_rows(read_space(self.grid), self.rows)
        data, dataset = self.open_data()
        plan = self.plan(space, data)
        identity = {
            "store": store_name(dataset, self.store_config()), "early_stopping": self.early_stopping,
            "reduction_factor": self.reduction_factor, "workers_per_trial": self.workers_per_trial,
            "execution": self.execution, "base": dataclasses.asdict(plan.base), "search": self.search,
            "downstream": plan.downstream and {**dataclasses.asdict(plan.downstream), "data": dataset.manifest.name},
        }  # fmt: skip
        if plan.space is None:
            identity["trials"] = {t.id: {**t.setting, "seed": t.seed} for t in plan.trials}
        else:
            space_said = {path: str(distribution) for path, distribution in distributions_of(plan.space).items()}
            identity |= {"samples": self.samples, "space": {**space_said, **_lists(plan.space)}}
        tasks = [] if plan.downstream is None else plan.downstream.open_tasks()
        store = self.open_store(dataset)
        for task in tasks:
            refuse_visible_labels(store, task)
        run = open_run(self.runs_dir, self.name, "sweep", dataset.manifest.name, identity)
        plan = dataclasses.replace(plan, folder=run.folder, store_path=store.place)
        # A database with too few rows for one sample is refused here, and not by every trial; all have the same sampling.
        seeds = local_sampler(store, plan.base, plan.base.seed).seeds
        say(
            f"sweep {run.name}: {plan.num_trials} trials of at most {plan.base.max_steps} steps, from {len(seeds.eligible)} seed rows"
        )
        run_sweep(plan)
        result = _reported(run.folder)
        if run.result() is None:
            rows = [(t["id"], str(t["config"]), t["status"], t["steps"], t["metric"]) for t in result["trials"]]
            best = {"best": result["best"], "steps_used_share": result["steps_used_share"]}
            best[plan.metric] = next((t["metric"] for t in result["trials"] if t["id"] == result["best"]), None)
            columns = ("trial", "setting", "status", "steps", plan.metric)
            log_sweep(run.folder, identity, columns, rows, best, self.wandb)
        run.finish(result)
        return result

    def plan(self, space: SearchSpace, data: Place) -> SweepPlan:
        """What is asked for; folder and store are not known yet."""
        base = base_config(
            space.preset, max_steps=self.max_steps, validation_interval_steps=self.validation_interval_steps,
            validation_samples=self.validation_samples, seed=self.seed or 0,
        )  # fmt: skip
        plan = SweepPlan(
            folder=Path(), store_path="", base=base, trials=[], early_stopping=self.early_stopping,
            reduction_factor=self.reduction_factor, downstream=self.downstream(space.preset, base, data),
            workers=self.workers_per_trial, execution=self.execution, max_concurrent=self.max_concurrent,
            hang_after_s=self.hang_after_s, wandb=self.wandb,
            store_options=("--data", str(data), *self.changed_store_options()), finetune_options=self.finetune_options(space),
        )  # fmt: skip
        if self.search == "optuna":
            return dataclasses.replace(plan, space=space, samples=self.samples)
        return with_trials(plan, settings(space, self.search, self.samples, base.seed), self.seeds)

    def downstream(self, preset: str, base: PretrainingConfig, data: Place) -> DownstreamConfig | None:
        """By which trials are compared, if tasks are named."""
        if not self.tasks:
            return None
        finetuning = dataclasses.replace(
            PRESETS[preset]().finetuning, max_steps=self.finetune_steps, max_hours=None, seed=self.seed or 0,
            validation_interval_steps=self.finetune_interval_steps,
        )  # fmt: skip
        return DownstreamConfig(
            data=absolute(data),
            tasks=self.tasks,
            arm=self.arm,
            regime=self.regime,
            finetuning=finetuning,
            steps=rung_steps(base, self.early_stopping, self.reduction_factor),
        )

    @property
    def finetune_interval_steps(self) -> int:
        return max(1, self.finetune_steps // 5)

    def finetune_options(self, space: SearchSpace) -> tuple[str, ...]:
        """By which `finetune` measures a task as the sweep does."""
        return (
            "--arm", self.arm, "--regime", self.regime, "--preset", space.preset, "--seed", str(self.seed or 0),
            "--max-steps", str(self.finetune_steps), "--validation-interval-steps", str(self.finetune_interval_steps),
        )  # fmt: skip

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


def _lists(space: SearchSpace) -> dict[str, Any]:
    return {path: values for path, values in space.values.items() if isinstance(values, list)}
