"""Inputs of an entity task's model: the trees of its seeds or, with a frozen backbone, their vectors.

Promises: a split's labels are read when they are first asked for; a seed's tree in training is a function of (seed, epoch, number of the label), one
of evaluation a function of (seed, entity, time), so that whoever asks the same question without a label sees the same tree; a frozen backbone's
vector of a seed, and the columns that a backbone reads of it, are computed once, when they are first asked for. "train" is what is learned
from while validation decides, "refit" what is learned from afterwards (labels.py); "val" and "test" are whole.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from relbench.base import EntityTask
from torch import Tensor

from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.config import BackboneConfig, FinetuningConfig, Regime
from rdl_core.graph.store import Store
from rdl_core.problems import InputError
from rdl_core.random_streams import PURPOSE_QUESTION, fold_each, stream
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.labels import Split, is_multiclass, read_closed, read_split, read_train
from rdl_core.tasks.model import TaskModel

EVALUATION_EPOCH = 1 << 40
"""The epoch of all trees of evaluation, of a frozen backbone and of predictions."""
MAX_COLUMNS_BYTES = 1 << 31
"""Columns of a split that take more are computed for each batch anew."""


class TaskInputs:
    """Inputs of one run.

    Args:
        store: An open store, made from the task's database.
        task, regime, config: Settings of the run.
        device: Where inputs are put.
        backbone: What the model reads.
    """

    def __init__(
        self,
        store: Store,
        task: EntityTask,
        regime: Regime,
        config: FinetuningConfig,
        device: torch.device,
        backbone: BackboneConfig,
    ) -> None:
        self.store, self.task, self.regime, self.config, self.device = store, task, regime, config, device
        self.sampling = TemporalSampling(store.graph, config.sampling, seed=config.seed)
        self.questions = QuestionInputs(store, backbone)
        self._columns: dict[str, NDArray[np.float32]] = {}
        self._splits: dict[str, Split] = {}
        self._vectors: dict[str, Tensor] = {}
        self._has_vector: dict[str, NDArray[np.bool_]] = {}

    def split(self, name: str) -> Split:
        """Seeds and labels of "train", "val", "test" or "refit"."""
        if name not in self._splits:
            of_task = self.task, self.regime, self.store.test_timestamp_s
            if name == "train":
                self._splits[name] = read_train(*of_task, self.config)
            elif name == "refit":
                self._splits[name] = read_closed(*of_task, self.config)
            else:
                self._splits[name] = read_split(self.task, name, *of_task[1:])
        return self._splits[name]

    def trees(self, split: str, rows: NDArray[np.int64], epoch: int | None = None) -> TreeBatch:
        """Trees of rows of a split in an epoch; None: those of evaluation."""
        seeds = self.split(split)
        entities, before_s, numbers = seeds.entities[rows], seeds.before_s[rows], seeds.numbers[rows]
        if epoch is None:
            epoch, numbers = EVALUATION_EPOCH, question_numbers(entities, seeds.time_s[rows])
        trees = self.sampling.sample(self.task.entity_table, entities, before_s, epoch=epoch, numbers=numbers)
        batch = collate_trees(
            trees,
            seeds.time_s[rows],
            self.store.graph,
            self.store.features,
            before_s=before_s,
            inputs=self.questions,
            columns=self._columns_of(split, rows),
        )
        return batch.to(self.device)

    def _columns_of(self, split: str, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Returns the columns of rows of a split: float32 [rows, width], or None where the model reads none."""
        seeds, table = self.split(split), self.task.entity_table
        if 4 * len(seeds) * self.questions.columns_width(table) > MAX_COLUMNS_BYTES:
            return self.questions.columns(table, seeds.entities[rows], seeds.before_s[rows])
        if split not in self._columns:
            columns = self.questions.columns(table, seeds.entities, seeds.before_s)
            if columns is None:
                return None
            self._columns[split] = columns
        return self._columns[split][rows]

    def vectors(self, model: TaskModel, split: str, rows: NDArray[np.int64]) -> Tensor:
        """Returns the vectors that a frozen backbone makes of rows of a split: [rows, channels]."""
        if split not in self._vectors:
            some = next(model.encoder.parameters())
            self._vectors[split] = some.new_empty(len(self.split(split)), model.encoder.config.channels)
            self._has_vector[split] = np.zeros(len(self.split(split)), dtype=bool)
        vectors, missing = self._vectors[split], rows[~self._has_vector[split][rows]]
        if len(missing):
            model.encoder.eval()
            with torch.no_grad():
                vectors[torch.from_numpy(missing).to(self.device)] = model.embed(self.trees(split, missing))
            self._has_vector[split][missing] = True
        return vectors[torch.from_numpy(rows).to(self.device)]


def question_numbers(entities: NDArray[np.int64], time_s: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the number by which the tree of each question is drawn: int64 [questions], a hash of the entity's row and the time asked for.

    Args:
        entities: int64 [questions], rows of the entity table.
        time_s: int64 [questions], UNIX seconds.
    """
    of_entity, of_time = (fold_each(stream(PURPOSE_QUESTION, n), x) for n, x in enumerate((entities, time_s)))
    return (of_entity ^ of_time).view(np.int64)


def refuse_visible_labels(store: Store, task: EntityTask) -> None:
    """Raises ValueError if the store holds columns that the task's label is made of."""
    visible = [
        f"{table}.{column}"
        for table, column in getattr(task, "remove_columns", None) or []
        if table in store.schema.tables and any(c.name == column for c in store.schema.tables[table].columns)
    ]
    if visible:
        raise ValueError(
            f"task {task.name!r} must not see {', '.join(visible)}, which its label is made of, but the store holds them.\n"
            f"Remedy: materialize and pretrain with --exclude-columns {' '.join(visible)}"
        )


def refuse_several_classes(task: EntityTask) -> None:
    """Refuses a task that heads on columns cannot learn.

    Raises:
        InputError: The task has several classes.
    """
    if is_multiclass(task):
        raise InputError(
            f"task {task.name!r} has several classes; linear, lightgbm, blend and --baseline are for binary tasks and regression. "
            "Remedy: --heads network, without --baseline"
        )
