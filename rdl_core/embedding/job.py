"""All the rows of a table embedded into a folder, part by part: the work that any process can do a share of.

Promises: what is refused is refused before a part is written; which process writes a part changes no byte of it (on one kind of device).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import relbench
import torch
from relbench.load import RelBenchDataset

from rdl_core.checkpoint_files import weights_digest
from rdl_core.config import TemporalSamplingConfig
from rdl_core.database.dataset import dataset_folder
from rdl_core.database.source_keys import read_source_keys
from rdl_core.embedding.folder import EMBEDDING, ROWS_PER_PART, TIME, AboutEmbeddings, EmbeddingsFolder
from rdl_core.embedding.questions import questions_at, questions_at_own_times
from rdl_core.embedding.row_embedder import RowEmbedder
from rdl_core.graph.store import open_store
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.place import Place
from rdl_core.problems import InputError

ROW = "row"
"""Names rows by their numbers, where keys are not asked for."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingJob:
    """The order of what to embed, where from and where to; it travels to workers.

    Args:
        data: A validated dataset.
        store: Its store.
        checkpoint: Folder of a pretrained or fine-tuned model.
        table: The table.
        out: Folder that the embeddings go to.
        sampling: Form of the trees.
        seed: What trees are drawn from.
        at_s: UNIX seconds before which is looked; None for just after the last row, or with `each_row_at`.
        each_row_at: Column of the table with each row's time.
        row_numbers: Name rows by their numbers in db/<table>.parquet instead of by a key.
        rows_per_part: Rows of the table to a part.
    """

    data: Place
    store: Place
    checkpoint: str
    table: str
    out: str
    sampling: TemporalSamplingConfig
    seed: int = 0
    at_s: int | None = None
    each_row_at: str | None = None
    row_numbers: bool = False
    rows_per_part: int = ROWS_PER_PART

    def __post_init__(self) -> None:
        if self.at_s is not None and self.each_row_at is not None:
            raise ValueError("--at and --each-row-at are two ways to say when; give one")


class Embedding:
    """A job, opened in one process.

    Args:
        job: The job.
        device: Where the backbone computes.

    Raises:
        ValueError: As of RowEmbedder, `questions_at`, `questions_at_own_times` and `row_names`.
        FileNotFoundError: There is no such store or checkpoint.
    """

    def __init__(self, job: EmbeddingJob, device: torch.device | None = None) -> None:
        dataset, store = relbench.load_dataset(dataset_folder(job.data)), open_store(job.store)
        self._names = row_names(dataset, job.table, row_numbers=job.row_numbers)
        self._embed = RowEmbedder(
            store, from_pretrained(job.checkpoint), job.table, job.sampling, seed=job.seed, device=device
        )
        at_s = job.at_s
        if job.each_row_at is not None:
            self.questions = questions_at_own_times(dataset, store.graph, job.table, job.each_row_at)
        else:
            at_s = store.graph.after_last_row_s if at_s is None else at_s
            self.questions = questions_at(store.graph, job.table, at_s)
        self.about = AboutEmbeddings(
            table=job.table,
            key_columns=tuple(self._names.column_names),
            num_rows=store.graph.num_rows(job.table),
            channels=self._embed.channels,
            model=weights_digest(job.checkpoint),
            store=store.content_hash,
            at_s=at_s,
            each_row_at=job.each_row_at,
            sampling=job.sampling,
            seed=job.seed,
            rows_per_part=job.rows_per_part,
        )
        self._out = Path(job.out)

    def begin(self) -> EmbeddingsFolder:
        """Returns the folder of the job, begun.

        Raises:
            FileExistsError: It holds the embeddings of another run, or something else.
        """
        return EmbeddingsFolder.begin(self._out, self.about)

    def write_part(self, part: int) -> int:
        """Embeds and writes the rows of one part; returns how many these are."""
        asked = self.questions.between(*self.about.rows_of(part))
        vectors = self._embed(asked.rows, asked.time_s)
        EmbeddingsFolder(self._out, self.about).write_part(part, self._names.take(asked.rows), asked.time_s, vectors)
        return len(asked.rows)


def row_names(dataset: RelBenchDataset, table: str, *, row_numbers: bool = False) -> pa.Table:
    """Returns what rows of a table are called, in row order: their key in the source, or on demand `row`, their number.

    Raises:
        InputError: There is no such table, it has no key of its own, or a key is called as a column of embeddings is.
    """
    if row_numbers and table in dataset.manifest.tables:
        num_rows = pq.read_metadata(dataset.db_dir / f"{table}.parquet").num_rows
        return pa.table({ROW: np.arange(num_rows)})
    remedy = f"--row-numbers names rows by their numbers in db/{table}.parquet"
    if table in dataset.manifest.tables and dataset.manifest.tables[table].pkey is None:
        raise InputError(f"table {table!r} has no key of its own, so its rows have no names.\nRemedy: {remedy}")
    names = read_source_keys(dataset, table)
    if clash := {TIME, EMBEDDING} & set(names.column_names):
        raise InputError(
            f"the key of table {table!r} has a column {min(clash)!r}, which is one of embeddings, too.\nRemedy: {remedy}"
        )
    return names
