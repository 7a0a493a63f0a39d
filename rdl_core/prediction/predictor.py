"""A fine-tuned model, a dataset and its store, opened once, that answer questions: which value, for which entity, at which time.

    keys, time -> rows, seconds -> trees strictly before   -> backbone and head      -> probability or value
                               -> columns strictly before -> linear model, LightGBM -> (kept_heads.py), calibrated, with its interval

Promises: a prediction sees rows strictly before its time and cells known strictly before it, so that a row added at or after the time changes
nothing; it is a function of (model, data before the time, entity, time), never of what is asked beside it: alone, in a batch, in any order it is the
same but for the order of float additions (1e-6), and what `finetune` and `evaluate` wrote for the same label. Everything is loaded and compiled by
`load`; memory grows with the answer alone, since questions are answered in chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.checkpoint_files import weights_digest
from rdl_core.config import Regime
from rdl_core.database import load_task, open_dataset
from rdl_core.database.question import Question
from rdl_core.graph.store import Store, open_store
from rdl_core.model.checkpoint import Checkpoint, from_pretrained
from rdl_core.place import Place, local_folder
from rdl_core.prediction.entity_keys import EntityKeys
from rdl_core.prediction.kept_heads import kept_heads
from rdl_core.prediction.model_store import STORES_DIR, data_hash, find_or_make_store
from rdl_core.prediction.times import Times, asked_seconds, first_row_s, refuse_unknowable, shown_time
from rdl_core.problems import InputError
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.statistics.distributions import FILE_NAME, Drift, drift, from_bytes
from rdl_core.tasks.inputs import EVALUATION_EPOCH, question_numbers
from rdl_core.tasks.model import finetuning_of, task_model_of
from rdl_core.tasks.prediction_file import prediction_columns
from rdl_core.tasks.target_scale import TargetScale

Advance = Callable[[int], None]


class Predictor:
    """A model that predicts. `Predictor.load` makes one.

    Args:
        checkpoint: A fine-tuned model.
        dataset: A validated dataset, with or without the model's task.
        store: The dataset's store, with the model's schema.
        device: Where the model computes; None for the CPU.
        model_hash: Hex digits that name the model.
        head: What predicts: "network", "linear", "lightgbm" or "blend"; None for the one that was best on validation of those that the model keeps.
        coverage: Probability that the interval around a regression's value shall hold the truth (intervals.py has what that means).

    Raises:
        ValueError: The store's schema is not the model's.
        InputError: The model keeps no such head, the store lacks columns that it reads, or the coverage is none.
        DatabaseError: The model is of before a question was kept, and the dataset lacks its task.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dataset: RelBenchDataset,
        store: Store,
        *,
        device: torch.device | str | None = None,
        model_hash: str = "",
        head: str | None = None,
        coverage: float = 0.9,
    ) -> None:
        checkpoint.require_same_schema(store)
        about = checkpoint.about
        self.dataset, self.store, self.about, self.model_hash = dataset, store, about, model_hash
        self.config = finetuning_of(checkpoint)
        self.regime: Regime = about["regime"]
        self.question = Question.of_model(about) or Question.of_task(load_task(dataset, about["task"]))
        self.device = torch.device(device or "cpu")
        self.keys = EntityKeys(dataset, self.question.entity_table)
        self.first_s, self.tomorrow_s = first_row_s(store.graph), store.graph.after_last_row_s
        self.model = task_model_of(checkpoint).to(self.device)
        encoder = self.model.encoder
        self.inputs = QuestionInputs(store, encoder.config)
        self.inputs.require_same_widths(encoder.statistics_widths, encoder.columns_widths)
        self._sampling = TemporalSampling(store.graph, self.config.sampling, seed=self.config.seed)
        self._scale = TargetScale(**about["target_scale"])
        self._extras, self._cutoff_s = checkpoint.extras, checkpoint.schema.cutoff_s
        self.heads, self.coverage = kept_heads(checkpoint, store), coverage
        self.head = self.heads.require(head)
        self.heads.interval(self.head, np.zeros(0), coverage)  # a coverage that is none is refused here

    @classmethod
    def load(
        cls,
        model: Place,
        data: Place,
        *,
        store: Place | None = None,
        device: torch.device | str | None = None,
        stores_dir: Path = STORES_DIR,
        head: str | None = None,
        coverage: float = 0.9,
    ) -> Predictor:
        """Opens a model, a dataset and its store, and answers one question, so that all is in memory and compiled.

        Args:
            model: Folder that `finetune` printed under "checkpoint".
            data: Dataset folder, remote folder or hub name; it may be newer than the one that the model was fine-tuned on.
            store: The dataset's store; None: the one in `stores_dir`, made with the model's schema if there is none.
            device: Where the model computes; None for the CPU.
            stores_dir: Folder of stores.
            head: As of the class.
            coverage: As of the class.

        Raises:
            FileNotFoundError: There is no such model, dataset or store.
            InputError: The model keeps no such head, or the coverage is none.
            ValueError: The model is not a fine-tuned one, or its schema is not the store's.
            DatabaseError: The dataset is broken, or lacks what the model knows.
        """
        folder = local_folder(model)
        checkpoint, dataset = from_pretrained(folder, kind="finetuned"), open_dataset(data)
        opened = find_or_make_store(dataset, checkpoint.schema, stores_dir) if store is None else open_store(store)
        digest = weights_digest(folder)
        predictor = cls(checkpoint, dataset, opened, device=device, model_hash=digest, head=head, coverage=coverage)
        predictor.warm()
        return predictor

    @property
    def tomorrow(self) -> pd.Timestamp:
        """The second after the last row: what is predicted at when no time is named."""
        return pd.Timestamp(self.tomorrow_s, unit="s", tz="UTC")

    @property
    def is_refitted(self) -> bool:
        """Tells whether the model has learned from every label whose window had closed, those of validation, too."""
        return self.config.refit

    @property
    def is_regression(self) -> bool:
        """Tells whether predictions are numbers, neither probabilities nor classes."""
        return not (self.question.is_binary or self._scale.classes)

    @property
    def has_intervals(self) -> bool:
        """Tells whether predictions have "lower" and "upper"."""
        return self.heads.interval(self.head, np.zeros(0), self.coverage) is not None

    @cached_property
    def data_hash(self) -> str:
        """Hex digits that name the content of the dataset."""
        return data_hash(self.dataset)

    def predict(
        self, keys: Iterable[Any] | pa.Table, time: Times = None, *, advance: Advance = lambda rows: None
    ) -> pd.DataFrame:
        """Predicts for entities at a time.

        Args:
            keys: The entities' keys as the source has them, in any order, as often as wanted; a list, a pandas Series, a NumPy or an Arrow array.
            time: One time, or one per key; a time without zone is UTC. None: `tomorrow`. It may lie after the last row.
            advance: Is told the number of rows that are done, now and then.

        Returns:
            One row per key, in the order of the keys: the key under its column's own name, "time" (UTC, in seconds) and "prediction": the
            probability of a binary task, calibrated if the model is, or the value of a regression with "lower" and "upper", the ends of its
            interval, if the model keeps residuals. Of several classes "prediction" is the most likely one, and "probability_<class>" stand
            beside it.

        Raises:
            InputError: No key; a key that is null, of another type or unknown; a time that is none or before all data; an entity that does not
                exist yet at its time. The first few are named, with their number.
        """
        rows, time_s = self.questions(keys, time)
        predicted = self.predict_rows(rows, time_s, advance=advance)
        return self.table(rows, time_s, predicted).to_pandas(
            use_threads=False
        )  # of few rows a thread costs more than it does

    def questions(
        self, keys: Iterable[Any] | pa.Table, time: Times = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns what `predict` would be asked: rows of the entity table and UNIX seconds, int64 [keys] each.

        Raises:
            InputError: As `predict`.
        """
        rows = self.keys.rows(keys)
        time_s = asked_seconds(time, len(rows), tomorrow_s=self.tomorrow_s)
        exists_s = self.store.graph.times_of(self.question.entity_table, rows)
        absent_s = exists_s - 1 if self.question.is_of_own_row else exists_s
        refuse_unknowable(self.keys, rows, time_s, absent_s, first_s=self.first_s)
        return rows, time_s

    def table(self, rows: NDArray[np.int64], time_s: NDArray[np.int64], values: NDArray[np.float64]) -> pa.Table:
        """Returns predictions of rows at times as people read them, the columns that `predict` has."""
        table = self.keys.of_rows(rows)
        table = table.append_column("time", pa.array(time_s).cast(pa.timestamp("s", "UTC")))
        for name, column in prediction_columns(values, self._scale.classes).items():
            table = table.append_column(name, column)
        ends = self.heads.interval(self.head, values, self.coverage)
        for name, end in zip(("lower", "upper"), ends or (), strict=False):
            table = table.append_column(name, pa.array(end))
        return table

    def existing_rows(self, time: Times = None) -> NDArray[np.int64]:
        """Returns the entities that exist strictly before a time, None for `tomorrow`: int64, rows of the entity table.

        Raises:
            InputError: There is none, or the time is none.
        """
        before_s = self.seconds(time)
        rows = np.flatnonzero(self.store.graph.table_time(self.question.entity_table) < before_s)
        if not len(rows):
            raise InputError(
                f"no {self.question.entity_table} exist before {shown_time(before_s)}; the first row of the database is of "
                f"{shown_time(self.first_s)}. Remedy: a later time"
            )
        return rows

    def seconds(self, time: Times = None) -> int:
        """Returns a time, None for `tomorrow`, in UNIX seconds.

        Raises:
            InputError: It is no time.
        """
        return int(asked_seconds(time, 1, tomorrow_s=self.tomorrow_s)[0])

    def drift(self, time: Times = None) -> list[Drift] | None:
        """Returns how far the columns of rows since the model's cutoff have moved from those that it was trained on, the farthest first.

        Args:
            time: Rows strictly before it are compared; None for `tomorrow`.

        Returns:
            One Drift per column with enough rows; None where the model keeps no distributions.
        """
        if FILE_NAME not in self._extras:
            return None
        known = from_bytes(self._extras[FILE_NAME])
        return drift(self.store, known, after_s=self._cutoff_s, before_s=self.seconds(time))

    def predict_rows(
        self,
        rows: NDArray[np.int64],
        time_s: NDArray[np.int64],
        before_s: NDArray[np.int64] | None = None,
        *,
        advance: Advance = lambda rows: None,
    ) -> NDArray[np.float64]:
        """Predicts for rows of the entity table by `head`: float64 [questions], calibrated probabilities or values; of classes [questions, classes].

        Args:
            rows: int64 [questions], row numbers.
            time_s: int64 [questions], UNIX seconds.
            before_s: int64 [questions], what is seen lies strictly before; None: the times themselves.
            advance: Is told the number of rows that are done, now and then.
        """
        before_s, network = time_s if before_s is None else before_s, None
        if self.heads.needs_network(self.head):
            network, advance = self._network(rows, time_s, before_s, advance), lambda rows: None
        return self.heads.calibrated(self.head, self.heads.predict(self.head, rows, before_s, network, advance=advance))

    def _network(
        self, rows: NDArray[np.int64], time_s: NDArray[np.int64], before_s: NDArray[np.int64], advance: Advance
    ) -> NDArray[np.float64]:
        size, predicted = self.config.batch_size, np.empty((len(rows), *self._scale.shape))
        for begin in range(0, len(rows), size):
            part = slice(begin, begin + size)
            predicted[part] = self.of_trees(self.trees(rows[part], time_s[part], before_s[part]))
            advance(len(rows[part]))
        return predicted

    def of_trees(self, batch: TreeBatch) -> NDArray[np.float64]:
        """Returns the network's predictions for the seeds of trees: float64 [seeds]; of classes [seeds, classes]."""
        with torch.inference_mode():
            return self._scale.prediction(self.model(batch).double().cpu()).numpy()

    def warm(self) -> None:
        """Answers one question, and two at once, all the way from keys to a table, so that kernels are compiled, keys are hashed and data is read."""
        for number in range(1, min(2, len(self.keys)) + 1):
            rows = self.keys.rows(self.keys.table_of_keys.slice(0, number))
            time_s = np.full(number, self.tomorrow_s)
            self.table(rows, time_s, self.predict_rows(rows, time_s))

    def trees(
        self,
        rows: NDArray[np.int64],
        time_s: NDArray[np.int64],
        before_s: NDArray[np.int64],
        *,
        columns: NDArray[np.float32] | None = None,
    ) -> TreeBatch:
        """Returns what the network reads of questions, on the model's device.

        Args:
            rows: int64 [questions], rows of the entity table.
            time_s: int64 [questions], times asked for, UNIX seconds.
            before_s: int64 [questions], the times before which rows are seen.
            columns: float32 [questions, width], their columns where they are at hand.
        """
        numbers = question_numbers(rows, time_s)
        trees = self._sampling.sample(
            self.question.entity_table, rows, before_s, epoch=EVALUATION_EPOCH, numbers=numbers
        )
        graph, features = self.store.graph, self.store.features
        batch = collate_trees(trees, time_s, graph, features, before_s=before_s, inputs=self.inputs, columns=columns)
        return batch.to(self.device)

    def describe(self) -> Mapping[str, Any]:
        """Returns what predicts: {"task", "target", "arm", "head", "calibrated", "refitted", "model", "data", "first_row", "last_row"}."""
        ends = {"first_row": self.first_s, "last_row": self.tomorrow_s - 1}
        return {
            "task": self.question.task,
            "target": self.question.target,
            "arm": self.about["arm"],
            "head": self.head,
            "calibrated": self.heads.records.heads[self.head].calibration is not None,
            "refitted": self.is_refitted,
            "model": self.model_hash,
            "data": self.data_hash,
            **{name: str(pd.Timestamp(seconds, unit="s")) for name, seconds in ends.items()},
        }
