"""The work of the commands sweep and report, once input_checks.py has let them through (commands.py has their options)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from relbench.load import RelBenchDataset
from rich.markdown import Markdown

from distributed.commands.inputs import model_schema, open_store, with_samples_for
from distributed.console import console, say
from distributed.runs.folder import open_run
from distributed.training.finetune import absolute
from rdl_core.config import PRESETS, PretrainingConfig, StoreConfig
from rdl_core.graph.materialization import store_name
from rdl_core.place import Place
from rdl_core.pretraining import local_sampler
from rdl_core.tasks.downstream import DownstreamConfig
from rdl_core.tasks.inputs import refuse_visible_labels
from tune.commands import Sweep
from tune.results.sweep_report import AGAIN, commands_again, markdown, write_report
from tune.results.sweep_result import read_sweep
from tune.results.wandb_runs import log_sweep
from tune.search_space import SearchSpace, settings
from tune.suggestions import distributions_of
from tune.sweep import run_sweep
from tune.sweep_plan import SweepPlan, base_config, rung_steps, with_trials


def sweep(options: Sweep, space: SearchSpace, data: Place, dataset: RelBenchDataset) -> dict[str, Any]:
    """Runs a sweep to its end and returns the line of its report."""
    plan = plan_of(options, space, data)
    identity = {
        "store": store_name(dataset, options.store, model_schema(options, dataset)),
        "early_stopping": options.early_stopping,
        "reduction_factor": options.reduction_factor,
        "workers_per_trial": options.workers_per_trial,
        "execution": options.execution,
        "base": dataclasses.asdict(plan.base),
        "search": options.search,
        "downstream": plan.downstream and {**dataclasses.asdict(plan.downstream), "data": dataset.manifest.name},
    }
    if plan.space is None:
        identity["trials"] = {t.id: {**t.setting, "seed": t.seed} for t in plan.trials}
    else:
        distributions, values = distributions_of(plan.space), plan.space.values
        space_said = {p: v if isinstance(v, list) else str(distributions[p]) for p, v in values.items()}
        identity |= {"samples": options.samples, "space": space_said}
    tasks = [] if plan.downstream is None else plan.downstream.open_tasks()
    store = open_store(options, dataset)
    for task in tasks:
        refuse_visible_labels(store, task)
    run = open_run(options.runs_dir, options.name, "sweep", dataset.manifest.name, identity)
    plan = dataclasses.replace(plan, folder=run.folder, store_path=store.place)
    # A database with too few rows for one sample is refused here, and not by every trial; all have the same sampling.
    seeds = local_sampler(store, plan.base, plan.base.seed).seeds
    say(
        f"sweep {run.name}: {plan.num_trials} trials of at most {plan.base.max_steps} steps, from {len(seeds.eligible)} seed rows"
    )
    run_sweep(plan)
    result = reported(run.folder)
    if run.result() is None:
        rows = [(t["id"], str(t["config"]), t["status"], t["steps"], t["metric"]) for t in result["trials"]]
        best = {"best": result["best"], "steps_used_share": result["steps_used_share"]}
        best[plan.metric] = next((t["metric"] for t in result["trials"] if t["id"] == result["best"]), None)
        columns = ("trial", "setting", "status", "steps", plan.metric)
        log_sweep(run.folder, identity, columns, rows, best, options.wandb)
    run.finish(result)
    return result


def plan_of(options: Sweep, space: SearchSpace, data: Place) -> SweepPlan:
    """Returns the plan that the options ask for; folder and store are not known yet."""
    base = base_config(
        options.config,
        max_steps=options.max_steps,
        validation_interval_steps=options.validation_interval_steps,
        validation_samples=options.validation_samples,
        seed=options.seed,
    )
    base = with_samples_for(base, options.workers_per_trial)
    plan = SweepPlan(
        folder=Path(),
        store_path="",
        base=base,
        trials=[],
        early_stopping=options.early_stopping,
        reduction_factor=options.reduction_factor,
        downstream=downstream_of(options, space.preset, base, data),
        workers=options.workers_per_trial,
        execution=options.execution,
        max_concurrent=options.max_concurrent,
        hang_after_s=options.hang_after_s,
        wandb=options.wandb,
        store_options=("--data", str(data), *changed_store_options(options)),
        finetune_options=finetune_options_of(options, space),
    )
    if options.search == "optuna":
        return dataclasses.replace(plan, space=space, samples=options.samples)
    return with_trials(plan, settings(space, options.search, options.samples, base.seed), options.seeds)


def downstream_of(options: Sweep, preset: str, base: PretrainingConfig, data: Place) -> DownstreamConfig | None:
    """Returns the tasks by which trials are compared, or None if none is named."""
    if not options.tasks:
        return None
    finetuning = dataclasses.replace(
        PRESETS[preset]().finetuning,
        max_steps=options.finetune_steps,
        max_hours=None,
        seed=options.seed,
        validation_interval_steps=_finetune_interval_steps(options),
    )
    return DownstreamConfig(
        data=absolute(data),
        tasks=options.tasks,
        arm=options.arm,
        regime=options.regime,
        finetuning=finetuning,
        steps=rung_steps(base, options.early_stopping, options.reduction_factor),
    )


def _finetune_interval_steps(options: Sweep) -> int:
    return max(1, options.finetune_steps // 5)


def finetune_options_of(options: Sweep, space: SearchSpace) -> tuple[str, ...]:
    """Returns the options with which `finetune` measures a task as the sweep does."""
    interval_steps = _finetune_interval_steps(options)
    return (
        *("--arm", options.arm, "--regime", options.regime, "--preset", space.preset, "--seed", str(options.seed)),
        *("--max-steps", str(options.finetune_steps), "--validation-interval-steps", str(interval_steps)),
    )


def changed_store_options(options: Sweep) -> list[str]:
    """Returns the options of the store that are not the default, in the words of a command line."""
    changed: list[str] = []
    for option in dataclasses.fields(StoreConfig):
        if (value := getattr(options, option.name)) != option.default:
            changed += [f"--{option.name.replace('_', '-')}", *([value] if isinstance(value, str) else value)]
    return changed


def reported(folder: Path) -> dict[str, Any]:
    """Writes and shows the report of a sweep; returns its line."""
    found = read_sweep(folder)
    result = write_report(found)
    best = found.best()
    console.print(Markdown(markdown(found, best).split(AGAIN)[0].split("\n![")[0]))
    if best is not None:  # each on a line of its own, which Rich would break
        say("\n".join([AGAIN, *commands_again(found, best)]))
    say(f"report {folder / 'report'}")
    return result
