"""From samples' cursors to the batches of the future level: questions, the trees of their pasts, and what each answer counts.

Promise: all of a sample's batch is a function of (seed, epoch, sample) and of rows up to the cutoff, of which a question's tree holds only those that
exist strictly before its time; worker and step play no part. Trees are grown from the store that this process maps, whatever the placement of the
three levels' graph: under sharded placement, too, a worker reads the rows of questions from the store's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdl_core.batches.pretraining_batch import Cursor
from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.transfer import on_device
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.config import BackboneConfig, FutureConfig
from rdl_core.future.answers import FutureAnswers
from rdl_core.future.questions import Questions, QuestionSource
from rdl_core.future.weighing import Weighing, weighing_of
from rdl_core.graph.store import Store
from rdl_core.kernels.dropout_mask import row_keys
from rdl_core.random_streams import PURPOSE_FUTURE, fold_each, stream
from rdl_core.sampling.temporal_sampling import TemporalSampling

FIXED_QUESTIONS = 2048
"""Questions per table of the fixed sample that scales come from."""
FIXED_EPOCH = 1 << 41
"""The epoch of the fixed sample, which neither training nor validation reaches."""


@dataclass(frozen=True, kw_only=True)
class FutureBatch:
    """The questions beside one sample.

    Args:
        table: Table of the questions.
        trees: Their pasts.
        dropout_keys: Per table int64 [distinct rows], a key per row that is a function of (seed, epoch, sample, table, place).
        target, weight: float32 [questions, asked], see Weighing.
        count: int64 0-dim, questions with an answer that is known.
    """

    table: str
    trees: TreeBatch
    dropout_keys: dict[str, Tensor]
    target: Tensor
    weight: Tensor
    count: Tensor

    def to(self, device: torch.device) -> FutureBatch:
        """Returns the batch on a device."""
        if device.type == "cpu":
            return self
        parts: dict[str, Any] = {n: getattr(self, n) for n in ("dropout_keys", "target", "weight", "count")}
        return replace(self, trees=self.trees.to(device), **on_device(parts, device))


class FutureSource:
    """Makes the batches of the future level.

    Args:
        store: Store of the run, mapped by this process.
        config: Questions of a sample.
        backbone: What the backbone reads of a question.

    Raises:
        ValueError: There is nothing to ask.
    """

    def __init__(self, store: Store, config: FutureConfig, backbone: BackboneConfig) -> None:
        self.store, self.config, self.inputs = store, config, QuestionInputs(store, backbone)
        self.answers = FutureAnswers(store, config)
        self.questions = QuestionSource(store.graph, self.answers.edge_types, self.answers.windows_s)
        self.trees = TemporalSampling(store.graph, config.sampling, seed=0)
        self.weighing = self._weighing()
        if not self.weighing:
            raise ValueError(
                f"level 'future' has nothing to ask of database {store.schema.database!r}: no children up to the cutoff whose number or cells vary "
                "after a time; take 'future' out of levels, or ask for shorter windows (future.window_shares)"
            )
        self.tables = tuple(self.weighing)

    def __call__(self, cursors: Sequence[Cursor], *, seed: int) -> tuple[FutureBatch, ...]:
        """Returns a batch per sample.

        Args:
            cursors: (epoch, sample) of each.
            seed: Run seed.
        """
        return tuple(self._batch(seed, *cursor) for cursor in cursors)

    def _batch(self, seed: int, epoch: int, sample: int) -> FutureBatch:
        asked = self.questions.draw((seed, epoch, sample), self.config.questions_per_sample, self.tables)
        target, weight = self.weighing[asked.table](self.answers(asked))
        trees = self._trees(asked, stream(seed, PURPOSE_FUTURE, epoch, sample))
        sizes = {table: frame.num_rows for table, frame in trees.frames.items()}
        return FutureBatch(
            table=asked.table,
            trees=trees,
            dropout_keys={
                t: row_keys([(rows, (seed, epoch, sample, len(sizes) + number))])
                for number, (t, rows) in enumerate(sizes.items())
            },
            target=torch.from_numpy(target),
            weight=torch.from_numpy(weight),
            count=torch.tensor(int((weight > 0).any(axis=1).sum())),
        )

    def _trees(self, asked: Questions, streams: int) -> TreeBatch:
        """Returns the trees of questions, whose draws are those of `streams`."""
        numbers = fold_each(streams, np.arange(len(asked.rows))).view(np.int64)
        trees = self.trees.sample(asked.table, asked.rows, asked.time_s, epoch=0, numbers=numbers)
        return collate_trees(trees, asked.time_s, self.store.graph, self.store.features, inputs=self.inputs)

    def _weighing(self) -> dict[str, Weighing]:
        """Returns the scales of every table whose questions have an answer that varies."""
        found = {}
        for number, table in enumerate(self.questions.tables):
            asked = self.questions.draw((0, FIXED_EPOCH, number), FIXED_QUESTIONS, [table])
            weighing = weighing_of(self.answers(asked), self.answers.targets(table))
            if len(weighing.asked):
                found[table] = weighing
        return found
