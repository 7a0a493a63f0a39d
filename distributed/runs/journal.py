"""Journal: what happened to a run through all its crashes, and how far it had come.

    <run>/journal.jsonl   events (event_log.py): driver, group, resumed, stepped, downstream, validated, committed, failure, gave_up, interrupted,
                          finished
    <run>/reached         the newest step of rank 0 and a text for people, overwritten at each step

Steps that a kill wasted follow from it, and the seconds to detect it, to start workers again, to load and to do the next step.
"""

from __future__ import annotations

import os
from pathlib import Path

from distributed.runs.event_log import EventLog

STEP_BYTES, TEXT_BYTES = 20, 200


class Journal(EventLog):
    """The journal of one run.

    Args:
        folder: The run's folder, on storage that all nodes see; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "journal.jsonl")
        self._reached_path = folder / "reached"

    def reach(self, step: int, text: str = "") -> None:
        """Notes the newest step, and what people see beside it; takes some microseconds."""
        line = f"{step:{STEP_BYTES}d}{text[:TEXT_BYTES]:{TEXT_BYTES}}"
        descriptor = os.open(self._reached_path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, line.encode("ascii", "replace"), 0)
        finally:
            os.close(descriptor)

    def reached(self) -> int:
        """Returns the newest step that rank 0 did, committed or not; 0 for a new run."""
        return self.shown()[0]

    def shown(self) -> tuple[int, str]:
        """Returns the newest step and the text beside it."""
        line = self._reached_path.read_text() if self._reached_path.exists() else ""
        return int(line[:STEP_BYTES] or 0), line[STEP_BYTES:].strip()

    def resume(self, step: int) -> None:
        """Notes that a group of workers goes on from a step, and the steps that are to be done again.

        The newest step is set back, or a group that dies before its first step would waste the same steps once more.
        """
        reached = self.reached()
        self.append("resumed", step=step, reached=reached, wasted_steps=max(0, reached - step))
        self.reach(step)

    def survival(self) -> dict[str, int]:
        """Returns {"restarts", "wasted_steps"} of the run so far."""
        resumed = self.events("resumed")
        return {"restarts": max(0, len(resumed) - 1), "wasted_steps": sum(entry["wasted_steps"] for entry in resumed)}
