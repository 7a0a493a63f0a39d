"""What happened to a run, through all its crashes: one JSON line an event, and how far it had come.

    <run>/journal.jsonl   {"time_s", "event", ...}: driver, nodes, group, resumed, stepped, downstream, validated,
                          committed, failure, gave_up, interrupted, finished
    <run>/reached         the newest step of rank 0 and a text for people, overwritten at each step

Promises: a line is written at once and whole (one append), so what a killed process wrote is there; a line that is not whole is skipped.
Figures follow from it: steps that a kill wasted, and seconds to detect it, to start workers again, to load and to do the next step.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

STEP_BYTES, TEXT_BYTES = 20, 200


class Journal:
    """Of one run.

    Args:
        folder: The run's, on storage that all nodes see; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._reached_path = folder / "journal.jsonl", folder / "reached"

    def note(self, event: str, **values: Any) -> None:
        """Appends an event."""
        # A newline before it too: a full disk may have cut the line before.
        line = "\n" + json.dumps({"time_s": time.time(), "event": event, **values}, default=str) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def reach(self, step: int, text: str = "") -> None:
        """Notes the newest step, and what people see beside it; costs some microseconds."""
        line = f"{step:{STEP_BYTES}d}{text[:TEXT_BYTES]:{TEXT_BYTES}}"
        descriptor = os.open(self._reached_path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, line.encode("ascii", "replace"), 0)
        finally:
            os.close(descriptor)

    def reached(self) -> int:
        """The newest step that rank 0 did, committed or not; 0 for a new run."""
        return self.shown()[0]

    def shown(self) -> tuple[int, str]:
        """The newest step, and the text beside it."""
        line = self._reached_path.read_text() if self._reached_path.exists() else ""
        return int(line[:STEP_BYTES] or 0), line[STEP_BYTES:].strip()

    def resume(self, step: int) -> None:
        """Notes that a group of workers goes on from a step, and the steps that are to be done again.

        What was reached is set back, or a group that dies before its first step would waste the same steps once more.
        """
        reached = self.reached()
        self.note("resumed", step=step, reached=reached, wasted_steps=max(0, reached - step))
        self.reach(step)

    def num_bytes(self) -> int:
        """How long it is: whether there are new events is cheap to ask."""
        return self.path.stat().st_size if self.path.exists() else 0

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """All events, or those of a name, in order."""
        if not self.path.exists():
            return []
        found = [_entry(line) for line in self.path.read_text().splitlines()]
        return [entry for entry in found if entry and (event is None or entry["event"] == event)]

    def survival(self) -> dict[str, int]:
        """{"restarts", "wasted_steps"} of the run so far."""
        resumed = self.events("resumed")
        return {
            "restarts": max(0, len(resumed) - 1), "wasted_steps": sum(entry["wasted_steps"] for entry in resumed),
        }  # fmt: skip


def _entry(line: str) -> dict[str, Any]:
    """Of a whole line; {} of any other."""
    try:
        found: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found
