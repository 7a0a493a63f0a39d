"""Lines of a job's log while a run goes on: progress where there is no terminal, nodes that join and leave, restarts and why.

In: the run's journal, to which workers and Ray Train's controller write, and the cluster's nodes. Out: lines, in the order of what happened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from rich.progress import Progress

from distributed.console import bar, console, say
from distributed.runs.journal import Journal

POLL_INTERVAL_S = 0.5
"""Between looks at the journal, a file: any actor, even an idle one, wakes up a hundred times per second on a core that trains."""
LOG_INTERVAL_S = 30.0
"""Between lines of progress off a terminal."""
NODES_INTERVAL_S = 2.0
"""Between looks at the cluster's nodes; each asks the head once."""


class Watch:
    """What is new since the last look.

    Args:
        journal: Of the run; events from before are not shown again.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._num_bytes, self._num_seen = journal.num_bytes(), len(journal.events())
        self._nodes: dict[str, str] = {}
        self._looked_s = self._logged_s = float("-inf")
        self._step = 0
        self._failed_s: float | None = None

    def new_lines(self, nodes: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
        """Nodes that joined or left, and events of the run.

        Args:
            nodes: As `ray.nodes()` gives them; None: not asked.
        """
        if nodes is not None:
            yield from self._node_lines({n["NodeID"]: n["NodeManagerHostname"] for n in nodes if n["Alive"]})
        if (num_bytes := self.journal.num_bytes()) == self._num_bytes:
            return
        self._num_bytes, events = num_bytes, self.journal.events()
        for event in events[self._num_seen :]:
            yield from self._event_lines(event)
        self._num_seen = len(events)

    def look(self) -> Iterator[str]:
        """New lines, with the cluster's nodes every NODES_INTERVAL_S."""
        nodes = None
        if time.monotonic() - self._looked_s >= NODES_INTERVAL_S:
            self._looked_s = time.monotonic()
            try:
                nodes = ray.nodes()
            except RayError:  # the head does not answer: whoever depends on it says so
                nodes = None
        yield from self.new_lines(nodes)

    def progress_line(self, step: int, max_steps: int, text: str) -> str | None:
        """A line of progress, every LOG_INTERVAL_S in which there was some."""
        now_s = time.monotonic()
        if step == self._step or now_s - self._logged_s < LOG_INTERVAL_S:
            return None
        rate = (step - self._step) / (now_s - self._logged_s)  # 0 for the first line
        self._step, self._logged_s = step, now_s
        return f"step {step} of {max_steps} ({step / max_steps:.0%}) {text}" + (
            f" {rate:.1f} steps/s" if rate > 0 else ""
        )

    def _node_lines(self, nodes: dict[str, str]) -> Iterator[str]:
        joined = [name for node, name in nodes.items() if node not in self._nodes]
        left = [name for node, name in self._nodes.items() if node not in nodes]
        if not joined and not left:
            return
        if self._nodes:
            yield from (f"node {name} joined; the cluster has {len(nodes)}" for name in joined)
            yield from (f"node {name} left; the cluster has {len(nodes)}" for name in left)
        self._nodes = nodes
        self.journal.note("nodes", nodes=len(nodes), joined=joined, left=left)

    def _event_lines(self, event: Mapping[str, Any]) -> Iterator[str]:
        if event["event"] == "failure":
            self._failed_s = event["time_s"]
            yield f"failure on rank {event['rank']}: {' '.join(event['error'].split())}"
            yield f"the last checkpoint is of step {event['committed_step']}"
        elif event["event"] == "group":
            yield f"workers: {event['workers']}"
        elif event["event"] == "resumed" and event["step"] + event["wasted_steps"] > 0:
            yield f"going on from step {event['step']}; {event['wasted_steps']} steps are done again"
        elif event["event"] == "stepped" and self._failed_s is not None:
            yield f"training again, {event['time_s'] - self._failed_s:.0f} s after the failure"
            self._failed_s = None


@contextmanager
def watched(description: str, max_steps: int, journal: Journal) -> Iterator[None]:
    """Shows a run's progress while the body runs, and what happens to the run; off a terminal as lines of a log."""
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
