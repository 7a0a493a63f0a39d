"""Progress of fine-tuning runs on the screen, read from their journals: a bar for each on a terminal, and in a log a line for each every 30 seconds.

    churn finetuned: training, step 120 of at most 600 (20%), loss 0.53, val roc_auc 0.7, best 0.71 at step 100, 3,400 labels/s, 95 s; then refit

Promises: the runs may be in this process or in others that write to the same storage; watching them changes none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.progress import Progress, TaskID

from distributed.console import bar, console, say
from distributed.runs.journal import Journal
from distributed.runs.watch import LOG_INTERVAL_S, event_line, polled


@contextmanager
def watched_finetuning(journals: Mapping[str, Journal], *, has_bar: bool = True) -> Iterator[None]:
    """Shows runs while the body runs.

    Args:
        journals: By what the run is called.
        has_bar: Whether there are bars on a terminal; without, there are lines on it, too.
    """
    with bar() if has_bar else nullcontext() as progress:  # a caller may have a bar of its own: there is place for one
        runs = [_Watched(name, journal, progress) for name, journal in journals.items()]

        def look() -> None:
            for run in runs:
                run.look()

        with polled(look):
            yield


class _Watched:
    """One run."""

    def __init__(self, name: str, journal: Journal, progress: Progress | None) -> None:
        self.name, self.journal, self.progress = name, journal, progress
        self.seen = len(journal.events())  # what is from before is not shown again
        self.phase: dict[str, Any] | None = None
        self.logged_s = time.monotonic() - LOG_INTERVAL_S
        self.shown: TaskID | None = None if progress is None else progress.add_task(name, total=None, text="starting")

    def look(self) -> None:
        """Shows what is new."""
        events = self.journal.events()
        for event in events[self.seen :]:
            if event["event"] == "phase":
                self.phase, self.logged_s = event, time.monotonic() - LOG_INTERVAL_S
            elif line := event_line(event):
                say(f"{self.name}: {line}")
        self.seen = len(events)
        if self.phase is None:
            return
        step, text = self.journal.shown()
        if self.progress is not None and self.shown is not None:
            what = f"{self.name}: {self.phase['name']}"
            self.progress.update(
                self.shown, description=what, completed=step, total=self.phase["steps"] or None, text=text
            )
        has_lines = self.progress is None or not console.is_terminal
        if has_lines and text and time.monotonic() - self.logged_s >= LOG_INTERVAL_S:
            say(f"{self.name}: {progress_line(self.phase, step, text, time.time())}")
            self.logged_s = time.monotonic()


def progress_line(phase: Mapping[str, Any], step: int, text: str, now_s: float) -> str:
    """Returns what is going on, in a line.

    Args:
        phase: Event of a FinetuningJournal.
        step, text: The newest step, and what the journal says of it.
        now_s: UNIX time.
    """
    parts = [phase["name"]]
    if phase["steps"]:
        parts.append(f"step {step:,} of at most {phase['steps']:,} ({step / phase['steps']:.0%})")
    line = ", ".join([*parts, text, f"{now_s - phase['time_s']:.0f} s"])
    return line + (f"; then {', '.join(phase['then'])}" if phase["then"] else "")
