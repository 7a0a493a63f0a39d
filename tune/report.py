"""What a sweep found, as one folder: report.md, trials.csv, three pictures and the best setting as a preset file.

Promises: everything follows from sweep.json and the ledger, so a report can be made while the sweep runs and again later; the best setting is the
one with the lowest mean objective over its seeds among those whose trials all went to the end (a trial that was stopped early has another
number of steps, so that its preset would not give its loss again).
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdl_core.downstream import OBJECTIVE, PREFIX
from tune.figures import draw_curves, draw_marginals, draw_timeline
from tune.ledger import ENDED, Ledger, TrialRecord
from tune.live_table import short


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A sweep as it stands.

    Args:
        folder: Of the sweep.
        plan: sweep.json.
        ledger: What happened.
    """

    folder: Path
    plan: Mapping[str, Any]
    ledger: Ledger

    @property
    def objective(self) -> str:
        """What trials are compared by, in a word."""
        return "loss" if self.tasks == [] else "objective"

    @property
    def tasks(self) -> list[str]:
        """Downstream tasks of the objective, if it is not the validation loss."""
        return list((self.plan["downstream"] or {"tasks": []})["tasks"])

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """By trial."""
        return {t["id"]: t["config"] for t in self.plan["trials"]}

    @property
    def seeds(self) -> dict[str, int]:
        """By trial."""
        return {t["id"]: t["seed"] for t in self.plan["trials"]}

    @property
    def counted(self) -> list[TrialRecord]:
        """Trials that a share of steps is of: not those that failed or hung, whose other steps nobody saved."""
        return [r for r in self.ledger.records.values() if r.status not in ("failed", "hung")]

    @property
    def steps_used_share(self) -> float:
        """Steps of the counted trials over what they would have made without early stopping; 0 without any."""
        return sum(r.steps for r in self.counted) / max(1, len(self.counted) * self.plan["max_steps"])

    def groups(self) -> list[list[TrialRecord]]:
        """Trials that differ in their seed only, the best setting first."""
        groups: dict[str, list[TrialRecord]] = {}
        for record in self.ledger.records.values():
            groups.setdefault(json.dumps(self.settings[record.id]), []).append(record)
        return sorted(groups.values(), key=lambda g: (not _whole(g), _mean(g)))

    def best(self) -> TrialRecord | None:
        """The best trial of the best setting; None before any has finished."""
        for group in self.groups():
            if _whole(group):
                return min(group, key=lambda r: r.metric if r.metric is not None else float("inf"))
        return None


def read_sweep(folder: Path) -> SweepResult:
    """The sweep in a folder.

    Raises:
        FileNotFoundError: There is none; naming those that are beside it.
    """
    if not (folder / "sweep.json").exists():
        there = sorted(p.parent.name for p in folder.parent.glob("*/sweep.json"))
        raise FileNotFoundError(f"no sweep {folder.name!r} in {folder.parent}; there are: {', '.join(there) or 'none'}")
    plan = json.loads((folder / "sweep.json").read_text())
    ledger = Ledger(folder / "events.jsonl", [t["id"] for t in plan["trials"]], plan["metric"])
    return SweepResult(folder=folder, plan=plan, ledger=ledger)


def make_report(sweep: SweepResult) -> dict[str, Any]:
    """Writes <sweep>/report/ and returns its machine-readable line."""
    folder = sweep.folder / "report"
    folder.mkdir(exist_ok=True)
    best, preset = sweep.best(), None
    if best is not None:
        preset = folder / "preset.yaml"
        partial = folder / "preset.yaml.partial"
        shutil.copyfile(sweep.folder / "trials" / best.id / "preset.yaml", partial)
        partial.replace(preset)
    records, settings = list(sweep.ledger.records.values()), sweep.settings
    draw_curves(records, settings, folder / "curves.png", best, sweep.objective)
    draw_marginals(records, settings, folder / "marginals.png", sweep.objective)
    draw_timeline(records, settings, folder / "timeline.png")
    _write(folder / "trials.csv", csv_text(sweep))
    _write(folder / "report.md", markdown(sweep, best))
    return {
        "trials": [
            {
                "id": r.id, "config": {**settings[r.id], "seed": sweep.seeds[r.id]}, "status": r.status, "steps": r.steps,
                "metric": r.metric,
            }
            for group in sweep.groups() for r in group
        ],
        "best": None if best is None else best.id,
        "steps_used_share": sweep.steps_used_share,
        "preset": None if preset is None else str(preset),
    }  # fmt: skip


