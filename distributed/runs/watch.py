"""Progress of a run on the driver's screen: a bar with rank 0's step and losses, and a line for each event that they should know of.

Read from the run's journal and not from an actor: any process of a Ray session, even an idle one, wakes up a hundred times a second, on a core that
trains. Off a terminal there is a line of progress every LOG_INTERVAL_S in place of the bar.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distributed.console import bar, console, say
from distributed.runs.journal import Journal

POLL_INTERVAL_S = 0.5
LOG_INTERVAL_S = 30.0


@contextmanager
def watched(description: str, max_steps: int, journal: Journal) -> Iterator[None]:
    """Shows a run's progress while the body runs."""
    seen = len(journal.events())  # events from before are not shown again
    logged_step, logged_s = 0, time.monotonic() - LOG_INTERVAL_S

    def look() -> None:
        nonlocal seen, logged_step, logged_s
        events, (step, text) = journal.events(), journal.shown()
        progress.update(task, completed=step, text=text or "starting workers")
        for line in filter(None, map(event_line, events[seen:])):
            say(line)
        seen = len(events)
        if not console.is_terminal and step != logged_step and time.monotonic() - logged_s >= LOG_INTERVAL_S:
            say(f"step {step} of {max_steps} ({step / max_steps:.0%}) {text}")
            logged_step, logged_s = step, time.monotonic()

    with bar() as progress:
        task = progress.add_task(description, total=max_steps, text="starting workers")
        with polled(look):
            yield


@contextmanager
def polled(look: Callable[[], None]) -> Iterator[None]:
    """Calls `look` in a thread every POLL_INTERVAL_S while the body runs, and once more when it is over."""
    done = threading.Event()

    def poll() -> None:
        is_over = False
        while not is_over:
            is_over = done.wait(POLL_INTERVAL_S)
            look()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def event_line(event: Mapping[str, Any]) -> str:
    """Returns an event of a journal in words, "" for one that says nothing to people."""
    match event["event"]:
        case "failure":
            error = " ".join(event["error"].split())
            return f"failure on rank {event['rank']}: {error}; the last checkpoint is of step {event['committed_step']}"
        case "group":
            return f"workers: {event['workers']}"
        case "resumed" if event["step"] + event["wasted_steps"] > 0:
            return f"going on from step {event['step']}; {event['wasted_steps']} steps are done again"
    return ""
