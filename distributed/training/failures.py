"""When a failed run is tried again, and what people read when it is not.

Ray Train starts the workers again after any failure. That helps against a machine that died, and not against an error that will come again: since
a run is a function of its seed, an exception of our code comes back at the same step. So such a run ends at once, with the failing rank's own
error; the machine's failures (a dead worker or node, a lost connection) are retried as long as the run gets on.

Promises: every error that ends a run names rank and cause; the errors that other ranks have in consequence are not shown above it.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.exceptions
import ray.train
from ray.train import TrainingFailedError

from distributed.runs.commits import committed_step
from distributed.runs.journal import Journal


class SamplingFailedError(RuntimeError):
    """A sampling task raised; the text is its error's type and message."""


MAX_FAILURES_WITHOUT_PROGRESS = 5
"""Failures of machines in a row, without a new checkpoint between them, after which a run ends."""
NEVER_PASSES = (
    ArithmeticError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    SamplingFailedError,
    ImportError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)
"""Exceptions of our own code: the same seed gives them again."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
WRAPPED_IN = ("cause", "health_check_failure", "controller_failure")
"""Attributes of Ray's exceptions that hold another one."""
CHAINED = "The above exception was the direct cause"
"""Python's words between an exception in a traceback and the one raised from it."""
IN_CONSEQUENCE = (
    "connection closed by peer",
    "connection reset",
    "connection refused",
    "broken pipe",
    "nccl",
    "timed out waiting",
)
"""In messages of torch.distributed: another rank went away."""


class RunFailedError(RuntimeError):
    """The one error that ended a run; its text is for people: rank, error, where, remedy."""


class GiveUp(ray.train.UserCallback):
    """Ends a run whose failure would come again; runs in Ray Train's controller.

    Args:
        run_folder: Where the journal is.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        self.failures, self.step, self.last = 0, -1, ""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called at each failure of workers.

        Raises:
            RunFailedError: Trying again would be in vain; Ray Train then ends the run.
        """
        rank, error = first_error(worker_exceptions)
        text, step = describe(error), committed_step(self.run_folder / "train")
        Journal(self.run_folder).note("failure", rank=rank, error=text, committed_step=step)
        self.failures = self.failures + 1 if step == self.step else 1
        from_machine = _is_machine(cause(error)) or _is_consequence(error)
        again = (text, step) == (self.last, self.step) and not from_machine
        self.step, self.last = step, text
        if never_passes(error) or again or self.failures >= MAX_FAILURES_WITHOUT_PROGRESS:
            why = "" if never_passes(error) else f" ({self.failures} failures in a row without a new checkpoint)"
            Journal(self.run_folder).note("gave_up", error=f"rank {rank}: {text}{why}")
            raise RunFailedError(f"rank {rank}: {text}{why}\n{where(error)}The last good checkpoint is of step {step}.")


def first_error(worker_exceptions: Mapping[int, Exception]) -> tuple[int, Exception]:
    """(rank, error) of the rank that failed first; others fail in consequence."""
    ranks = sorted(worker_exceptions, key=lambda rank: (_is_consequence(worker_exceptions[rank]), rank))
    return ranks[0], worker_exceptions[ranks[0]]


def cause(error: BaseException) -> BaseException:
    """The innermost error, out of Ray's wrappings."""
    while True:
        inner = next(
            (i for i in (getattr(error, name, None) for name in WRAPPED_IN) if isinstance(i, BaseException)), None
        )
        if inner is None:
            return error
        error = inner


def out_of_task(error: Exception) -> Exception:
    """The error of a sampling task as one of ours, if our code raised it; any other as it is.

    Ray Data wraps what a task raises in an exception of its own and keeps only its text, in a traceback that is lost on the way from the worker to
    the controller. So this must be done on the worker.
    """
    if not isinstance(error, ray.exceptions.RayTaskError):
        return error
    lines = str(error).split(CHAINED)[0].strip().splitlines()
    last_frame = max((i for i, line in enumerate(lines) if line.startswith("  ")), default=-1)
    text = "\n".join(lines[last_frame + 1 :]).strip()
    if text.startswith("ray.exceptions.") or _is_consequence(error):  # a shard that died comes back
        return error
    return SamplingFailedError(text)


def never_passes(error: BaseException) -> bool:
    """Whether an error would come again."""
    error = cause(error)
    return isinstance(error, NEVER_PASSES) or (isinstance(error, OSError) and error.errno in FULL)


def describe(error: BaseException) -> str:
    """FloatingPointError: pretraining loss is not finite: ..."""
    error = cause(error)
    text = str(error).strip()
    if _is_machine(error):  # Ray goes on for many lines about what might have been
        text = text.split("\n")[0]
    return f"{type(error).__name__}: {text}"


def where(error: BaseException) -> str:
    """The notes that the worker left on the error (`with_place`)."""
    return "".join(f"{note}\n" for note in getattr(cause(error), "__notes__", ()))


def with_place(error: BaseException, rank: int, step: int, last: traceback.FrameSummary) -> None:
    """Notes on an error where it was raised: Ray Train gives the controller the error without its traceback."""
    error.add_note(
        f"raised on rank {rank} after step {step}, at {Path(last.filename).name}:{last.lineno} in {last.name}"
    )


def last_screen(error: BaseException) -> str:
    """What people read of a failed run: the first error of the failing rank."""
    inner = cause(error)
    if isinstance(inner, RunFailedError):
        return str(inner)
    if isinstance(error, TrainingFailedError) and getattr(error, "worker_failures", None):
        rank, first = first_error(error.worker_failures)  # type: ignore[attr-defined]
        return f"rank {rank}: {describe(first)}\n{where(first)}"
    return describe(error)


def _is_machine(error: BaseException) -> bool:
    return isinstance(error, ray.exceptions.RayError | ConnectionError) and not isinstance(
        error, ray.exceptions.RayTaskError
    )


def _is_consequence(error: BaseException) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in IN_CONSEQUENCE)
