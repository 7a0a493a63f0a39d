"""A sweep: many trials under Ray Tune with ASHA, which a kill of the driver does not lose.

    <sweep>/sweep.json      what it is (sweep_plan.py)
    <sweep>/events.jsonl    what happened (results/ledger.py)
    <sweep>/trials/<id>/    each trial (trials/trial.py)

Promises: a sweep that goes on has the same trials, reruns none that has ended, and its rungs remember; a trial that fails or hangs ends alone; one
whose process died goes on.
"""

from __future__ import annotations

import time
from typing import Any

import ray.tune
from ray.tune.schedulers import FIFOScheduler

from distributed.console import say
from distributed.runs.folder import held
from distributed.runs.tracking import tracking_mode
from tune.results import Ledger, TrialRecorder, TrialRuns
from tune.suggestions import suggest
from tune.sweep_plan import SweepPlan, with_known_trials
from tune.trials import (
    CPUS_OF_WAITING_TRIAL,
    OrphanedGroups,
    ResumableASHA,
    TrialJob,
    TrialSearcher,
    run_trial,
    start_ray_for_trials,
)


def run_sweep(plan: SweepPlan) -> Ledger:
    """Runs what has not ended yet; returns the ledger of all.

    Raises:
        RuntimeError: Another process runs this sweep, or no trial would ever find its resources.
        KeyboardInterrupt: Ctrl-C; the text says how many trials had ended.
    """
    with held(plan.folder):
        plan = with_known_trials(plan)
        ledger = Ledger(plan.folder / "events.jsonl", plan.configs, plan.metric)
        plan.write()
        left = ledger.unfinished()
        num_left = len(left) + plan.num_trials - len(plan.trials)
        if not num_left:
            say(f"sweep {plan.folder.name} has ended; nothing to do")
            return ledger
        if num_left < plan.num_trials:
            say(f"sweep {plan.folder.name} goes on: {plan.num_trials - num_left} of {plan.num_trials} trials had ended")
        if plan.wandb and tracking_mode() == "offline":
            say("W&B: offline (no key, or WANDB_MODE); `wandb sync` takes the runs later")
        data = None if plan.downstream is None else plan.downstream.data
        at_a_time, in_process = start_ray_for_trials(
            num_left, plan.workers, plan.execution, plan.max_concurrent, plan.folder.resolve(), plan.store_path, data
        )
        while num_left:
            try:
                _run(plan, ledger, left, num_left, at_a_time, in_process)
            except KeyboardInterrupt:
                ended = len(ledger.records) - len(ledger.unfinished())
                raise KeyboardInterrupt(
                    f"after {ended} of {plan.num_trials} trials; the same command goes on"
                ) from None
            left = ledger.died()
            num_left = len(left)
            if left:
                say(f"{len(left)} trials whose processes died go on: {', '.join(left)}")
    return ledger


def _run(plan: SweepPlan, ledger: Ledger, left: list[str], num_left: int, at_a_time: int, in_process: bool) -> None:
    job = TrialJob(
        store_path=plan.store_path,
        folder=str(plan.folder.resolve()),
        workers=plan.workers,
        reported={t: r.steps if r.results else -1 for t, r in ledger.records.items()},
        in_process=in_process,
        hang_after_s=plan.hang_after_s,
        downstream=plan.downstream,
    )

    def trial(config: dict[str, Any]) -> None:
        run_trial(job, config["trial"])

    runs, orphaned_groups = TrialRuns(plan), None if in_process else OrphanedGroups()
    recorder = TrialRecorder(ledger, plan, runs, orphaned_groups)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trial, {"CPU": 1 if in_process else CPUS_OF_WAITING_TRIAL}),
        tune_config=ray.tune.TuneConfig(
            search_alg=TrialSearcher(left, lambda: _suggested(plan, ledger)),
            num_samples=num_left,
            scheduler=_scheduler(plan, ledger),
            max_concurrent_trials=at_a_time,
            reuse_actors=in_process,
        ),
        run_config=ray.tune.RunConfig(
            name=f"session_{time.time_ns()}",
            storage_path=str(plan.folder.resolve() / "tune"),
            verbose=0,
            callbacks=[recorder],
        ),
    )
    try:
        tuner.fit()
        recorder.end()
        if orphaned_groups is not None:
            orphaned_groups.remove_all()
    finally:
        runs.close()


def _suggested(plan: SweepPlan, ledger: Ledger) -> str | None:
    """Adds one more trial of a search by suggestions to the plan, to sweep.json and to the ledger; returns its name, or None at the end."""
    number = len(plan.trials)
    if plan.space is None or number >= plan.samples:
        return None
    setting = suggest(plan.space, plan.base.seed, [(t.setting, ledger.records[t.id]) for t in plan.trials])
    if setting is None:
        say(f"no further setting to suggest after {number} trials")
        return None
    trial = plan.trial(number, setting, plan.base.seed)
    plan.trials.append(trial)
    plan.write()
    ledger.add(trial.id)
    return trial.id


def _scheduler(plan: SweepPlan, ledger: Ledger) -> Any:
    if plan.early_stopping == "none":
        return FIFOScheduler()
    return ResumableASHA(
        ledger.results(),
        first_rung=plan.base.validation_interval_steps,
        max_steps=plan.base.max_steps,
        reduction_factor=plan.reduction_factor,
        metric=plan.metric,
    )
