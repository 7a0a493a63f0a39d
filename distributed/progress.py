"""Progress that people see: a bar with losses on the driver, fed by rank 0 through a small actor, and lines of what happens."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from distributed.journal import Journal
from distributed.watch import Watch

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
        transient=not sys.stderr.isatty(),
    )  # fmt: skip


@ray.remote(num_cpus=0)
class ProgressBoard:
    """The latest (step, metrics, what) of a run; rank 0 writes, the driver reads."""

    def __init__(self) -> None:
        self._latest: tuple[int, dict[str, float], str] = (0, {}, "starting workers")

    def show(self, step: int, metrics: dict[str, float], what: str) -> None:
        self._latest = (step, metrics, what)

    def latest(self) -> tuple[int, dict[str, float], str]:
        return self._latest


def make_board() -> Any:
    """A board on the driver's node, so that no other node's death takes it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ProgressBoard.options(scheduling_strategy=here, max_restarts=-1).remote()  # type: ignore[attr-defined]


def _latest(board: Any) -> tuple[int, dict[str, float], str]:
    try:
        latest: tuple[int, dict[str, float], str] = ray.get(board.latest.remote())
    except RayActorError:  # the board is for looking at; a run does not depend on it
        return 0, {}, "progress lost"
    return latest


def loss_text(metrics: Mapping[str, float]) -> str:
    """row 0.51 link 0.62 context 0.60"""
    names = {k.split("/")[-1]: v for k, v in metrics.items()}
    return " ".join(f"{level} {names[level]:.3f}" for level in ("row", "link", "context") if level in names)


@contextmanager
def watched(board: Any, description: str, max_steps: int, journal: Journal) -> Iterator[None]:
    """Shows a board's progress while the body runs, and what happens to the run (watch.py); off a terminal as lines of a log."""
    done, watch = threading.Event(), Watch(journal)

    def poll(progress: Progress, task: Any) -> None:
        while not done.wait(POLL_INTERVAL_S):
            step, metrics, what = _latest(board)
            text = f"{what} {loss_text(metrics)}"
            progress.update(task, completed=step, text=text)
            for line in watch.look():
                say(line)
            if not console.is_terminal and (progress_line := watch.progress_line(step, max_steps, text)):
                say(progress_line)

    with bar() as progress:
        task = progress.add_task(description, total=max_steps, text="")
        thread = threading.Thread(target=poll, args=(progress, task), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            step, metrics, _ = _latest(board)
            progress.update(task, completed=step, text=loss_text(metrics))
