"""A sweep: many trials under Ray Tune with ASHA, which a kill of the driver does not lose.

    <sweep>/sweep.json      what it is: SweepPlan without its configurations
    <sweep>/events.jsonl    what happened (ledger.py)
    <sweep>/trials/<id>/    each trial (trial.py)

Promises: every trial is validated alike (corruption 0.4, the same samples and draws, whatever its own corruption and seed); a sweep that goes on has
the same trials, reruns none that has ended, and its rungs remember; a trial that fails or hangs ends alone; one whose process died goes on.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray.tune
from ray.tune.schedulers import FIFOScheduler

from distributed.preset_file import write_preset_file
from distributed.progress import say
from distributed.runs import held, write_json
from distributed.tracking import tracking_mode
from rdl_core.config import PRESETS, PretrainingConfig
from rdl_core.remote_folder import Place
from tune.asha import ResumableASHA
from tune.ledger import Ledger
from tune.leftovers import Leftovers
from tune.live_table import LiveTable
from tune.recorder import Recorder
from tune.search_space import Setting, with_setting
from tune.session import start_ray_for
from tune.slots import CPUS_OF_WAITING_TRIAL, Execution
from tune.trial import TrialJob, run_trial
from tune.wandb_runs import TrialRuns

VALIDATION_CORRUPTION = 0.4
VALIDATION_SAMPLES = 50
VALIDATIONS_PER_TRIAL = 8
"""By default: with a reduction factor of 2, rungs lie at 1/8, 1/4, 1/2 of the steps."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A setting with a seed."""

    id: str
    setting: Setting
    seed: int
    config: PretrainingConfig


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep is.

    Args:
        folder: Of the sweep.
        store_path: The store that all trials map.
        trials: In order.
        early_stopping: "asha", or "none": every trial runs to its end.
        reduction_factor: Of ASHA.
        workers: Of a trial.
        execution: Trials "in_process", or by "ray_train"; "auto": in the trial's process on one CPU worker.
        max_concurrent: Trials at a time; None: as many as fit.
        hang_after_s: Without a step for so long, a trial has hung.
        wandb: Whether to track.
        store_options: Of the command line, by which `pretrain` makes the same store.
    """

    folder: Path
    store_path: Place
    trials: list[Trial]
    early_stopping: Literal["asha", "none"] = "asha"
    reduction_factor: float = 2.0
    workers: int = 1
    execution: Execution = "auto"
    max_concurrent: int | None = None
    hang_after_s: float = 600.0
    wandb: bool = True
    store_options: tuple[str, ...] = ()

    @property
    def configs(self) -> dict[str, PretrainingConfig]:
        return {trial.id: trial.config for trial in self.trials}

    @property
    def max_steps(self) -> int:
        return self.trials[0].config.max_steps

    @property
    def validation_interval_steps(self) -> int:
        return self.trials[0].config.validation_interval_steps


def base_config(
    preset: str, *, max_steps: int | None = None, validation_interval_steps: int | None = None,
    validation_samples: int = VALIDATION_SAMPLES, seed: int = 0,
) -> PretrainingConfig:  # fmt: skip
    """A preset with the validation that all trials of a sweep share.

    What would end a trial by itself before its last step is left out, so that trials are compared after equal steps: `stop_below` (good enough cannot
    be told from better), `patience`, and `max_hours`, by which a loss would depend on how busy the machine was.
    """
    config = PRESETS[preset]().pretraining
    steps = max_steps or config.max_steps
    return dataclasses.replace(
        config, max_steps=steps, seed=seed, stop_below=None, patience=None, max_hours=None,
        validation_fresh=False, validation_corruption=VALIDATION_CORRUPTION,
        validation_interval_steps=validation_interval_steps or max(1, steps // VALIDATIONS_PER_TRIAL),
        validation_seed=seed, validation_samples=validation_samples,
    )  # fmt: skip


def trials_of(base: PretrainingConfig, found: list[Setting], seeds: int) -> list[Trial]:
    """Every setting with each of `seeds` seeds from the base's on; ids follow from the order."""
    pairs = [(setting, base.seed + k) for setting in found for k in range(seeds)]
    width = len(str(len(pairs) - 1))
    return [
        Trial(
            id=f"{number:0{width}d}", setting=setting, seed=seed,
            config=dataclasses.replace(with_setting(base, setting), seed=seed),
        )
        for number, (setting, seed) in enumerate(pairs)
    ]  # fmt: skip


