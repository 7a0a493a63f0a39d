"""A trial that makes no step for too long ends its own process, and with it all that the process owns; hang.txt says where it stood.

What is watched is a trial's steps: of one in its own process by calls, of a Ray Train run by its journal, since its workers are elsewhere.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed.runs.journal import Journal

START_UP_LIMIT_S = 240.0
"""At least so long may a group of Ray Train workers take from its start to its first step; kernels compile and a validation lies in it."""
POLL_INTERVAL_S = 1.0
STARTS = ("driver", "failure", "group", "resumed")
"""Events of a journal after which a group of workers has its first step still before it; `stepped` tells of that."""


@contextmanager
def ended_when_hung(path: Path, after_s: float) -> Iterator[Callable[[], None]]:
    """Yields what must be called more often than every `after_s`; else all threads' places are written to `path` and the process ends.

    The watch is a thread of the interpreter's C code, so that a loop that never gives up the interpreter's lock is seen too.
    """
    with path.open("w") as file:

        def alive() -> None:
            faulthandler.dump_traceback_later(after_s, exit=True, file=file)

        alive()
        try:
            yield alive
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def ended_when_silent(folder: Path, after_s: float) -> Iterator[None]:
    """Ends this process, which waits for a Ray Train run in `folder`, when the run's journal says nothing new for `after_s`.

    Ray ends the controller with its owner, and the workers with the controller.
    """
    done = threading.Event()
    threading.Thread(target=_watch, args=(folder, after_s, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(folder: Path, after_s: float, done: threading.Event) -> None:
    journal, changed_s = Journal(folder), time.monotonic()
    before = len(journal.events())
    seen = before, journal.reached()
    while not done.wait(min(POLL_INTERVAL_S, after_s / 4)):
        events = journal.events()
        if (now := (len(events), journal.reached())) != seen:
            seen, changed_s = now, time.monotonic()
        limit_s = after_s if _is_under_way([e["event"] for e in events[before:]]) else max(after_s, START_UP_LIMIT_S)
        if time.monotonic() - changed_s > limit_s:
            last = events[-1]["event"] if len(events) > before else "nothing"
            (folder / "hang.txt").write_text(f"step {journal.reached()}, {last!r} being the last word of its journal\n")
            os._exit(1)  # a thread cannot end it otherwise


def _is_under_way(events: list[str]) -> bool:
    started = max((i for i, event in enumerate(events) if event in STARTS), default=-1)
    return "stepped" in events[started + 1 :]
