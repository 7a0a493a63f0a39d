"""The report of a sweep, one folder: report.md for people, trials.csv for tables, two pictures and the best setting as a preset file.

Promises: everything follows from sweep.json and the ledger (sweep_result.py), so a report can be made while the sweep runs and again later.
"""

from __future__ import annotations

import csv
import io
import shlex
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rdl_core.atomic_write import replace_file
from rdl_core.tasks.downstream import OBJECTIVE, PREFIX
from tune.results.figures import draw_curves, draw_marginals
from tune.results.ledger import ENDED, TrialRecord
from tune.results.sweep_result import SweepResult
from tune.search_space import short

AGAIN = "The best setting again:"


def write_report(sweep: SweepResult) -> dict[str, Any]:
    """Writes <sweep>/report/ and returns its machine-readable line."""
    folder = sweep.folder / "report"
    folder.mkdir(exist_ok=True)
    best, preset = sweep.best(), None
    if best is not None:
        preset = folder / "preset.yaml"
        with replace_file(preset) as partial:
            shutil.copyfile(sweep.folder / "trials" / best.id / "preset.yaml", partial)
    records, settings = list(sweep.ledger.records.values()), sweep.settings
    draw_curves(records, settings, folder / "curves.png", best, sweep.objective)
    draw_marginals(records, settings, folder / "marginals.png", sweep.objective)
    for name, text in (("trials.csv", csv_text(sweep)), ("report.md", markdown(sweep, best))):
        with replace_file(folder / name) as partial:
            partial.write_text(text)
    trials = [
        {
            "id": record.id,
            "config": {**settings[record.id], "seed": sweep.seeds[record.id]},
            "status": record.status,
            "steps": record.steps,
            "metric": record.metric,
        }
        for group in sweep.groups()
        for record in group
    ]
    return {
        "trials": trials,
        "best": None if best is None else best.id,
        "steps_used_share": sweep.steps_used_share,
        "preset": None if preset is None else str(preset),
    }


def csv_text(sweep: SweepResult) -> str:
    """Returns trials.csv: one row per trial, the best setting's first."""
    paths = list(dict.fromkeys(path for setting in sweep.settings.values() for path in setting))
    measured = ["seed", "status", "steps", sweep.plan["metric"], *sweep.tasks, "seconds", "reason"]
    rows: list[list[Any]] = [["trial", *paths, *measured]]
    for record in (record for group in sweep.groups() for record in group):
        setting = sweep.settings[record.id]
        numbers = [record.metric, *task_metrics(record, sweep.tasks), round(record.seconds, 2)]
        rows.append(
            [record.id, *(setting.get(p) for p in paths), sweep.seeds[record.id], record.status, record.steps, *numbers]
            + [" ".join(record.reason.split())]
        )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def markdown(sweep: SweepResult, best: TrialRecord | None) -> str:
    """Returns report.md."""
    records, workers = list(sweep.ledger.records.values()), sweep.plan["workers_per_trial"]
    used = sum(r.seconds for r in records) * workers
    counts = {s: sum(r.status == s for r in records) for s in (*ENDED, "running", "died", "pending")}
    failed = len(records) - len(sweep.counted)
    parts = [
        f"# Sweep {sweep.folder.name}\n",
        f"{len(records)} trials of at most {sweep.plan['max_steps']} steps, early stopping: {sweep.plan['early_stopping']}. "
        + ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        + ".\n",
        f"- Best: {_best_text(sweep, best)}",
        f"- Steps: {sum(r.steps for r in sweep.counted):,}, {sweep.steps_used_share:.0%} of what they would be without early stopping"
        + (f", without the {failed} trials that failed or hung." if failed else "."),
        f"- Worker time: {used / 3600:.3f} CPU-hours.",
        f"- {_objective_text(sweep)}\n",
        *_table(sweep),
        "",
        "Settings whose trials all went to the end come first; a trial that was stopped or failed was measured at fewer steps, at its last, "
        "and ranks after them whatever it measured.",
        "",
        *(f"- trial {r.id} {r.status}: {' '.join(r.reason.split())}" for r in records if r.reason),
        *(f"- trial {r.id} went on after its process died ({r.deaths} times)" for r in records if r.deaths),
        "",
        *([AGAIN, "", "```", *commands_again(sweep, best), "```", ""] if best is not None else []),
        *(f"![{name}]({name}.png)\n" for name in ("curves", "marginals")),
    ]
    return "\n".join(parts)


def _best_text(sweep: SweepResult, best: TrialRecord | None) -> str:
    if best is None:
        return "no trial has finished."
    return f"trial {best.id} ({short(sweep.settings[best.id])}), {sweep.objective} {best.metric:.4f}."


def commands_again(sweep: SweepResult, best: TrialRecord) -> list[str]:
    """Returns command lines, to be copied as they are, that pretrain the best setting anew and, with tasks, fine-tune from it as the sweep did."""
    runs_dir, name, workers = sweep.folder.parent, f"{sweep.folder.name}-best", sweep.plan["workers_per_trial"]
    common = list(sweep.plan.get("store_options", ("--data", "DATA")))
    common += ["--workers", str(workers)] if workers > 1 else []
    common += ["--runs-dir", str(runs_dir)] if runs_dir != Path("runs") else []
    pretrain = ["pretrain", *common, "--preset", str(sweep.folder / "report" / "preset.yaml"), "--run-name", name]
    checkpoint = ["--checkpoint", str(runs_dir / name / "model")]
    finetune = [
        ["finetune", *common, "--task", task, *sweep.plan["finetune_options"], *checkpoint] for task in sweep.tasks
    ]
    return [shlex.join(["rdl", *options]) for options in (pretrain, *finetune)]


def _objective_text(sweep: SweepResult) -> str:
    at = "at corruption 0.4 on the same samples and draws for all trials"
    if not sweep.tasks:
        return f"Loss: lowest validation loss, sum of the levels (chance is 1 of each), {at}."
    arm, regime = sweep.plan["downstream"]["arm"], sweep.plan["downstream"]["regime"]
    return (
        f"Objective: mean validation error of {', '.join(sweep.tasks)} ({arm}, {regime}): 1 - AUROC, or MAE over that of the train median; "
        f"of the weights with the lowest validation loss, {at}."
    )


def task_metrics(record: TrialRecord, tasks: Sequence[str]) -> list[float | None]:
    """Returns the validation metric of each task where it was measured last; None for a task without one."""
    last: Mapping[str, float] = next((r for r in reversed(record.results) if OBJECTIVE in r), {})
    return [last.get(PREFIX + task) for task in tasks]


def _table(sweep: SweepResult) -> list[str]:
    names = ["rank", "trials", "setting", sweep.objective, *sweep.tasks, "status", "steps"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for rank, group in enumerate(sweep.groups(), 1):
        measured = [[r.metric for r in group], *zip(*(task_metrics(r, sweep.tasks) for r in group), strict=True)]
        cells = [
            str(rank),
            ", ".join(r.id for r in group),
            short(sweep.settings[group[0].id]),
            *map(_mean_text, measured),
            ", ".join(sorted({r.status for r in group})),
            ", ".join(str(r.steps) for r in group),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _mean_text(values: Sequence[float | None]) -> str:
    found = [value for value in values if value is not None]
    mean = f"{statistics.mean(found):.4f}" if found else ""
    return f"{mean} ± {statistics.stdev(found):.4f}" if len(found) > 1 else mean
