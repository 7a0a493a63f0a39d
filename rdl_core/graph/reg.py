"""The relational entity graph (REG): rows are nodes, foreign keys are edges, rows have times.

Promises: every edge is a foreign key, so a child has at most one parent per key. The graph therefore stores, per key, the parent of each
child (int32, -1 for null) and the inverse: the children of each parent, sorted by (time, row). All keys lie in a few flat arrays, which can be
memory-mapped and handed to compiled kernels. "Children before time t" is a binary search; edges induced by a sample are found from the
child side, exactly, without scanning hubs.

Times are UNIX seconds (int64). A row without a time of its own gets the time from which it exists (`existence_times`); NO_TIME (the largest
int64) means never visible, ALWAYS (the smallest) means always visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from rdl_core.kernel_cache import kernel
from rdl_core.timestamps import NO_TIME

ALWAYS = np.iinfo(np.int64).min

EdgeType = tuple[str, str, str]
"""A foreign key as (child table, foreign-key column, parent table): PyG's (source, relation, destination)."""


def reverse(edge_type: EdgeType) -> EdgeType:
    """Returns the directed edge type parent -> child of a foreign key."""
    child, fkey_col, parent = edge_type
    return parent, f"rev_{fkey_col}", child


@dataclass(frozen=True, kw_only=True)
class RelationalEntityGraph:
    """Topology and times of a database; node `row_offset[t] + r` is row r of table t.

    Args:
        node_types: Table names, T of them.
        edge_types: Foreign keys, K of them, as (child table, foreign-key column, parent table).
        row_offset: int64 [T + 1].
        time: int64 [rows], UNIX seconds from which each row exists.
        has_time_col: bool [T], whether the table has a time column of its own.
        child_type, parent_type: int64 [K], positions in node_types.
        parent_offset: int64 [K + 1]; parent: int32, key k's parents of all child rows lie at [parent_offset[k], parent_offset[k + 1]).
        children_offset: int64 [K + 1]; children: int32, key k's child rows, grouped by parent, by (time, row) within.
        indptr_offset: int64 [K + 1]; children_indptr: int64, absolute positions in `children`; key k has (parent rows + 1) of them.
        children_end: int64, as long as children_indptr: where the children of each parent that exist up to the cutoff end (a key's last
            entry is unused); without it, every sampled hub would cost a search with a cache miss a step.
        cutoff_s: UNIX seconds, for children_end.
        expiry: int64 [rows], UNIX seconds up to which a row is valid (NO_TIME: for ever), or [0] where all are: a table with `valid_to` holds
            versions, of which one looking at a time t sees those with time < t <= expiry.
    """

    node_types: tuple[str, ...]
    edge_types: tuple[EdgeType, ...]
    row_offset: NDArray[np.int64]
    time: NDArray[np.int64]
    has_time_col: NDArray[np.bool_]
    child_type: NDArray[np.int64]
    parent_type: NDArray[np.int64]
    parent_offset: NDArray[np.int64]
    parent: NDArray[np.int32]
    children_offset: NDArray[np.int64]
    children: NDArray[np.int32]
    indptr_offset: NDArray[np.int64]
    children_indptr: NDArray[np.int64]
    children_end: NDArray[np.int64]
    cutoff_s: int
    expiry: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        for name, array in {**self.arrays(), "expiry": self.expiry}.items():
            object.__setattr__(self, name, read_only(array))

    @property
    def num_nodes(self) -> int:
        return int(self.row_offset[-1])

    def num_rows(self, table: str) -> int:
        """Returns the number of rows of a table."""
        t = self.node_types.index(table)
        return int(self.row_offset[t + 1] - self.row_offset[t])

    def table_time(self, table: str) -> NDArray[np.int64]:
        """Returns the time from which each row exists: int64 [rows of the table], UNIX seconds."""
        t = self.node_types.index(table)
        return self.time[self.row_offset[t] : self.row_offset[t + 1]]

    @property
    def after_last_row_s(self) -> int:
        """UNIX seconds just after the last row, the first time at which every row that has a time is seen; after the cutoff where none has one."""
        last = int(np.max(self.time, initial=ALWAYS, where=self.time != NO_TIME))
        return (last if last != ALWAYS else self.cutoff_s) + 1

    def times_of(self, table: str, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Returns the time from which each of these rows of a table exists: int64 [rows], UNIX seconds."""
        return self.table_time(table)[rows]

    def key_parent(self, edge_type: EdgeType) -> NDArray[np.int32]:
        """Returns the parent row of each child row by a key: int32 [rows of the child table], -1 for null."""
        k = self.edge_types.index(edge_type)
        return self.parent[self.parent_offset[k] : self.parent_offset[k + 1]]

    def arrays(self) -> dict[str, NDArray]:
        """Returns the flat arrays by name, as the store writes them."""
        others = {"node_types", "edge_types", "cutoff_s", *([] if len(self.expiry) else ["expiry"])}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in others}

    def valid_before(self, before_s: int) -> RelationalEntityGraph:
        """Returns the graph without the links to rows that are not valid any more at a time, or the graph itself where all rows are for ever.

        Parents that are hidden are -2 - row, as for a sampler; child lists lack such rows.
        """
        if not len(self.expiry):
            return self
        parents, keep = [], []
        for k in range(len(self.edge_types)):
            parent = self.parent[self.parent_offset[k] : self.parent_offset[k + 1]]
            valid = self.expiry[self.row_offset[self.parent_type[k]] + np.maximum(parent, 0)] >= before_s
            parents.append(np.where((parent >= 0) & ~valid, -2 - parent, parent))
            children = self.children[self.children_offset[k] : self.children_offset[k + 1]]
            keep.append(self.expiry[self.row_offset[self.child_type[k]] + children.astype(np.int64)] >= before_s)
        kept = concatenate(keep, np.bool_)
        place = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        return replace(
            self,
            parent=concatenate(parents, np.int32),
            children=self.children[kept],
            children_offset=place[self.children_offset],
            children_indptr=place[self.children_indptr],
            children_end=place[self.children_end],
        )


def build_graph(
    num_rows: Mapping[str, int],
    parents: Mapping[EdgeType, NDArray[np.int32]],
    times: Mapping[str, NDArray[np.int64]],
    has_time_col: Mapping[str, bool],
    *,
    cutoff_s: int = NO_TIME - 1,
    expiry: Mapping[str, NDArray[np.int64]] | None = None,
) -> RelationalEntityGraph:
    """Builds the graph from parents per key and existence times per table.

    Args:
        num_rows: Rows per table; its order is the order of node types.
        parents: Per foreign key, int32 [child rows], -1 for null.
        times: Per table, int64 [rows] (see `existence_times`).
        has_time_col: Per table, whether it has a time column.
        cutoff_s: UNIX seconds, up to which pretraining sees rows.
        expiry: Per table that holds versions, int64 [rows], UNIX seconds up to which each is valid.
    """
    node_types, edge_types = tuple(num_rows), tuple(parents)
    row_offset = np.concatenate([[0], np.cumsum(list(num_rows.values()))]).astype(np.int64)
    rows_by_time = {table: _rows_by_time(times[table]) for table in dict.fromkeys(e[0] for e in edge_types)}
    children, indptr, ends = [], [], []
    base = 0
    for edge_type in edge_types:
        child, _, parent_table = edge_type
        key_children, key_indptr = _children_by_time(parents[edge_type], rows_by_time[child], num_rows[parent_table])
        children.append(key_children)
        indptr.append(key_indptr + base)
        ends.append(_visible_ends(times[child][key_children] <= cutoff_s, key_indptr) + base)
        base += len(key_children)
    return RelationalEntityGraph(
        node_types=node_types,
        edge_types=edge_types,
        row_offset=row_offset,
        time=concatenate([times[t] for t in node_types], np.int64),
        has_time_col=np.array([has_time_col[t] for t in node_types], dtype=bool),
        child_type=np.array([node_types.index(e[0]) for e in edge_types], dtype=np.int64),
        parent_type=np.array([node_types.index(e[2]) for e in edge_types], dtype=np.int64),
        parent_offset=offsets([parents[e] for e in edge_types]),
        parent=concatenate([parents[e] for e in edge_types], np.int32),
        children_offset=offsets(children),
        children=concatenate(children, np.int32),
        indptr_offset=offsets(indptr),
        children_indptr=concatenate(indptr, np.int64),
        children_end=concatenate(ends, np.int64),
        cutoff_s=cutoff_s,
        expiry=concatenate([(expiry or {}).get(t, np.full(n, NO_TIME)) for t, n in num_rows.items()], np.int64)
        if expiry
        else np.zeros(0, np.int64),
    )


def _rows_by_time(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the rows in (time, row) order; a table that is stored by time costs one pass."""
    if (times[1:] >= times[:-1]).all():
        return np.arange(len(times))
    return np.argsort(times, kind="stable")


@kernel
def _children_by_time(
    parent: NDArray[np.int32], child_rows: NDArray[np.int64], num_parents: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Sorts the child rows, which come in (time, row) order, by parent: a counting sort in two passes, instead of a sort per key."""
    indptr = np.zeros(num_parents + 1, dtype=np.int64)
    for row in range(len(parent)):
        if parent[row] >= 0:
            indptr[parent[row] + 1] += 1
    for i in range(num_parents):
        indptr[i + 1] += indptr[i]
    free = indptr[:-1].copy()
    children = np.empty(indptr[-1], dtype=np.int32)
    for row in child_rows:
        if parent[row] >= 0:
            children[free[parent[row]]] = row
            free[parent[row]] += 1
    return children, indptr


def read_only(array: NDArray) -> NDArray:
    """Returns a view that cannot be written, as mapped arrays are: kernels are then compiled once for both."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _visible_ends(visible: NDArray[np.bool_], indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns where the visible children, which come first in each list, end; with one entry more, as `indptr` has."""
    seen = np.concatenate([[0], np.cumsum(visible)])
    return np.append(indptr[:-1] + np.diff(seen[indptr]), indptr[-1])


def offsets(parts: Sequence[NDArray]) -> NDArray[np.int64]:
    """Returns where each of some arrays begins when they are put one after another, and where the last ends: int64 [parts + 1]."""
    return np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)


def concatenate(parts: Sequence[NDArray], dtype: type) -> NDArray:
    """Returns the arrays one after another, as `dtype`; there may be none."""
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype=dtype)
