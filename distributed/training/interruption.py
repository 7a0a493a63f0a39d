"""Ctrl-C: a run that a person ends says so, in its journal and on the screen, and keeps what it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed.runs.commits import committed_step
from distributed.runs.journal import Journal


@contextmanager
def interruptible(run_folder: Path, max_steps: int) -> Iterator[None]:
    """Journals a Ctrl-C while the body runs as "interrupted".

    Args:
        run_folder: Folder of a pretraining run.
        max_steps: Last step of the run, for the text.

    Raises:
        KeyboardInterrupt: Ctrl-C; "at step 120 of 2000; the same command goes on from step 100".
    """
    try:
        yield
    except KeyboardInterrupt:
        journal, step = Journal(run_folder), committed_step(run_folder / "train")
        journal.append("interrupted", step=journal.reached(), committed_step=step)
        raise KeyboardInterrupt(
            f"at step {journal.reached()} of {max_steps}; the same command goes on from step {step}"
        ) from None
