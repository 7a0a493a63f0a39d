"""The questions of the future level: fresh (row, time) pairs on one table per sample.

Half of a sample's questions are weighted by activity, as those of most tasks are: an event, a random child by a random key of the table, gives the
row, and its time the question's, up to the largest window later. The other half keep that time, and are about any row that has had a child by then.

Promises: a draw is a function of (seed, epoch, sample) and of rows up to the cutoff; a question's row and at least one child of it exist strictly
before the question's time; the smallest window after it closes by the cutoff. Cost: 8 bytes a parent and key and 12 a parent, and a binary search a
question; no list of events is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import EdgeType, RelationalEntityGraph
from rdl_core.kernel_cache import kernel
from rdl_core.random_streams import PURPOSE_FUTURE, numpy_generator


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Questions on rows of one table.

    Args:
        table: Their table.
        rows: int64 [questions], rows of it.
        time_s: int64 [questions], UNIX seconds: what is known exists strictly before, what is asked for comes at or after.
    """

    table: str
    rows: NDArray[np.int64]
    time_s: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Events:
    """The events of one key: children up to the last time that a question may follow.

    Args:
        number: Of the key.
        begins: int64 [parents + 1], how many events the parents before have: event e is of the parent where it lies.
    """

    number: int
    begins: NDArray[np.int64]


class QuestionSource:
    """Draws questions.

    Args:
        graph: Rows, keys and times.
        edge_types: The keys that are asked about.
        windows_s: The lengths of the windows, in seconds.
    """

    def __init__(self, graph: RelationalEntityGraph, edge_types: Sequence[EdgeType], windows_s: Sequence[int]) -> None:
        self.graph = graph
        self.smallest_s, self.largest_s = min(windows_s), max(windows_s)
        self._events: dict[str, list[_Events]] = {}
        for edge_type in edge_types:
            begins = self._event_begins(edge_type)
            if begins[-1] > 0:
                of_table = self._events.setdefault(edge_type[2], [])
                of_table.append(_Events(number=graph.edge_types.index(edge_type), begins=begins))
        self._first = {table: self._first_children(table) for table in self._events}

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that have a row to ask about, in the graph's order."""
        return tuple(t for t in self.graph.node_types if t in self._events)

    def draw(self, stream: tuple[int, ...], num_questions: int, tables: Sequence[str]) -> Questions:
        """Draws questions on one of the tables.

        Args:
            stream: (seed, epoch, sample), which name the draws.
            num_questions: The number of questions.
            tables: Some of `tables`, each as likely.
        """
        random = numpy_generator(PURPOSE_FUTURE, *stream)
        table = tables[int(random.integers(len(tables)))]
        which, event, shift, other = random.random((4, num_questions))
        rows, start = self._drawn_events(table, which, event)
        room = np.minimum(self.largest_s, self.graph.cutoff_s - self.smallest_s - start)
        time_s = start + 1 + (shift * room).astype(np.int64)
        half = num_questions // 2
        times, by_time = self._first[table]
        seen = np.searchsorted(times, time_s[half:])  # rows whose first child is before the time
        rows[half:] = by_time[(other[half:] * seen).astype(np.int64)]
        return Questions(table=table, rows=rows, time_s=time_s)

    def _drawn_events(
        self, table: str, which: NDArray[np.float64], event: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the row of each drawn event, and when both it and the event exist: int64 [questions] each."""
        graph, keys = self.graph, self._events[table]
        number = (which * len(keys)).astype(np.int64)
        rows, start = np.empty(len(which), np.int64), np.empty(len(which), np.int64)
        for k, events in enumerate(keys):
            mine = np.flatnonzero(number == k)
            place = (event[mine] * events.begins[-1]).astype(np.int64)
            parent = np.searchsorted(events.begins, place, side="right") - 1
            indptr = graph.children_indptr[graph.indptr_offset[events.number] + parent]
            child = graph.children[indptr + place - events.begins[parent]]
            child_table = graph.edge_types[events.number][0]
            rows[mine] = parent
            start[mine] = np.maximum(graph.times_of(child_table, child), graph.times_of(table, parent))
        return rows, start

    def _event_begins(self, edge_type: EdgeType) -> NDArray[np.int64]:
        """Returns how many events by a key the parents before each one have: int64 [parents + 1]."""
        graph, (child, _, parent) = self.graph, edge_type
        k = graph.edge_types.index(edge_type)
        indptr = graph.children_indptr[graph.indptr_offset[k] : graph.indptr_offset[k + 1]]
        last_s = graph.cutoff_s - self.smallest_s - 1
        counts = _children_until(indptr, graph.children, graph.table_time(child), graph.table_time(parent), last_s)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def _first_children(self, table: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns (when the rows with an event have existed with a child, in order of time; the rows): int64 [rows] each."""
        graph = self.graph
        first = np.full(graph.num_rows(table), np.iinfo(np.int64).max)
        for events in self._events[table]:
            rows = np.flatnonzero(np.diff(events.begins) > 0)
            indptr = graph.children_indptr[graph.indptr_offset[events.number] + rows]
            child_table = graph.edge_types[events.number][0]
            first[rows] = np.minimum(first[rows], graph.times_of(child_table, graph.children[indptr]))
        rows = np.flatnonzero(first < np.iinfo(np.int64).max)
        times = np.maximum(first[rows], graph.times_of(table, rows))
        order = np.argsort(times, kind="stable")
        return times[order], rows[order]


@kernel
def _children_until(indptr, children, child_time, parent_time, last_s):  # type: ignore[no-untyped-def]
    """Returns how many children of each parent exist up to last_s: int64 [parents]; 0 where the parent itself comes later."""
    counts = np.zeros(len(indptr) - 1, np.int64)
    for parent in range(len(counts)):
        begin, end = indptr[parent], indptr[parent + 1]
        low, high = begin, end if parent_time[parent] <= last_s else begin
        while low < high:
            middle = (low + high) // 2
            if child_time[children[middle]] <= last_s:
                low = middle + 1
            else:
                high = middle
        counts[parent] = low - begin
    return counts
