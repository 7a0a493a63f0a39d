"""The failures of a run that are tried again, and what people read when one is not.

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

import ray.exceptions
from ray.train import TrainingFailedError

from distributed.cluster.ray_internals import INNER_ERRORS


class SamplingFailedError(RuntimeError):
    """A sampling task raised; the text is its error's type and message."""


class RunFailedError(RuntimeError):
    """The one error that ended a run; its text is for people: rank, error, where, remedy."""


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
"""Words in messages of torch.distributed that mean that another rank went away."""


def first_error(worker_exceptions: Mapping[int, Exception]) -> tuple[int, Exception]:
    """Returns (rank, error) of the rank that failed first; others fail in consequence."""
    ranks = sorted(worker_exceptions, key=lambda rank: (_is_consequence(worker_exceptions[rank]), rank))
    return ranks[0], worker_exceptions[ranks[0]]


def innermost_error(error: BaseException) -> BaseException:
    """Returns the error that Ray's wrappings hold."""
    while True:
        values = [getattr(error, name, None) for name in INNER_ERRORS]
        inner = next((value for value in values if isinstance(value, BaseException)), None)
        if inner is None:
            return error
        error = inner


def error_of_task(error: Exception) -> Exception:
    """Returns the error of a sampling task as a SamplingFailedError if our code raised it; any other as it is.

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
    """Returns whether an error would come again."""
    error = innermost_error(error)
    return isinstance(error, NEVER_PASSES) or (isinstance(error, OSError) and error.errno in FULL)


def may_be_machine(error: BaseException) -> bool:
    """Returns whether a machine that died may be behind an error, on this rank or another."""
    return _is_machine(innermost_error(error)) or _is_consequence(error)


def describe(error: BaseException) -> str:
    """Returns type and message: "FloatingPointError: pretraining loss is not finite: ..."."""
    error = innermost_error(error)
    text = str(error).strip()
    if _is_machine(error):  # Ray goes on for many lines about what might have been
        text = text.split("\n")[0]
    return f"{type(error).__name__}: {text}"


def add_place(error: BaseException, rank: int, step: int, last: traceback.FrameSummary) -> None:
    """Notes on an error where it was raised: Ray Train gives the controller the error without its traceback."""
    error.add_note(
        f"raised on rank {rank} after step {step}, at {Path(last.filename).name}:{last.lineno} in {last.name}"
    )


def notes_of(error: BaseException) -> str:
    """Returns the notes that the worker left on the error (`add_place`), one per line."""
    return "".join(f"{note}\n" for note in getattr(innermost_error(error), "__notes__", ()))


def last_screen(error: BaseException) -> str:
    """Returns what people read of a failed run: the first error of the failing rank."""
    inner = innermost_error(error)
    if isinstance(inner, RunFailedError):
        return str(inner)
    if isinstance(error, TrainingFailedError) and getattr(error, "worker_failures", None):
        rank, first = first_error(error.worker_failures)  # type: ignore[attr-defined]
        return f"rank {rank}: {describe(first)}\n{notes_of(first)}"
    return describe(error)


def _is_machine(error: BaseException) -> bool:
    machine = isinstance(error, ray.exceptions.RayError | ConnectionError)
    return machine and not isinstance(error, ray.exceptions.RayTaskError)


def _is_consequence(error: BaseException) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in IN_CONSEQUENCE)
