"""Callbacks of a pretraining in Ray Train's controller: CommitCopies keeps the copy of each commit, GiveUp ends a run that would fail again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train

from distributed.runs.commits import committed_step, copy_commit
from distributed.runs.journal import Journal
from distributed.training.failures import (
    MAX_FAILURES_WITHOUT_PROGRESS,
    RunFailedError,
    describe,
    first_error,
    may_be_machine,
    never_passes,
    notes_of,
)


class CommitCopies(ray.train.UserCallback):
    """Copies Ray Train's snapshot after each commit (commits.py).

    Args:
        train_folder: <run>/train.
    """

    def __init__(self, train_folder: Path) -> None:
        self.train_folder = train_folder

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Ray calls this after it has written the snapshot with this checkpoint; `metrics` are those of the ranks."""
        if checkpoint is not None:
            copy_commit(self.train_folder, metrics[0]["checkpoint_step"])


class GiveUp(ray.train.UserCallback):
    """Ends a run whose failure would come again.

    Args:
        run_folder: Folder of the run, with its journal.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        self.failures, self.step, self.last = 0, -1, ""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Ray calls this at each failure of workers.

        Raises:
            RunFailedError: Trying again would be in vain; Ray Train then ends the run.
        """
        rank, error = first_error(worker_exceptions)
        text, step, journal = describe(error), committed_step(self.run_folder / "train"), Journal(self.run_folder)
        journal.append("failure", rank=rank, error=text, committed_step=step)
        self.failures = self.failures + 1 if step == self.step else 1
        is_same_again = (text, step) == (self.last, self.step) and not may_be_machine(error)
        self.step, self.last = step, text
        if never_passes(error) or is_same_again or self.failures >= MAX_FAILURES_WITHOUT_PROGRESS:
            why = "" if never_passes(error) else f" ({self.failures} failures in a row without a new checkpoint)"
            journal.append("gave_up", error=f"rank {rank}: {text}{why}")
            raise RunFailedError(
                f"rank {rank}: {text}{why}\n{notes_of(error)}The last good checkpoint is of step {step}."
            )
