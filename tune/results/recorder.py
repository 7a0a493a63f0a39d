"""From Ray Tune's events to the ledger, to W&B and to the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ray.tune

from rdl_core.tasks.downstream import OBJECTIVE, PREFIX
from tune.results.ledger import ENDED, MAX_DEATHS, Ledger
from tune.results.live_table import LiveTable
from tune.results.wandb_runs import TrialRuns
from tune.trials.leftovers import Leftovers

FROM_TRIAL = ("validation/", "train/", "effective_rank", PREFIX, OBJECTIVE)
"""Beginnings of the names of metrics."""


class Recorder(ray.tune.Callback):
    """Writes every event of the trials into the ledger before anybody else is told.

    Args:
        ledger: Of the sweep.
        folder: Of the sweep.
        runs: W&B.
        table: The terminal.
        leftovers: Of trials by Ray Train; None: trials train in their own processes.
    """

    def __init__(
        self, ledger: Ledger, folder: Path, runs: TrialRuns, table: LiveTable, leftovers: Leftovers | None
    ) -> None:
        self.ledger, self.folder, self.runs, self.table, self.leftovers = ledger, folder, runs, table, leftovers

    def __getstate__(self) -> dict[str, Any]:
        """Tune stores its callbacks by pickle; ours is never loaded from there."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.leftovers is not None:
            self.leftovers.remove_often()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        self.ledger.append("started", name)
        self.runs.start(name)
        self.table.update()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        record = self.ledger.records[trial.config["trial"]]
        if record.results and result["step"] <= record.steps:
            return
        names = [n for n in result if n.startswith(FROM_TRIAL)]
        values = {n: result[n] for n in [*names, "step", "best_loss", "seconds", "fit_began_s"] if n in result}
        stop = bool(result.get("done"))  # Tune asked the scheduler before it tells its callbacks
        self.ledger.append("result", record.id, **values, stop=stop, finished=result["finished"])
        self.runs.log(record.id, record.results[-1])
        self._ended(record.id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        if self.ledger.records[name].status not in ENDED:  # a trial that is stopped may die of it
            told = trial.error_file  # get_error() reads its copy, which is not there yet
            errors = Path(told).read_text() if told and Path(told).exists() else ""
            self._fail(name, *why_it_ended(self.folder / "trials" / name, errors))

    def end(self) -> None:
        """After Tune's: a trial that Tune gave up without a word (a process that could not be used again) has died."""
        for name in set(self.ledger.unfinished()) - set(self.ledger.died()):
            self._fail(name, "died", "Ray Tune ended without it")

    def _fail(self, name: str, status: str, reason: str) -> None:
        if status == "died" and self.ledger.records[name].deaths + 1 >= MAX_DEATHS:
            status, reason = "failed", f"died {MAX_DEATHS} times, at last: {reason}"
        self.ledger.append("failed", name, status=status, reason=reason)
        self._ended(name)

    def _ended(self, name: str) -> None:
        record = self.ledger.records[name]
        if record.status in (*ENDED, "died"):
            self.runs.end(record)
            self.table.ended(record)
        self.table.update()


def why_it_ended(folder: Path, error_text: str) -> tuple[str, str]:
    """("hung", "failed" or "died", the reason) of a trial whose process ended or threw.

    Args:
        folder: Of the trial.
        error_text: Tune's errors of it, each after a line "Failure # ...".
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
    """Where the thread of `fit` stood, from faulthandler's dump: 'File "…/x.py", line 3 in f'; or of a Ray Train run, its step."""
    if dump.startswith("step "):
        return dump.strip()
    threads = [t.splitlines() for t in dump.split("\n\n")]
    for lines in [t for t in threads if any("in fit" in line for line in t)] or threads[:1]:
        return next((line.strip() for line in lines if line.strip().startswith("File")), "an unknown place")
    return "an unknown place"
