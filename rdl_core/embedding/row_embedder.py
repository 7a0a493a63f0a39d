"""The vectors of a table's rows, by a pretrained or fine-tuned backbone.

Promises: a vector is a function of the model, the store, the row and the time: of trees that hold rows strictly before the time, drawn by the row's
number and the time. Batches and workers change nothing but the last bits, and not even these where the batches are the same.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import collate_trees
from rdl_core.config import TemporalSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.problems import InputError
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.inputs import EVALUATION_EPOCH, question_numbers

NODES_PER_BATCH = 1 << 19
"""Nodes of a batch's trees, if each row has as many children by one key as are wanted."""
MOST_ROWS_PER_BATCH = 2048


class RowEmbedder:
    """Embeds the rows of one table.

    Args:
        store: An open store.
        checkpoint: A pretrained or fine-tuned model.
        table: The table.
        sampling: Form of the trees.
        seed: What trees are drawn from, where the strategy draws.
        device: Where the backbone computes.

    Raises:
        ValueError: The model's schema is not the store's, there is no such table, or the model was trained on no row of it.
    """

    def __init__(
        self,
        store: Store,
        checkpoint: Checkpoint,
        table: str,
        sampling: TemporalSamplingConfig,
        *,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        checkpoint.require_same_schema(store)
        if table not in store.schema.tables:
            raise InputError(f"the store has no table {table!r}; its tables: {', '.join(store.schema.tables)}")
        self.store, self.table, self.device = store, table, device or torch.device("cpu")
        self.encoder = checkpoint.encoder().to(self.device).eval()
        _refuse_unread_columns(self.encoder, table)
        self._inputs = QuestionInputs(store, self.encoder.config)
        widths = {t: width for t, width in self.encoder.columns_widths.items() if t == table}
        self._inputs.require_same_widths(self.encoder.statistics_widths, widths)
        self._sampling = TemporalSampling(store.graph, sampling, seed=seed)
        nodes = sum(math.prod(sampling.num_neighbors[:hops]) for hops in range(len(sampling.num_neighbors) + 1))
        self._rows_per_batch = max(1, min(NODES_PER_BATCH // nodes, MOST_ROWS_PER_BATCH))

    @property
    def channels(self) -> int:
        return self.encoder.config.channels

    def __call__(self, rows: NDArray[np.int64], time_s: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the vectors of rows at times: float32 [rows, channels].

        Args:
            rows: int64 [rows], of the table.
            time_s: int64 [rows], UNIX seconds; all that is seen but the row itself exists strictly before.
        """
        out = np.empty((len(rows), self.channels), np.float32)
        if not len(rows):
            return out
        columns = self._inputs.columns(self.table, rows, time_s)
        with torch.inference_mode():
            for begin in range(0, len(rows), self._rows_per_batch):
                part = slice(begin, begin + self._rows_per_batch)
                out[part] = self._batch(rows[part], time_s[part], None if columns is None else columns[part])
        return out

    def _batch(
        self, rows: NDArray[np.int64], time_s: NDArray[np.int64], columns: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        store = self.store
        numbers = question_numbers(rows, time_s)  # as predictions do
        trees = self._sampling.sample(self.table, rows, time_s, epoch=EVALUATION_EPOCH, numbers=numbers)
        batch = collate_trees(trees, time_s, store.graph, store.features, inputs=self._inputs, columns=columns)
        return self.encoder.embed(batch.to(self.device)).float().cpu().numpy()


def _refuse_unread_columns(encoder: RelationalEncoder, table: str) -> None:
    """Raises InputError if the backbone reads columns of the rows that it embeds, and has learned to read none of this table's."""
    if encoder.config.columns is not None and table not in encoder.columns_widths:
        raise InputError(
            f"the model reads columns of the rows that it embeds, and was pretrained on none of {table!r}, to which no key leads; "
            f"it embeds {', '.join(encoder.columns_widths)}.\nRemedy: one of these tables; or a model without columns: "
            "`rdl pretrain --preset contrast`"
        )
