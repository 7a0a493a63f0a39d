"""Inputs of a link task's model: vectors of sources and destinations at one time, statistics of their pairs, and which destinations exist.

Promises: everything is strictly before the bound; a destination exists at a time if its row does strictly before; a row's
columns at a time are computed once where they fit into memory.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.config import BackboneConfig, FinetuningConfig, LinkConfig
from rdl_core.graph.store import Store
from rdl_core.links.pair_statistics import PairStatistics
from rdl_core.links.past_links import PastLinks
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.inputs import EVALUATION_EPOCH, question_numbers

MAX_COLUMNS_BYTES = 1 << 30
"""Columns of rows at times are kept up to this size."""


class KeptColumns:
    """Columns of rows at times, each computed once: questions of one time come again in every epoch, and destinations with each of them.

    Args:
        questions: What computes them.
    """

    def __init__(self, questions: QuestionInputs) -> None:
        self.questions = questions
        self._kept: dict[tuple[str, int], tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self._num_bytes = 0

    def __call__(self, table: str, rows: NDArray[np.int64], before_s: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Returns the columns of rows before times: float32 [rows, width], NaN where undefined; None where the backbone reads none."""
        width = self.questions.columns_width(table)
        if not width:
            return None
        found = np.empty((len(rows), width), np.float32)
        for bound_s in np.unique(before_s):
            places = np.flatnonzero(before_s == bound_s)
            found[places] = self._before(table, rows[places], int(bound_s), width)
        return found

    def _before(self, table: str, rows: NDArray[np.int64], before_s: int, width: int) -> NDArray[np.float32]:
        known, columns = self._kept.get((table, before_s), (np.zeros(0, np.int64), np.zeros((0, width), np.float32)))
        missing = np.setdiff1d(rows, known)
        if len(missing):
            is_too_much = 4 * width * len(missing) + self._num_bytes > MAX_COLUMNS_BYTES
            asked = rows if is_too_much else missing
            added = self.questions.columns(table, asked, np.full(len(asked), before_s))
            assert added is not None
            if is_too_much:
                return added
            known = np.concatenate([known, missing])
            order = np.argsort(known)
            known, columns = known[order], np.concatenate([columns, added])[order]
            self._kept[table, before_s] = known, columns
            self._num_bytes += added.nbytes
        return columns[np.searchsorted(known, rows)]


class LinkInputs:
    """Inputs of one run.

    Args:
        store: An open store.
        source_table, destination_table: The tables.
        links: Past links.
        window_s: Seconds of the task's window.
        config, link_config: Settings.
        backbone: What the model reads.
    """

    def __init__(
        self,
        store: Store,
        source_table: str,
        destination_table: str,
        links: PastLinks,
        window_s: int,
        config: FinetuningConfig,
        link_config: LinkConfig,
        backbone: BackboneConfig,
    ) -> None:
        self.store, self.source_table, self.destination_table = store, source_table, destination_table
        self.sampling = TemporalSampling(store.graph, config.sampling, seed=config.seed)
        self.questions = QuestionInputs(store, backbone)
        self.statistics = PairStatistics(links=links, window_s=window_s, config=link_config)
        self.columns = KeptColumns(self.questions)

    def exists(self, before_s: int) -> NDArray[np.bool_]:
        """Returns which destinations exist strictly before a time: bool [destinations]."""
        return self.store.graph.table_time(self.destination_table) < before_s

    def vectors(
        self,
        encoder: RelationalEncoder,
        table: str,
        rows: NDArray[np.int64],
        time_s: NDArray[np.int64],
        before_s: NDArray[np.int64],
        epoch: int = EVALUATION_EPOCH,
    ) -> Tensor:
        """Returns vectors of rows of a table at times: [rows, channels]; zeros for a row that is -1.

        Args:
            time_s, before_s: int64 [rows], UNIX seconds: the times asked for, and the bounds strictly before which anything is seen.
            epoch: Of the trees' draws; that of evaluation by default.
        """
        known = np.flatnonzero(rows >= 0)
        h = encoder.embed(self._trees(table, rows[known], time_s[known], before_s[known], epoch))
        if len(known) == len(rows):
            return h
        return h.new_zeros(len(rows), h.shape[1]).index_copy(0, torch.from_numpy(known), h)

    def _trees(
        self, table: str, rows: NDArray[np.int64], time_s: NDArray[np.int64], before_s: NDArray[np.int64], epoch: int
    ) -> TreeBatch:
        numbers = question_numbers(rows, time_s)
        trees = self.sampling.sample(table, rows, before_s, epoch=epoch, numbers=numbers)
        graph, features = self.store.graph, self.store.features
        columns = self.columns(table, rows, before_s)
        return collate_trees(trees, time_s, graph, features, before_s=before_s, inputs=self.questions, columns=columns)
