"""Ctrl-C on a fine-tuning run: it says so, in its journal and on the screen, and keeps what it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed.runs.journal import Journal
from rdl_core.finetuning import StateFile


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Journals a Ctrl-C while the body runs as "interrupted".

    Args:
        folder: Folder of the run's journal and state.

    Raises:
        KeyboardInterrupt: Ctrl-C; "in training at step 120; the same command goes on from step 100".
    """
    try:
        yield
    except KeyboardInterrupt:
        folder.mkdir(parents=True, exist_ok=True)
        journal, step = Journal(folder), StateFile(folder=folder).step()
        phases = [event["name"] for event in journal.events("phase")]
        journal.append("interrupted", step=journal.reached(), committed_step=step)
        raise KeyboardInterrupt(
            f"in {phases[-1] if phases else 'preparation'} at step {journal.reached()}; the same command goes on from step {step} of training"
        ) from None