def run_sweep(plan: SweepPlan) -> Ledger:
    """Runs what has not ended yet; returns the ledger of all.

    Raises:
        RuntimeError: Another process runs this sweep, or resources that would never do.
    """
    with held(plan.folder):
        ledger = Ledger(plan.folder / "events.jsonl", plan.configs, mend=True)
        _write_plan(plan)
        if not (left := ledger.unfinished()):
            say(f"sweep {plan.folder.name} has ended; nothing to do")
            return ledger
        if len(left) < len(plan.trials):
            say(
                f"sweep {plan.folder.name} goes on: {len(plan.trials) - len(left)} of {len(plan.trials)} trials had ended"
            )
        if plan.wandb and tracking_mode() == "offline":
            say("W&B: offline (no key, or WANDB_MODE); `wandb sync` takes the runs later")
        slots, in_process = start_ray_for(
            len(left), plan.workers, plan.execution, plan.max_concurrent, plan.folder.resolve(), plan.store_path
        )
        while left:
            _run(plan, ledger, left, slots, in_process)
            if left := ledger.died():
                say(f"{len(left)} trials whose processes died go on: {', '.join(left)}")
    return ledger


def _run(plan: SweepPlan, ledger: Ledger, left: list[str], slots: int, in_process: bool) -> None:
    configs = plan.configs
    job = TrialJob(
        store_path=plan.store_path, folder=str(plan.folder.resolve()), configs=configs, workers=plan.workers,
        reported={t: r.steps if r.results else -1 for t, r in ledger.records.items()}, in_process=in_process,
        hang_after_s=plan.hang_after_s,
    )  # fmt: skip

    def trial(config: dict[str, Any]) -> None:
        run_trial(job, config["trial"])

    runs, leftovers = TrialRuns(plan.folder, configs, plan.wandb), None if in_process else Leftovers()
    table = LiveTable(
        ledger, {t.id: t.setting for t in plan.trials}, max_steps=plan.max_steps,
        first_rung=plan.validation_interval_steps, reduction_factor=plan.reduction_factor,
    )  # fmt: skip
    recorder = Recorder(ledger, plan.folder, runs, table, leftovers)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trial, {"CPU": 1 if in_process else CPUS_OF_WAITING_TRIAL}),
        param_space={"trial": ray.tune.grid_search(left)},
        tune_config=ray.tune.TuneConfig(
            scheduler=_scheduler(plan, ledger), max_concurrent_trials=slots, reuse_actors=in_process
        ),
        run_config=ray.tune.RunConfig(
            name=f"session_{time.time_ns()}", storage_path=str(plan.folder.resolve() / "tune"), verbose=0,
            callbacks=[recorder],
        ),
    )  # fmt: skip
    try:
        with table.shown():
            tuner.fit()
            recorder.end()
        if leftovers is not None:
            leftovers.remove_all()
    finally:
        runs.close()


def _scheduler(plan: SweepPlan, ledger: Ledger) -> Any:
    if plan.early_stopping == "none":
        return FIFOScheduler()
    return ResumableASHA(
        ledger.results(), first_rung=plan.validation_interval_steps, max_steps=plan.max_steps,
        reduction_factor=plan.reduction_factor,
    )  # fmt: skip


def _write_plan(plan: SweepPlan) -> None:
    description: Mapping[str, Any] = {
        "store": str(plan.store_path), "max_steps": plan.max_steps, "early_stopping": plan.early_stopping,
        "validation_interval_steps": plan.validation_interval_steps, "reduction_factor": plan.reduction_factor,
        "workers_per_trial": plan.workers, "store_options": plan.store_options,
        "trials": [{"id": t.id, "config": t.setting, "seed": t.seed} for t in plan.trials],
    }  # fmt: skip
    write_json(plan.folder / "sweep.json", description)
    for trial in plan.trials:
        about = {"sweep": plan.folder.name, "trial": trial.id, "setting": trial.setting, "workers": plan.workers}
        write_preset_file(plan.folder / "trials" / trial.id / "preset.yaml", trial.config, about)
