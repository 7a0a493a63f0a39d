"""From Ray Tune's events to the ledger, to W&B and to the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ray.tune

from distributed.console import say
from rdl_core.tasks.downstream import OBJECTIVE, PREFIX
from tune.results.ledger import ENDED, MAX_DEATHS, Ledger, TrialRecord
from tune.results.wandb_runs import TrialRuns
from tune.search_space import short
from tune.sweep_plan import SweepPlan
from tune.trials.watchdog import OrphanedGroups

METRIC_PREFIXES = ("validation/", "train/", "effective_rank", PREFIX, OBJECTIVE)


class TrialRecorder(ray.tune.Callback):
    """Writes every event of the trials into the ledger before anybody else is told.

    Args:
        ledger: The sweep's ledger.
        plan: The sweep's plan.
        runs: The W&B runs of the trials.
        orphaned_groups: Placement groups that trials by Ray Train leave behind; None where trials train in their own processes.
    """

    def __init__(
        self, ledger: Ledger, plan: SweepPlan, runs: TrialRuns, orphaned_groups: OrphanedGroups | None
    ) -> None:
        self.ledger, self.plan, self.runs, self.orphaned_groups = ledger, plan, runs, orphaned_groups

    def __getstate__(self) -> dict[str, Any]:
        """Leaves everything out: Tune stores its callbacks by pickle, and ours is never loaded from there."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.orphaned_groups is not None:
            self.orphaned_groups.remove_often()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        self.ledger.append("started", name)
        self.runs.start(name)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        record = self.ledger.records[trial.config["trial"]]
        if record.results and result["step"] <= record.steps:
            return
        names = [n for n in result if n.startswith(METRIC_PREFIXES)]
        values = {n: result[n] for n in [*names, "step", "best_loss", "seconds"] if n in result}
        stop = bool(result.get("done"))  # Tune asked the scheduler before it tells its callbacks
        self.ledger.append("result", record.id, **values, stop=stop, finished=result["finished"])
        self.runs.log(record.id, record.results[-1])
        self._close_if_ended(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        if self.ledger.records[name].status not in ENDED:  # a trial that is stopped may die of it
            told = trial.error_file  # get_error() reads its copy, which is not there yet
            errors = Path(told).read_text() if told and Path(told).exists() else ""
            self._fail(name, *why_it_ended(self.plan.folder / "trials" / name, errors))

    def end(self) -> None:
        """Records, after Tune has ended, that a trial died which Tune gave up without a word (its process could not be used again)."""
        for name in set(self.ledger.unfinished()) - set(self.ledger.died()):
            self._fail(name, "died", "Ray Tune ended without it")

    def _fail(self, name: str, status: str, reason: str) -> None:
        if status == "died" and self.ledger.records[name].deaths + 1 >= MAX_DEATHS:
            status, reason = "failed", f"died {MAX_DEATHS} times, at last: {reason}"
        self.ledger.append("failed", name, status=status, reason=reason)
        self._close_if_ended(self.ledger.records[name])

    def _close_if_ended(self, record: TrialRecord) -> None:
        if record.status in (*ENDED, "died"):
            self.runs.end(record)
            say(self._line(record))

    def _line(self, record: TrialRecord) -> str:
        metric = "loss" if self.plan.downstream is None else "objective"
        value = f"no {metric}" if record.metric is None else f"{metric} {record.metric:.4f}"
        (setting,) = [trial.setting for trial in self.plan.trials if trial.id == record.id]
        ended = len(self.ledger.records) - len(self.ledger.unfinished())
        reason = f": {' '.join(record.reason.split())}" if record.reason else ""
        return (
            f"trial {record.id} {record.status} at step {record.steps}, {value} ({short(setting)}){reason}; "
            f"{ended} of {self.plan.num_trials} trials have ended"
        )


def why_it_ended(folder: Path, error_text: str) -> tuple[str, str]:
    """Returns ("hung", "failed" or "died", the reason) for a trial whose process ended or threw.

    Args:
        folder: The trial's folder.
        error_text: Tune's errors of the trial, each after a line "Failure # ...".
    """
    hang, error = folder / "hang.txt", folder / "error.json"
    if hang.exists() and hang.stat().st_size:
        return "hung", "no step for too long; it stood at " + _place(hang.read_text())
    if error.exists():
        thrown = json.loads(error.read_text())
        return "died" if thrown["by_machine"] else "failed", f"{thrown['type']}: {thrown['message']}"
    lines = error_text.split("Failure # ")[-1].strip().splitlines()[1:]
    why = [line.split(" Some common causes")[0] for line in lines if line.startswith("The actor is dead because")]
    return "died", "its process died: " + (why or lines or ["it could not be started"])[0]


def _place(dump: str) -> str:
    """Returns where a hung trial stood: the step of a Ray Train run, or the line 'File "…/x.py", line 3 in f' of the thread that runs `fit`.

    Args:
        dump: The text of hang.txt: "step …" or faulthandler's dump of all threads.
    """
    if dump.startswith("step "):
        return dump.strip()
    threads = [t.splitlines() for t in dump.split("\n\n")]
    for lines in [t for t in threads if any("in fit" in line for line in t)] or threads[:1]:
        return next((line.strip() for line in lines if line.strip().startswith("File")), "an unknown place")
    return "an unknown place"
