"""Progress that people see: a bar with losses on the driver, read from where rank 0 notes them (journal.py), and lines of what happens.

Through a file and not an actor: any process of a Ray session, even an idle one, wakes up a hundred times a second, on a core that trains.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from distributed.runs.journal import Journal
from distributed.runs.watch import Watch

POLL_INTERVAL_S = 0.5

console = Console(stderr=True)
"""Bars, tables and messages go to stderr; stdout is for results (`--json`)."""


def say(message: str) -> None:
    """One line for people, as it is: a path or an error may have brackets, and is copied from a log in one piece."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def bar() -> Progress:
    """A progress bar: description, bar, count, rate text, times. Off a terminal it prints nothing until it ends."""
    return Progress(
        TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=console, refresh_per_second=4,
        auto_refresh=sys.stderr.isatty(), transient=not sys.stderr.isatty(),
    )  # fmt: skip


def loss_text(metrics: Mapping[str, float]) -> str:
    """row 0.51 link 0.62 context 0.60"""
    names = {k.split("/")[-1]: v for k, v in metrics.items()}
    return " ".join(f"{level} {names[level]:.3f}" for level in ("row", "link", "context") if level in names)


@contextmanager
def watched(description: str, max_steps: int, journal: Journal) -> Iterator[None]:
    """Shows a run's progress while the body runs, and what happens to the run (watch.py); off a terminal as lines of a log."""
    done, watch = threading.Event(), Watch(journal)

    def poll(progress: Progress, task: Any) -> None:
        while not done.wait(POLL_INTERVAL_S):
            step, text = journal.shown()
            progress.update(task, completed=step, text=text or "starting workers")
            for line in watch.look():
                say(line)
            if not console.is_terminal and (progress_line := watch.progress_line(step, max_steps, text)):
                say(progress_line)

    with bar() as progress:
        task = progress.add_task(description, total=max_steps, text="starting workers")
        thread = threading.Thread(target=poll, args=(progress, task), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            step, text = journal.shown()
            progress.update(task, completed=step, text=text)
