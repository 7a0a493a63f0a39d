"""One share of the relational entity graph: a contiguous range of the rows of every table, with all that those rows own.

Every edge is a foreign key, so a share needs no halo: the keys of its own rows and the child lists of its own rows are all it holds, besides
their times and cells. Shares answer batches of requests; they keep no state between them, so that a lost share is simply loaded again.

Promises: the shares of a graph hold every row exactly once; what a sampler computes from their answers equals, bit for bit, what it computes on
the whole graph (sharded.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import HGSamplingConfig
from rdl_core.graph.feature_rows import Arrays, num_bytes, take_rows
from rdl_core.graph.reg import RelationalEntityGraph, concatenate, offsets
from rdl_core.graph.store import Store
from rdl_core.sampling.share_kernels import cut_lists, expand

ROW_BYTES = 16
"""Bytes of a row in a share besides its keys, children and cells: its time and its place in the child lists."""


@dataclass(frozen=True)
class Ownership:
    """The assignment of rows to shares.

    Args:
        cuts: int64 [tables, shares + 1]: share s owns the rows [cuts[t, s], cuts[t, s + 1]) of table t.
    """

    cuts: NDArray[np.int64]

    @property
    def num_shares(self) -> int:
        """Number of shares."""
        return self.cuts.shape[1] - 1

    def owner(self, table: int, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Returns the share of each row of a table, which is given by its number: int64 [rows]."""
        return np.searchsorted(self.cuts[table], rows, side="right") - 1


def ownership(
    graph: RelationalEntityGraph, num_shares: int, cell_bytes: Mapping[str, float] | None = None
) -> Ownership:
    """Cuts every table into contiguous ranges of about equal memory, with cells, keys and children counted. A pure function.

    Args:
        graph: The whole graph.
        num_shares: Number of shares.
        cell_bytes: Bytes of a row's cells per table; by default 0.

    Raises:
        ValueError: `num_shares` is less than 1.
    """
    if num_shares < 1:
        raise ValueError(f"num_shares must be at least 1, got {num_shares}")
    cuts = np.zeros((len(graph.node_types), num_shares + 1), np.int64)
    for t, table in enumerate(graph.node_types):
        keys = int((graph.child_type == t).sum())
        weight = np.full(graph.num_rows(table), ROW_BYTES + 4.0 * keys + (cell_bytes or {}).get(table, 0.0))
        for k in np.flatnonzero(graph.parent_type == t):
            indptr = graph.children_indptr[graph.indptr_offset[k] : graph.indptr_offset[k + 1]]
            weight += 4.0 * np.diff(indptr)
        total = np.concatenate([[0.0], np.cumsum(weight)])
        cuts[t, 1:-1] = np.searchsorted(total, total[-1] * np.arange(1, num_shares) / num_shares)
        cuts[t, -1] = len(weight)
    return Ownership(np.maximum.accumulate(cuts, axis=1))


def cell_bytes(store: Store) -> dict[str, float]:
    """Returns the average bytes of a row's cells per table, without donors, which no share holds."""
    return {
        table: num_bytes({n: a for n, a in features.arrays.items() if not n.startswith("donors")})
        / max(1, features.schema.num_rows)
        for table, features in store.features.items()
    }


class Request(NamedTuple):
    """The rows that one share is to expand; rows of table t stand at [row_begin[t], row_begin[t + 1]), its lists alike.

    Args:
        row_begin, list_begin: int64 [tables + 1].
        rows: int64, row numbers, each once unless bounds differ.
        bounds: int64 [rows, 2], UNIX seconds before which children and parents are seen; [0, 2] where all rows see what the share holds.
        list_row: int64 [lists], position in `rows`: a row may be wanted by several samples.
        list_stream: uint64 [lists], the sample's stream of this hop, by which children of a hub are picked.
        with_lists: Whether children are wanted too, or parents only.
    """

    row_begin: NDArray[np.int64]
    rows: NDArray[np.int64]
    bounds: NDArray[np.int64]
    list_begin: NDArray[np.int64]
    list_row: NDArray[np.int64]
    list_stream: NDArray[np.uint64]
    with_lists: bool


