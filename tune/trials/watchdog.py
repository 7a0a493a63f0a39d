"""Watches over trials: ends the process of one that makes no step for too long, and frees the CPUs that an ended one leaves held.

A trial that hangs ends its own process, and with it all that the process owns; hang.txt says where it stood. The watch follows the trial's steps: by
calls where the trial trains in its own process, by the journal of a Ray Train run, whose workers are elsewhere.

Ray Train's own cleaner of such CPUs (one actor per run) works only beside a dashboard, which local sessions are without.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed.cluster.ray_internals import num_running_controllers, remove_orphaned_placement_groups
from distributed.runs.journal import Journal

START_UP_LIMIT_S = 240.0
"""Least time that a group of Ray Train workers gets from its start to its first step: kernels compile, and it validates once."""
POLL_INTERVAL_S = 1.0
STARTS = ("driver", "failure", "group", "resumed")
"""Events of a journal after which a group of workers has its first step still before it; `stepped` ends that."""
REMOVAL_INTERVAL_S = 1.0
END_LIMIT_S = 30.0
"""Longest wait for the processes of the last trials to end."""


@contextmanager
def ended_when_hung(path: Path, after_s: float) -> Iterator[Callable[[], None]]:
    """Yields a function to be called at least every `after_s`; else every thread's stack is written to `path` and the process ends.

    A thread of the interpreter's C code watches, so that a loop that never gives up the interpreter's lock is seen, too.
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
        limit_s = after_s if _has_stepped([e["event"] for e in events[before:]]) else max(after_s, START_UP_LIMIT_S)
        if time.monotonic() - changed_s > limit_s:
            last = events[-1]["event"] if len(events) > before else "nothing"
            (folder / "hang.txt").write_text(f"step {journal.reached()}, {last!r} being the last word of its journal\n")
            os._exit(1)  # a thread cannot end the process otherwise


def _has_stepped(events: list[str]) -> bool:
    started = max((i for i, event in enumerate(events) if event in STARTS), default=-1)
    return "stepped" in events[started + 1 :]


class OrphanedGroups:
    """Removes the placement groups that dead Ray Train runs of this driver leave held; see `remove_orphaned_placement_groups`."""

    def __init__(self) -> None:
        self._looked_s = 0.0

    def remove_often(self) -> None:
        """Removes them, at most once per REMOVAL_INTERVAL_S."""
        if time.monotonic() - self._looked_s > REMOVAL_INTERVAL_S:
            self._looked_s = time.monotonic()
            remove_orphaned_placement_groups()

    def remove_all(self) -> None:
        """Waits, at most END_LIMIT_S, until all runs have ended, and removes their groups."""
        end_s = time.monotonic() + END_LIMIT_S
        while num_running_controllers() and time.monotonic() < end_s:
            time.sleep(REMOVAL_INTERVAL_S / 4)
        remove_orphaned_placement_groups()
