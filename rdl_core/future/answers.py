"""The answers to questions: per child key of the question's table, how many children come in each window, whether any, what their cells are on
average, and what the cells of the next one are.

Promises: inputs end before a question's time, answers begin at it; a window counts only if it closes by the cutoff, and a next child only if it
exists by then: no row after the cutoff is read. NaN is "not known": no child, an empty cell, or a window that has not closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import FutureConfig
from rdl_core.future.questions import Questions
from rdl_core.graph.measures import MeasureValues
from rdl_core.graph.reg import ALWAYS, EdgeType
from rdl_core.graph.store import Store
from rdl_core.statistics import KeyStatistics, windows_s
from rdl_core.timestamps import SECONDS_PER_DAY

Kind = Literal["count", "any", "mean", "next"]
KINDS: tuple[Kind, ...] = ("count", "any", "mean", "next")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One column of the answers.

    Args:
        name: For people.
        kind: What is asked for.
        is_binary: Whether it is a probability or share, from 0 to 1; else it is a number.
    """

    name: str
    kind: Kind
    is_binary: bool


class FutureAnswers:
    """Answers questions.

    Args:
        store: Rows and their cells.
        config: Windows, and what is left out.

    Raises:
        ValueError: `exclude` names what is no table and no column of the store, or nothing is left to ask.
    """

    def __init__(self, store: Store, config: FutureConfig) -> None:
        self.store, self.config = store, config
        _check_excluded(store, config)
        self.windows_s = windows_s(store.schema.time_span_s, config.window_shares)
        self.statistics = KeyStatistics(store)
        keys = [e for table in store.graph.node_types for e in self.statistics.keys_of(table)]
        self.edge_types = tuple(e for e in keys if e[0] not in config.exclude and _has_times(store, e[0]))
        if not self.edge_types:
            raise ValueError(
                "level 'future' has nothing to ask: no key is left whose children have times; "
                "take 'future' out of levels, or name fewer tables in future.exclude"
            )
        self._cells = {table: MeasureValues(store.features[table]) for table in {e[0] for e in self.edge_types}}
        self._kept = {e: self._kept_measures(e) for e in self.edge_types}

    def targets(self, table: str) -> tuple[Target, ...]:
        """Returns what is asked about a row of a table, in the order of the columns of the answers."""
        return tuple(target for e in self.edge_types if e[2] == table for target in self._targets_of(e))

    def __call__(self, questions: Questions) -> NDArray[np.float32]:
        """Returns float32 [questions, targets]; NaN where an answer is not known."""
        columns = [c for e in self.edge_types if e[2] == questions.table for c in self._answers_of(e, questions)]
        return np.stack(columns, axis=1).astype(np.float32)

    def _kept_measures(self, edge_type: EdgeType) -> NDArray[np.int64]:
        """Returns the places of a key's measures that are not left out."""
        child, found = edge_type[0], self.statistics.measures(edge_type)
        return np.array([i for i, m in enumerate(found) if f"{child}.{m.column}" not in self.config.exclude], np.int64)

    def _targets_of(self, edge_type: EdgeType) -> Iterator[Target]:
        child, fkey_col, _ = edge_type
        found = self.statistics.measures(edge_type)
        kept = [(found[i].of(child), found[i].kind in ("category", "missing")) for i in self._kept[edge_type]]
        for window_s in self.windows_s:
            when = f"in the next {window_s / SECONDS_PER_DAY:.3g} days"
            yield Target(name=f"log count of {child} via {fkey_col} {when}", kind="count", is_binary=False)
            yield Target(name=f"any {child} via {fkey_col} {when}", kind="any", is_binary=True)
            for name, is_binary in kept:
                yield Target(name=f"mean of {name} via {fkey_col} {when}", kind="mean", is_binary=is_binary)
        if self.config.next_row:
            for name, is_binary in kept:
                yield Target(name=f"{name} of the next via {fkey_col}", kind="next", is_binary=is_binary)

    def _answers_of(self, edge_type: EdgeType, questions: Questions) -> Iterator[NDArray]:
        """Yields the columns of `_targets_of`: [questions] each."""
        end_s, kept = self.store.schema.cutoff_s, self._kept[edge_type]
        rows, time_s = questions.rows, questions.time_s
        for window_s in self.windows_s:
            is_open = time_s + window_s > end_s
            until_s = np.minimum(time_s + window_s, end_s + 1)
            count, means = self.statistics.window_answers(edge_type, rows, time_s, until_s)
            yield np.where(is_open, np.nan, np.log1p(count))
            yield np.where(is_open, np.nan, count > 0)
            yield from np.where((is_open | (count == 0))[:, None], np.nan, means[:, kept]).T
        if self.config.next_row:
            child = self.statistics.next_child(edge_type, rows, time_s, np.full(len(rows), end_s + 1))
            cells = self._cells[edge_type[0]](np.maximum(child, 0))[:, kept]
            yield from np.where((child < 0)[:, None], np.nan, cells).T


def _has_times(store: Store, table: str) -> bool:
    """Returns whether rows of a table came to be at some time, rather than being there always."""
    times = store.graph.table_time(table)
    return bool(len(times)) and int(times.min()) > ALWAYS


def _check_excluded(store: Store, config: FutureConfig) -> None:
    """Raises ValueError if `exclude` names what is not there."""
    tables = store.schema.tables
    known = {*tables, *(f"{t}.{c.name}" for t, schema in tables.items() for c in schema.columns)}
    if unknown := [name for name in config.exclude if name not in known]:
        raise ValueError(
            f"future.exclude names {unknown[0]!r}, which is neither a table nor an attribute as table.column; tables: {', '.join(tables)}"
        )
