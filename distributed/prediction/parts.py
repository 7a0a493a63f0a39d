"""Predictions in parts: each a file of the run's folder, written by this process or by Ray Data tasks, and there whole or not at all.

    <run>/parts/<number>.parquet    rows number * part_rows to (number + 1) * part_rows of what is asked

Promises: a part that is there is not computed again, so that a stopped command goes on; a part is a function of the model, the data and the
questions alone, so that any number of workers writes the same bytes. Memory: one part in each process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from distributed.cluster.parts import write_parts
from rdl_core.atomic_write import replace_file
from rdl_core.place import Place
from rdl_core.prediction import Predictor

PART_ROWS = 1 << 14
"""Rows of a part."""


@dataclass(frozen=True)
class PredictionJob:
    """All that the workers of a run need to know.

    Args:
        checkpoint: Folder of the model.
        data, store: The dataset and its store.
        folder: Folder of the parts, which all workers see; it holds questions.npy, int64 [2, questions]: rows and UNIX seconds.
        head: The head that predicts; None for the model's default.
        coverage: Of intervals.
        part_rows: Rows of a part.
    """

    checkpoint: str
    data: Place
    store: Place
    folder: str
    head: str | None
    coverage: float
    part_rows: int

    @property
    def questions_path(self) -> Path:
        return Path(self.folder) / "questions.npy"

    def part_path(self, part: int) -> Path:
        """Returns the file of a part."""
        return Path(self.folder) / f"{part:06d}.parquet"

    def open(self) -> Predictor:
        """Returns the predictor as every process of the run opens it: on one thread, so that sums do not depend on the cores."""
        torch.set_num_threads(1)
        return Predictor.load(
            self.checkpoint,
            self.data,
            store=self.store,
            device="cuda" if torch.cuda.is_available() else "cpu",
            head=self.head,
            coverage=self.coverage,
        )


def begin(job: PredictionJob, rows: NDArray[np.int64], time_s: NDArray[np.int64]) -> list[int]:
    """Writes what is asked into the job's folder; returns the numbers of all parts."""
    with replace_file(job.questions_path) as beside, beside.open("wb") as file:
        np.save(file, np.stack([rows, time_s]))
    return list(range(-(-len(rows) // job.part_rows)))


def write_part(predictor: Predictor, job: PredictionJob, part: int) -> int:
    """Predicts and writes one part; returns its number of rows."""
    own = slice(part * job.part_rows, (part + 1) * job.part_rows)
    rows, time_s = np.load(job.questions_path, mmap_mode="r")[:, own].copy()
    table = predictor.table(rows, time_s, predictor.predict_rows(rows, time_s))
    about = {"model": predictor.model_hash, "data": predictor.data_hash}
    for name, value in about.items():
        table = table.append_column(name, pa.array([value] * len(table)).dictionary_encode())
    with replace_file(job.part_path(part)) as beside:
        pq.write_table(table, beside, compression="zstd")
    return len(table)


def write_here(predictor: Predictor, job: PredictionJob, parts: Sequence[int]) -> Iterator[int]:
    """Writes parts in this process; yields the number of rows of each."""
    for part in parts:
        yield write_part(predictor, job, part)


def write_in_parallel(job: PredictionJob, parts: Sequence[int], workers: int) -> Iterator[int]:
    """Writes parts by Ray Data tasks, so many at a time; yields the number of rows of each. All paths of the job are absolute."""
    for row in write_parts(partial(_write_there, job), parts, workers):
        yield int(row["rows"])


def _write_there(job: PredictionJob, part: int) -> dict[str, int]:
    return {"rows": write_part(_opened(job), job, part)}


@lru_cache(maxsize=1)
def _opened(job: PredictionJob) -> Predictor:
    return job.open()
