"""The ledger of a sweep: events.jsonl, one line per event, written by the driver alone.

    {"time_s": ..., "event": "started", "trial": "03"}
    {"time_s": ..., "event": "result",  "trial": "03", "step": 50, "best_loss": 1.9, "stop": false, "finished": "", "validation/row": ..., ...}
    {"time_s": ..., "event": "failed",  "trial": "03", "status": "failed" | "hung" | "died", "reason": ...}

Promises: it is only appended to (event_log.py), so a killed driver loses no event; a trial's results come in order of step and once each, whatever
was resumed; a decision to stop stands in the line of the result that it was taken on. A resumed sweep and the report need nothing else.

An error that a trial's own code threw would come again, so the trial has "failed" for good. A trial whose process was killed, or whose node was
lost, has "died" and goes on from its checkpoint, MAX_DEATHS - 1 times at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distributed.runs.event_log import EventLog

Status = Literal["pending", "running", "died", "finished", "stopped", "failed", "hung"]
ENDED: tuple[Status, ...] = ("finished", "stopped", "failed", "hung")
MAX_DEATHS = 4
"""Number of deaths of a trial's process after which it has failed: memory that is too small stays too small."""


@dataclass
class TrialRecord:
    """The state of a trial by its events.

    Args:
        id: The trial's name in the sweep.
        metric_name: Name of what trials are compared by, in results that have it.
        status: "stopped" by early stopping; "failed" threw; "hung" made no step for too long; "died" will go on.
        reason: Why it failed, hung or died.
        deaths: How often its process died, over all sessions.
        results: Its validations, as they stand in the ledger.
        seconds: Wall-clock time of its processes, over all restarts.
    """

    id: str
    metric_name: str = "best_loss"
    status: Status = "pending"
    reason: str = ""
    deaths: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    _last_s: float | None = None

    @property
    def steps(self) -> int:
        return int(self.results[-1]["step"]) if self.results else 0

    @property
    def metric(self) -> float | None:
        """The lowest validation loss so far (sum of levels), or the downstream objective when it was measured last."""
        return next((float(r[self.metric_name]) for r in reversed(self.results) if self.metric_name in r), None)

    def add(self, event: Mapping[str, Any]) -> None:
        """Takes in the trial's next event."""
        now = event["time_s"]
        if event["event"] == "started":
            self.status, self.reason, self._last_s = "running", "", now
            return
        if self._last_s is not None:  # else its process died before it started
            self.seconds, self._last_s = self.seconds + now - self._last_s, now
        if event["event"] == "failed":
            self.status, self.reason = event["status"], event["reason"]
            self.deaths += self.status == "died"
            return
        self.results.append(dict(event))
        if event["finished"]:
            self.status = "finished"
        elif event["stop"]:
            self.status = "stopped"


class Ledger:
    """The ledger in its file, and the record of each trial that follows from it.

    Args:
        path: The file; made at the first event.
        trials: Ids of the trials of the sweep.
        metric: Name of what trials are compared by.
    """

    def __init__(self, path: Path, trials: Iterable[str], metric: str = "best_loss") -> None:
        self.metric, self._log = metric, EventLog(path)
        self.records = {trial: TrialRecord(trial, metric) for trial in trials}
        self.events: list[dict[str, Any]] = []
        for event in self._log.events():
            if event["trial"] in self.records:  # else a sweep that runs added it after its report read sweep.json
                self._take(event)

    def append(self, event: str, trial: str, **values: Any) -> None:
        """Writes an event with the time now."""
        self._take(self._log.append(event, trial=trial, **values))

    def add(self, trial: str) -> None:
        """Adds one more trial."""
        self.records[trial] = TrialRecord(trial, self.metric)

    def _take(self, entry: dict[str, Any]) -> None:
        self.events.append(entry)
        self.records[entry["trial"]].add(entry)

    def unfinished(self) -> list[str]:
        """Returns the trials that have not ended, in order."""
        return [trial for trial, record in self.records.items() if record.status not in ENDED]

    def died(self) -> list[str]:
        """Returns the trials whose processes died and that may go on, in order."""
        return [trial for trial, record in self.records.items() if record.status == "died"]

    def results(self) -> list[dict[str, Any]]:
        """Returns the results of all trials in the order in which they came."""
        return [event for event in self.events if event["event"] == "result"]
