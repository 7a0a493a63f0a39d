"""A fine-tuned link model, a dataset and its store, opened once, that name the best destinations of sources at a time, in the source's own keys.

Promises: a prediction sees rows, links and destinations strictly before its time; it is a function of (model, data before the time, source, time),
but for the order of float additions, whatever is asked beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.graph.store import Store
from rdl_core.links.model_files import open_link_model
from rdl_core.links.scoring import rank_destinations
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.prediction.entity_keys import EntityKeys
from rdl_core.prediction.times import Times, asked_seconds, first_row_s, refuse_unknowable, shown_time
from rdl_core.problems import InputError


class LinkPredictor:
    """A link model that predicts.

    Args:
        checkpoint: A fine-tuned link model.
        dataset: A validated dataset, with or without the model's task.
        store: The dataset's store, with the model's schema.

    Raises:
        ValueError: The store's schema is not the model's.
    """

    def __init__(self, checkpoint: Checkpoint, dataset: RelBenchDataset, store: Store) -> None:
        self.store = store
        self.model, self.inputs, self.question = open_link_model(checkpoint, store)
        self.sources = EntityKeys(dataset, self.question.source_table)
        self.destinations = EntityKeys(dataset, self.question.destination_table)

    def questions(
        self, keys: Iterable[Any] | pa.Table, time: Times = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns rows of the source table and UNIX seconds of keys at a time, None for the second after the last row: int64 [keys] each.

        Raises:
            InputError: No key; one that is null, of another type or unknown; a time that is none or before all data; a source that is not there yet.
        """
        graph = self.store.graph
        rows = self.sources.rows(keys)
        time_s = asked_seconds(time, len(rows), tomorrow_s=graph.after_last_row_s)
        exists_s = graph.times_of(self.question.source_table, rows)
        refuse_unknowable(self.sources, rows, time_s, exists_s, first_s=first_row_s(graph))
        return rows, time_s

    def existing(self, time: Times = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns all sources that exist strictly before a time, as `questions` does.

        Raises:
            InputError: There is none, or the time is none.
        """
        graph = self.store.graph
        before_s = int(asked_seconds(time, 1, tomorrow_s=graph.after_last_row_s)[0])
        rows = np.flatnonzero(graph.table_time(self.question.source_table) < before_s)
        if not len(rows):
            raise InputError(
                f"no {self.question.source_table} exist before {shown_time(before_s)}. Remedy: a later time"
            )
        return rows, np.full(len(rows), before_s)

    def predict(self, keys: Iterable[Any] | pa.Table, time: Times = None, *, number: int | None = None) -> pd.DataFrame:
        """Returns the best destinations of sources at a time, a row for each of them; columns and arguments as of `table`."""
        return self.table(*self.questions(keys, time), number=number).to_pandas()

    def table(
        self,
        rows: NDArray[np.int64],
        time_s: NDArray[np.int64],
        *,
        number: int | None = None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> pa.Table:
        """Returns the best destinations, `number` rows a question, the best first, in the order of the questions.

        Args:
            rows, time_s: int64 [questions], rows of the source table, UNIX seconds.
            number: Destinations per question; None: as many as the task asks for.
            advance: Is told the number of questions that are done, now and then.

        Returns:
            The source's key under its own name, "time" (UTC), "rank" from 1, the destination's key under its own name (with "destination_" before it
            where both are called alike), and "score", which orders the destinations of one question and means nothing beyond.
        """
        ranked, scores = rank_destinations(
            self.model, self.inputs, rows, time_s, time_s, number or self.question.number, advance
        )
        place, rank = np.nonzero(ranked >= 0)
        table = self.sources.of_rows(rows[place])
        table = table.append_column("time", pa.array(time_s[place]).cast(pa.timestamp("s", "UTC")))
        table = table.append_column("rank", pa.array(rank + 1))
        for name, column in zip(
            self.destinations.names, self.destinations.of_rows(ranked[place, rank]).columns, strict=True
        ):
            table = table.append_column(f"destination_{name}" if name in table.column_names else name, column)
        return table.append_column("score", pa.array(scores[place, rank]))
