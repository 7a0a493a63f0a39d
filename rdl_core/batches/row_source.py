"""The sources of the times and cells of a batch's rows: the mapped store, or the shares of a graph.

Promise: `collate` gets the same batch from both, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch_frame import TensorFrame

from rdl_core.graph.feature_rows import UNKNOWN, Arrays, concatenate_rows, take_rows
from rdl_core.graph.features import TableFeatures
from rdl_core.graph.store import Store
from rdl_core.sampling.share import Ownership, SharedRows
from rdl_core.sampling.subgraph import Subgraph


class RowTopology(Protocol):
    """Times of rows; RelationalEntityGraph is one."""

    @property
    def node_types(self) -> tuple[str, ...]: ...
    @property
    def has_time_col(self) -> NDArray[np.bool_]: ...
    def times_of(self, table: str, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Returns int64 [rows], UNIX seconds."""
        ...


class RowCells(Protocol):
    """Cells of a table's rows; TableFeatures is one."""

    @property
    def has_late_cells(self) -> bool: ...
    def donors(self, distribution: str) -> list[NDArray[np.int32]]: ...
    def known(self, rows: NDArray[np.integer], before_s: NDArray[np.int64] | int) -> NDArray[np.bool_] | None: ...
    def gather(self, rows: NDArray[np.integer]) -> TensorFrame: ...


RowSource = Callable[[Sequence[Subgraph]], tuple[RowTopology, Mapping[str, RowCells]]]
"""Returns, for some samples, the times of all their rows and the cells of these and of all donors."""


def mapped_rows(store: Store) -> RowSource:
    """Returns the source that reads the rows of a store which this process maps."""
    return lambda subgraphs: (store.graph, store.features)


AskCells = Callable[[dict[int, dict[str, NDArray[np.int64]]]], dict[int, dict[str, SharedRows]]]
"""Sends {share: {table: rows}} and returns {share: {table: their rows}}: one round."""


class ShardedRows:
    """A RowSource that asks the shares of a graph, in one round for all samples.

    The rows that corruption copies cells from (donors: at most 10,000 per column) are read from the store once and kept.

    Args:
        store: The store, of which donors and sizes are read.
        owned: The assignment of rows to shares.
        ask: Sends one round of requests.
        distribution: Distribution of the donors, "distinct" or "frequency".
    """

    def __init__(self, store: Store, owned: Ownership, ask: AskCells, distribution: str) -> None:
        self.store, self.owned, self._ask = store, owned, ask
        self._donor_rows: dict[str, NDArray[np.int64]] = {}
        self._donor_cells: dict[str, Arrays] = {}
        for table, features in store.features.items():
            rows = np.unique(np.concatenate([np.zeros(0, np.int64), *features.donors(distribution)])).astype(np.int64)
            self._donor_rows[table], self._donor_cells[table] = rows, take_rows(features.arrays, rows)

    def __call__(self, subgraphs: Sequence[Subgraph]) -> tuple[RowTopology, Mapping[str, RowCells]]:
        per_sample = [s.rows for s in subgraphs]
        wanted = {t: np.unique(np.concatenate([r[t] for r in per_sample])).astype(np.int64) for t in per_sample[0]}
        answers = self._ask(self._split(wanted))
        times, cells = {}, {}
        for table, rows in wanted.items():
            parts = [answers[share][table] for share in sorted(answers) if table in answers[share]]
            times[table] = (rows, np.concatenate([np.zeros(0, np.int64), *(p.times for p in parts)]))
            all_rows = np.concatenate([rows, self._donor_rows[table]])
            arrays = concatenate_rows([*(p.cells for p in parts), self._donor_cells[table]])
            cells[table] = _FetchedCells(self.store.features[table], all_rows, arrays)
        return _FetchedTopology(self.store, times), cells

    def _split(self, wanted: Mapping[str, NDArray[np.int64]]) -> dict[int, dict[str, NDArray[np.int64]]]:
        """Splits the rows by share; they are sorted and ranges contiguous, so the answers in order of shares are in order of rows."""
        requests: dict[int, dict[str, NDArray[np.int64]]] = {}
        for t, (table, rows) in enumerate(wanted.items()):
            owners = self.owned.owner(t, rows)
            for share in np.unique(owners).tolist():
                requests.setdefault(share, {})[table] = rows[owners == share]
        return requests


class _FetchedTopology:
    """Times by table, each as (row numbers, values)."""

    def __init__(self, store: Store, times: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]) -> None:
        self.node_types, self.has_time_col = store.graph.node_types, store.graph.has_time_col
        self._times = times

    def times_of(self, table: str, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        have, times = self._times[table]
        return times[np.searchsorted(have, rows)]


class _FetchedCells:
    """Cells of some rows, by their numbers in the whole table."""

    def __init__(self, whole: TableFeatures, rows: NDArray[np.int64], arrays: Arrays) -> None:
        self._whole, self._cells = whole, TableFeatures(whole.schema, arrays)
        self._rows, self._place = np.unique(rows, return_index=True)

    def donors(self, distribution: str) -> list[NDArray[np.int32]]:
        return self._whole.donors(distribution)

    @property
    def has_late_cells(self) -> bool:
        return self._whole.has_late_cells

    def known(self, rows: NDArray[np.integer], before_s: NDArray[np.int64] | int) -> NDArray[np.bool_] | None:
        return self._cells.known(self._places(rows), before_s)

    def gather(self, rows: NDArray[np.integer]) -> TensorFrame:
        places = self._places(rows)
        return self._cells.gather(np.where(rows < 0, UNKNOWN, places) if self.has_late_cells else places)

    def _places(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        return self._place[np.searchsorted(self._rows, rows)]
