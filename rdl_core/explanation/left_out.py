"""Predictions of a predictor with inputs left out: the network's and those of heads on columns, blended and calibrated as the predictor does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.explanation.groups import Inputs, ReadInputs
from rdl_core.explanation.neutral import NeutralTrees, neutral_columns
from rdl_core.prediction import Predictor

Rows = NDArray[np.int64]
Values = NDArray[np.float64]
Columns = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """All that the model of a predictor reads of some questions.

    Args:
        batch: Trees, of a head that needs the network; None of others.
        columns: float32 [questions, width] in their own units, of a head on columns; None of others.
    """

    batch: TreeBatch | None
    columns: Columns | None


class LeavingOut:
    """Predicts by a predictor's head with some of the inputs at their neutral values.

    Args:
        predictor: An open predictor.
        read: What its model reads.
    """

    def __init__(self, predictor: Predictor, read: ReadInputs) -> None:
        self.predictor = predictor
        self.needs_network = predictor.heads.needs_network(predictor.head)
        self._neutral_trees = NeutralTrees(predictor.store)
        self.neutral_columns: Columns | None = None
        """float32 [width], the neutral values of the columns that heads read."""
        if read.head_columns is not None:
            self.neutral_columns = neutral_columns(read.head_columns, predictor.store.graph)

    def ask(self, rows: Rows, time_s: Rows, before_s: Rows) -> Asked:
        """Returns what the model reads; arguments as of `Predictor.predict_rows`."""
        columns = None
        if self.neutral_columns is not None:
            columns = self.predictor.heads.columns(rows, before_s, raw=True)
        return Asked(
            batch=self.predictor.trees(rows, time_s, before_s) if self.needs_network else None, columns=columns
        )

    def predict(self, asked: Asked) -> Values:
        """Returns the head's predictions, as `Predictor.predict_rows` does: float64 [questions], of classes [questions, classes]."""
        heads, head = self.predictor.heads, self.predictor.head
        network = None if asked.batch is None else self.predictor.of_trees(asked.batch)
        return heads.calibrated(head, heads.predict_from(head, asked.columns, network))

    def without(self, asked: Asked, inputs: Inputs) -> Asked:
        """Returns the questions with these inputs at their neutral values; the same object where that changes nothing."""
        batch, columns = asked.batch, asked.columns
        if batch is not None:
            batch = self._neutral_trees(batch, inputs)
        if columns is not None:
            columns = self._neutral(columns, np.broadcast_to(inputs.head_columns, columns.shape))
        if batch is asked.batch and columns is asked.columns:
            return asked
        return Asked(batch=batch, columns=columns)

    def without_one_each(
        self,
        row: int,
        time_s: int,
        *,
        network: tuple[Columns | None, Rows],
        heads: tuple[Columns | None, Rows],
        statistics: Rows,
    ) -> Asked:
        """Returns one question as often as there are inputs to leave out, each without one of them.

        Args:
            row, time_s: The question.
            network, heads: (float32 [1, width], the row's columns, int64 [inputs], which of them is left out each time, -1 for none).
            statistics: int64 [inputs], which statistic of the row's node is left out each time.
        """
        number = len(statistics)
        rows, times = np.full(number, row), np.full(number, time_s)
        batch, columns = None, None
        if self.needs_network:
            values = network[0]
            if values is not None:
                values = np.repeat(values, number, axis=0)
                _put(values, network[1], np.nan)
            batch = self.predictor.trees(rows, times, times, columns=values)
            if batch.statistics is not None and batch.entity_table in batch.statistics:
                _put(batch.statistics[batch.entity_table], statistics, np.nan)
        if heads[0] is not None and self.neutral_columns is not None:
            columns = np.repeat(heads[0], number, axis=0)
            _put(columns, heads[1], self.neutral_columns)
        return Asked(batch=batch, columns=columns)

    def _neutral(self, columns: Columns, mask: NDArray[np.bool_]) -> Columns:
        assert self.neutral_columns is not None
        changed = np.where(mask, self.neutral_columns, columns)
        return columns if np.array_equal(changed, columns, equal_nan=True) else changed


def _put(values: Columns | torch.Tensor, places: Rows, neutral: float | Columns) -> None:
    """Writes neutral values, one or [width], into a place of each row, in place; -1 for none."""
    rows = np.flatnonzero(places >= 0)
    at = places[rows]
    if isinstance(values, torch.Tensor):
        values[torch.from_numpy(rows), torch.from_numpy(at)] = float(neutral)  # type: ignore[arg-type]
    else:
        values[rows, at] = neutral[at] if isinstance(neutral, np.ndarray) else neutral
