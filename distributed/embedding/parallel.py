"""The parts of an embedding job written by this process, or by Ray Data tasks: only numbers of parts travel, and each process opens the job once."""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from distributed.cluster.parts import write_parts
from distributed.training.finetune import absolute
from rdl_core.embedding import Embedding, EmbeddingJob


@dataclass(frozen=True)
class WrittenPart:
    """A part that is written.

    Args:
        rows: How many rows it has.
        process: Which process wrote it.
        peak_rss_bytes: The most memory that this process had resident so far.
    """

    rows: int
    process: str
    peak_rss_bytes: int


def write_here(embedding: Embedding, parts: Sequence[int]) -> Iterator[WrittenPart]:
    """Writes parts in this process, one after the other."""
    for part in parts:
        yield _written(embedding.write_part(part))


def write_in_parallel(job: EmbeddingJob, parts: Sequence[int], workers: int) -> Iterator[WrittenPart]:
    """Writes parts by Ray tasks, so many at a time; yields each as it is done. The folder of the job is begun, and every node sees it."""
    for row in write_parts(partial(_write_there, for_workers(job)), parts, workers):
        yield WrittenPart(**row)


def for_workers(job: EmbeddingJob) -> EmbeddingJob:
    """Returns the job for workers, which start in folders of their own: its paths absolute, its names on the hub as they are."""
    return dataclasses.replace(
        job,
        data=absolute(job.data),
        store=absolute(job.store),
        checkpoint=str(absolute(job.checkpoint)),
        out=str(Path(job.out).resolve()),
    )


def _write_there(job: EmbeddingJob, part: int) -> dict[str, Any]:
    return dataclasses.asdict(_written(_opened(job).write_part(part)))


@lru_cache(maxsize=1)
def _opened(job: EmbeddingJob) -> Embedding:
    return open_here(job)


def open_here(job: EmbeddingJob) -> Embedding:
    """Returns the job opened as every process opens it: on one thread, so that sums do not depend on the cores, and on a GPU if there is one."""
    torch.set_num_threads(1)
    return Embedding(job, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def peak_rss_bytes() -> int:
    """Returns the most memory that this process had resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _written(rows: int) -> WrittenPart:
    return WrittenPart(rows, f"{os.uname().nodename}:{os.getpid()}", peak_rss_bytes())