def csv_text(sweep: SweepResult) -> str:
    """One row a trial."""
    paths = list(dict.fromkeys(path for setting in sweep.settings.values() for path in setting))
    lines: list[list[Any]] = [
        [
            "trial",
            *paths,
            "seed",
            "status",
            "steps",
            sweep.plan["metric"],
            *sweep.tasks,
            "seconds",
            "start_up_s",
            "reason",
        ]
    ]
    for record in (r for group in sweep.groups() for r in group):
        setting = sweep.settings[record.id]
        numbers = [record.metric, *task_metrics(record, sweep.tasks), round(record.seconds, 2), record.start_up_s]
        lines.append(
            [record.id, *(setting.get(p) for p in paths), sweep.seeds[record.id], record.status, record.steps, *numbers]
            + [" ".join(record.reason.split())]
        )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def markdown(sweep: SweepResult, best: TrialRecord | None) -> str:
    """The report for people."""
    records, workers = list(sweep.ledger.records.values()), sweep.plan["workers_per_trial"]
    used = sum(r.seconds for r in records) * workers
    saved = sum(saved_seconds(r, sweep.plan["max_steps"]) for r in records) * workers
    start_ups = [r.start_up_s for r in records if r.start_up_s is not None]
    counts = {s: sum(r.status == s for r in records) for s in (*ENDED, "running", "died", "pending")}
    failed = len(records) - len(sweep.counted)
    parts = [
        f"# Sweep {sweep.folder.name}\n",
        f"{len(records)} trials of at most {sweep.plan['max_steps']} steps, early stopping: {sweep.plan['early_stopping']}. "
        + ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        + ".\n",
        f"- Best: {_best_text(sweep, best)}",
        f"- Steps: {sum(r.steps for r in sweep.counted):,}, {sweep.steps_used_share:.0%} of the full grid's"
        + (f", without the {failed} trials that failed or hung." if failed else "."),
        f"- Worker time: {used / 3600:.3f} CPU-hours; about {saved / 3600:.3f} saved against the full grid (at each trial's own rate).",
    ]
    if start_ups:
        parts.append(
            f"- Start-up of a trial: median {statistics.median(start_ups):.2f} s, most {max(start_ups):.2f} s."
        )
    parts += [
        f"- {_objective_text(sweep)} Stopped trials: at the step where they were stopped.\n",
        *_table(sweep),
        "",
        *(f"- trial {r.id} {r.status}: {' '.join(r.reason.split())}" for r in records if r.reason),
        *(f"- trial {r.id} went on after its process died ({r.deaths} times)" for r in records if r.deaths),
        "",
        *(f"![{name}]({name}.png)\n" for name in ("curves", "marginals", "timeline")),
    ]
    return "\n".join(parts)


def saved_seconds(record: TrialRecord, max_steps: int) -> float:
    """What the rest of a stopped trial would have taken at its own rate."""
    if record.status != "stopped" or not record.steps:
        return 0.0
    return record.seconds / record.steps * (max_steps - record.steps)


def _best_text(sweep: SweepResult, best: TrialRecord | None) -> str:
    if best is None:
        return "no trial has finished."
    preset, workers = sweep.folder / "report" / "preset.yaml", sweep.plan["workers_per_trial"]
    options = [*sweep.plan.get("store_options", ("--data", "DATA")), "--preset", str(preset)]
    options += ["--workers", str(workers)] if workers > 1 else []
    command = shlex.join(["python", "-m", "distributed", "pretrain", *options])
    text = (
        f"trial {best.id} ({short(sweep.settings[best.id])}), {sweep.objective} {best.metric:.4f}. Again: `{command}`."
    )
    for task in sweep.tasks:
        options = [*sweep.plan["store_options"], "--task", task, *sweep.plan["finetune_options"]]
        text += f" Then `{shlex.join(['python', '-m', 'distributed', 'finetune', *options])} --checkpoint …/model`."
    return text


def _objective_text(sweep: SweepResult) -> str:
    at = "at corruption 0.4 on the same samples and draws for all trials"
    if not sweep.tasks:
        return f"Loss: lowest validation loss, sum of the three levels (chance is 3), {at}."
    arm, regime = sweep.plan["downstream"]["arm"], sweep.plan["downstream"]["regime"]
    return (
        f"Objective: mean validation error of {', '.join(sweep.tasks)} ({arm}, {regime}): 1 - AUROC, or MAE over that of the train median; "
        f"of the weights with the lowest validation loss, {at}."
    )


def task_metrics(record: TrialRecord, tasks: Sequence[str]) -> list[float | None]:
    """The validation metric of each task where it was measured last."""
    last: Mapping[str, float] = next((r for r in reversed(record.results) if OBJECTIVE in r), {})
    return [last.get(PREFIX + task) for task in tasks]


def _table(sweep: SweepResult) -> list[str]:
    names = ["rank", "trials", "setting", sweep.objective, *sweep.tasks, "status", "steps"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for rank, group in enumerate(sweep.groups(), 1):
        measured = [[r.metric for r in group], *zip(*(task_metrics(r, sweep.tasks) for r in group), strict=True)]
        cells = (
            ", ".join(r.id for r in group), short(sweep.settings[group[0].id]), *map(_mean_text, measured),
            ", ".join(sorted({r.status for r in group})), ", ".join(str(r.steps) for r in group),
        )  # fmt: skip
        lines.append(f"| {rank} | " + " | ".join(cells) + " |")
    return lines


def _mean_text(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation."""
    found = [value for value in values if value is not None]
    mean = f"{statistics.mean(found):.4f}" if found else ""
    return f"{mean} ± {statistics.stdev(found):.4f}" if len(found) > 1 else mean


def _whole(group: list[TrialRecord]) -> bool:
    return all(r.status == "finished" for r in group)


def _mean(group: list[TrialRecord]) -> float:
    found = [r.metric for r in group]
    return statistics.mean([float("inf") if m is None else m for m in found])


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
