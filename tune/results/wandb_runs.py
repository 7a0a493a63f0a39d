"""Weights & Biases for a sweep: one group with one run per trial (configuration, curves, summary) and one more run with the sweep's table.

The driver logs what reaches Tune, so that a run is whole however its trial ended: Tune kills a stopped trial's process, and with it all that W&B
had not yet written there. A run is closed when its trial ends, and continued under the same id when the sweep is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import wandb

from distributed.runs.tracking import TrackingConfig, run_id, tracking
from tune.results.ledger import TrialRecord
from tune.sweep_plan import SweepPlan

NOT_METRICS = ("event", "trial", "time_s", "stop", "finished", "step")


class TrialRuns:
    """The open runs of a sweep's trials.

    Args:
        plan: The sweep's plan; its folder's name is the group's.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.plan = plan
        self._open: dict[str, tuple[ExitStack, wandb.Run]] = {}

    def start(self, trial: str) -> None:
        """Opens a trial's run; one that is open already ended with a process that Tune replaced."""
        if trial in self._open:
            self._open.pop(trial)[0].close()
        folder = self.plan.folder
        run = _tracking(folder, folder / "trials" / trial, f"{folder.name}-{trial}", self.plan.wandb)
        stack = ExitStack()
        self._open[trial] = stack, stack.enter_context(tracking(run, dataclasses.asdict(self.plan.configs[trial])))

    def log(self, trial: str, result: Mapping[str, Any]) -> None:
        """Logs a validation of a trial."""
        self._open[trial][1].log({k: v for k, v in result.items() if k not in NOT_METRICS}, int(result["step"]))

    def end(self, record: TrialRecord) -> None:
        """Writes how the trial ended and closes its run."""
        if record.id in self._open:
            stack, run = self._open.pop(record.id)
            summary = {"status": record.status, "reason": record.reason, "steps": record.steps}
            run.summary.update(summary | {self.plan.metric: record.metric})
            stack.close()

    def close(self) -> None:
        """Closes all runs that are open."""
        for stack, _ in self._open.values():
            stack.close()
        self._open.clear()


def log_sweep(
    folder: Path,
    identity: Mapping[str, Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    best: Mapping[str, Any],
    enabled: bool,
) -> None:
    """Logs a run of the sweep itself: its table and its best trial."""
    with tracking(_tracking(folder, folder, f"{folder.name}-summary", enabled), identity) as run:
        if enabled:
            run.log({"trials": wandb.Table(columns=list(columns), data=[list(row) for row in rows])}, 0)
        run.summary.update(dict(best))


def _tracking(sweep: Path, directory: Path, name: str, enabled: bool) -> TrackingConfig:
    identity = run_id(directory) if enabled else ""
    return TrackingConfig(
        directory=str(directory.resolve()), run_id=identity, name=name, group=sweep.name, enabled=enabled
    )
