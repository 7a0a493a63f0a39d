"""Ctrl-C: a run that a person ends says so, in its journal and on the screen, and keeps what it has.

Ray Train's own handler for SIGINT ends controller and workers, and then the driver, without a word and with status 1; and it stays in place after the
run. Ours ends controller and workers in the same way, raises KeyboardInterrupt with how far the run was, and goes when the run does.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import ray
import ray.train.torch
from ray.exceptions import RayActorError

from distributed.runs.commits import committed_step
from distributed.runs.journal import Journal


class InterruptibleTrainer(ray.train.torch.TorchTrainer):
    """A TorchTrainer whose `fit` raises KeyboardInterrupt at a Ctrl-C, after controller and workers have ended."""

    def fit(self) -> ray.train.Result:
        """As Ray's; the handler of before is back afterwards."""
        handler = signal.getsignal(signal.SIGINT)
        try:
            return super().fit()
        finally:
            if threading.current_thread() is threading.main_thread():  # others get no signals, and may set no handler
                signal.signal(signal.SIGINT, handler)

    def _register_sigint_handler(
        self, controller: Any
    ) -> None:  # Ray calls it on the main thread, with the controller made
        is_aborting = False

        def abort(number: int, frame: FrameType | None) -> None:
            nonlocal is_aborting
            if not is_aborting:  # who presses it again does not wait for them
                is_aborting = True
                with suppress(RayActorError):  # it ends itself
                    ray.get(controller.abort.remote())
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, abort)


@contextmanager
def interruptible(run_folder: Path, max_steps: int) -> Iterator[None]:
    """Journals a Ctrl-C while the body runs as "interrupted".

    Args:
        run_folder: Of a pretraining run.
        max_steps: Of the run, for the text.

    Raises:
        KeyboardInterrupt: Ctrl-C; "at step 120 of 2000; the same command goes on from step 100".
    """
    try:
        yield
    except KeyboardInterrupt:
        journal, step = Journal(run_folder), committed_step(run_folder / "train")
        journal.note("interrupted", step=journal.reached(), committed_step=step)
        raise KeyboardInterrupt(
            f"at step {journal.reached()} of {max_steps}; the same command goes on from step {step}"
        ) from None