class Response(NamedTuple):
    """The answer to a Request, key after key.

    Args:
        parents: int32, a number per row of the key's child table: parent row, -1 for null, -2 - row for one that is not visible.
        begins, lengths: int32, the lists of the key's parent table, in `children`.
        children: int32, child rows; at most `max_children` per list.
    """

    parents: NDArray[np.int32]
    begins: NDArray[np.int32]
    lengths: NDArray[np.int32]
    children: NDArray[np.int32]


class SharedRows(NamedTuple):
    """The data that a share sends of some rows of a table: times, encoded cells."""

    times: NDArray[np.int64]
    cells: Arrays


class GraphShare:
    """The rows of one share.

    Args:
        store: The whole store; only this share's part is copied.
        owned: The assignment of rows to shares.
        share: Number of this share.
        config: Settings of a sample: the cap per hub, and whether times are needed.
        before_s: Rows from this UNIX second on are never seen.
    """

    def __init__(self, store: Store, owned: Ownership, share: int, config: HGSamplingConfig, *, before_s: int) -> None:
        graph = store.graph
        self._first = np.ascontiguousarray(owned.cuts[:, share])
        self._last = np.ascontiguousarray(owned.cuts[:, share + 1])
        self._keys = (graph.child_type, graph.parent_type)
        self._max_children = config.max_children
        self._topology = self._load_topology(graph.valid_before(before_s), before_s, timed=config.time_bound == "seeds")
        self._features: dict[str, Arrays] = {}
        self._time: dict[str, NDArray[np.int64]] = {}
        for t, table in enumerate(graph.node_types):
            rows = np.arange(self._first[t], self._last[t])
            self._features[table] = take_rows(store.features[table].arrays, rows)
            self._time[table] = np.array(graph.table_time(table)[rows])

    @property
    def num_bytes(self) -> dict[str, int]:
        """Bytes of this share: {"topology": ..., "cells": ...}; times count as topology."""
        topology = sum(a.nbytes for a in (*self._topology, *self._time.values()))
        return {"topology": topology, "cells": sum(num_bytes(f) for f in self._features.values())}

    def expand(self, request: Request) -> Response:
        """Returns parents and children of rows that this share owns."""
        return Response(*expand(self._topology, self._keys, request, self._max_children))

    def cells(self, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, SharedRows]:
        """Returns, per table, what this share has of rows that it owns."""
        shared = {}
        for number, table in enumerate(self._features):
            if table in rows:
                local = rows[table] - self._first[number]
                cells = take_rows(self._features[table], local)
                shared[table] = SharedRows(self._time[table][local], cells)
        return shared

    def _load_topology(self, graph: RelationalEntityGraph, before_s: int, *, timed: bool) -> tuple[NDArray, ...]:
        parents, parent_times, indptrs, lists, list_times = [], [], [], [], []
        for k in range(len(graph.edge_types)):
            child, parent_table = graph.child_type[k], graph.parent_type[k]
            first = graph.parent_offset[k]
            parent = np.array(graph.parent[first + self._first[child] : first + self._last[child]])
            time = graph.time[graph.row_offset[parent_table] + np.maximum(parent, 0)]
            parents.append(np.where((parent >= 0) & (time >= before_s), -2 - parent, parent).astype(np.int32))
            parent_times.append(time if timed else time[:0])
            first = graph.indptr_offset[k]
            indptr = graph.children_indptr[first + self._first[parent_table] : first + self._last[parent_table] + 1]
            ends, children = cut_lists(graph.children, graph.time, graph.row_offset[child], indptr, before_s)
            indptrs.append(ends)
            lists.append(children)
            list_times.append(graph.time[graph.row_offset[child] + children.astype(np.int64)] if timed else time[:0])
        return (
            self._first,
            offsets(parents),
            concatenate(parents, np.int32),
            concatenate(parent_times, np.int64),
            offsets(indptrs),
            concatenate(indptrs, np.int64),
            offsets(lists),
            concatenate(lists, np.int32),
            concatenate(list_times, np.int64),
        )
