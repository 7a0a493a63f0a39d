"""Labels of a link task: at each (source, time) the destinations that it will be linked with in the window behind the time.

Promises: seed times are rounded down, as those of entity tasks; the two regimes differ only in the bound, as there (rdl_core/tasks/labels.py). All
rows of a split are kept, in the label's order, since RelBench's evaluation wants a prediction of each; a row without a source (a LEFT JOIN gives
such) has the source -1, and `learnable` leaves it out, as well as rows without a destination, which RelBench's metric does not count either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.base import RecommendationTask

from rdl_core.config import Regime
from rdl_core.timestamps import series_to_unix_seconds


@dataclass(frozen=True, kw_only=True)
class LinkSplit:
    """Questions and destinations of one split.

    Args:
        sources: int64 [questions], rows of the source table, -1 for null.
        time_s, before_s: int64 [questions], UNIX seconds: the time asked for, and the bound strictly before which anything is seen.
        destinations: int64 [labels], rows of the destination table, question by question.
        indptr: int64 [questions + 1], where each question's destinations begin.
        window_s: Seconds of the window behind the time.
    """

    sources: NDArray[np.int64]
    time_s: NDArray[np.int64]
    before_s: NDArray[np.int64]
    destinations: NDArray[np.int64]
    indptr: NDArray[np.int64]
    window_s: int

    def __len__(self) -> int:
        return len(self.sources)

    def rows(self, rows: NDArray[np.int64]) -> LinkSplit:
        """Returns some of the questions."""
        counts = np.diff(self.indptr)[rows]
        return LinkSplit(
            sources=self.sources[rows],
            time_s=self.time_s[rows],
            before_s=self.before_s[rows],
            destinations=self.positives_of(rows)[1],
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            window_s=self.window_s,
        )

    def positives_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the destinations of some questions, and of which of them each is (its place in `rows`): (place, destination), int64 [labels]."""
        counts = np.diff(self.indptr)[rows]
        place = np.repeat(np.arange(len(rows)), counts)
        first = np.cumsum(counts) - counts
        return place, self.destinations[np.repeat(self.indptr[rows] - first, counts) + np.arange(counts.sum())]

    @property
    def lists(self) -> list[NDArray[np.int64]]:
        """The destinations of each question."""
        return np.split(self.destinations, self.indptr[1:-1]) if len(self) else []

    def and_then(self, other: LinkSplit) -> LinkSplit:
        """Returns these questions and others behind them."""
        return LinkSplit(
            sources=np.concatenate([self.sources, other.sources]),
            time_s=np.concatenate([self.time_s, other.time_s]),
            before_s=np.concatenate([self.before_s, other.before_s]),
            destinations=np.concatenate([self.destinations, other.destinations]),
            indptr=np.concatenate([self.indptr, self.indptr[-1] + other.indptr[1:]]),
            window_s=self.window_s,
        )

    @property
    def learnable(self) -> LinkSplit:
        """The questions with a source and at least one destination."""
        return self.rows(np.flatnonzero((self.sources >= 0) & (np.diff(self.indptr) > 0)))


def read_links(task: RecommendationTask, split: str, regime: Regime, test_timestamp_s: int) -> LinkSplit:
    """Returns all questions and labels of "train", "val" or "test".

    Args:
        regime: "rolling" or "snapshot".
        test_timestamp_s: UNIX seconds; rows up to it (inclusive) are the snapshot.
    """
    frame = task.get_table(split, mask_input_cols=False).df
    lists = [np.asarray(x, dtype=np.int64) for x in frame[task.dst_entity_col]]
    time_s = series_to_unix_seconds(frame[task.time_col])
    return LinkSplit(
        sources=frame[task.src_entity_col].fillna(-1).to_numpy().astype(np.int64),
        time_s=time_s,
        before_s=time_s if regime == "rolling" else np.minimum(time_s, test_timestamp_s + 1),
        destinations=np.concatenate([np.zeros(0, np.int64), *lists]),
        indptr=np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64),
        window_s=int(np.ceil(pd.Timedelta(task.timedelta).total_seconds())),
    )


def newest_times(train: LinkSplit, number: int) -> NDArray[np.int64]:
    """Returns the questions of the newest times that have at least so many together, and leave at least half of the times: int64, ascending."""
    times, counts = np.unique(train.time_s, return_counts=True)
    enough = 1 + int(np.searchsorted(np.cumsum(counts[::-1]), number)) if number > 0 else 0
    held = times[len(times) - min(enough, len(times) // 2) :]
    return np.flatnonzero(np.isin(train.time_s, held))
