"""The relational entity graph (REG): rows are nodes, foreign keys are edges, rows have times.

Promises: every edge is a foreign key, so a child has at most one parent per key. The graph therefore stores, per key, the parent of each
child (int32, -1 for null) and the inverse: the children of each parent, sorted by (time, row). All keys lie in a few flat arrays, which can be
memory-mapped and handed to compiled kernels. "Children before time t" is a binary search; edges induced by a sample are found from the
child side, exactly, without scanning hubs.

Times are UNIX seconds (int64). A row without a time of its own gets the time from which it exists (`existence_times`); NO_TIME (the largest
int64) means never visible, ALWAYS (the smallest) means always visible.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rdl_core.timestamps import NO_TIME

ALWAYS = np.iinfo(np.int64).min

EdgeType = tuple[str, str, str]
"""A foreign key as (child table, foreign-key column, parent table): PyG's (source, relation, destination)."""


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

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            object.__setattr__(self, name, read_only(array))

    @property
    def num_nodes(self) -> int:
        return int(self.row_offset[-1])

    def num_rows(self, table: str) -> int:
        """Rows of a table."""
        t = self.node_types.index(table)
        return int(self.row_offset[t + 1] - self.row_offset[t])

    def table_time(self, table: str) -> NDArray[np.int64]:
        """int64 [rows of table]: the time from which each row exists."""
        t = self.node_types.index(table)
        return self.time[self.row_offset[t] : self.row_offset[t + 1]]

    def times_of(self, table: str, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """int64 [rows]: the time from which each of these rows of a table exists."""
        return self.table_time(table)[rows]

    def key_parent(self, edge_type: EdgeType) -> NDArray[np.int32]:
        """int32 [rows of the child table]: the parent row, -1 for null."""
        k = self.edge_types.index(edge_type)
        return self.parent[self.parent_offset[k] : self.parent_offset[k + 1]]

    def parents_of(self, edge_type: EdgeType, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """int32 [rows]: the parent by this key of each of these rows of its child table, -1 for null."""
        return self.key_parent(edge_type)[rows]

    def arrays(self) -> dict[str, NDArray]:
        """The flat arrays by name, as the store writes them."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("node_types", "edge_types", "cutoff_s")
        }


def build_graph(
    num_rows: Mapping[str, int],
    parents: Mapping[EdgeType, NDArray[np.int32]],
    times: Mapping[str, NDArray[np.int64]],
    has_time_col: Mapping[str, bool],
    *,
    cutoff_s: int = NO_TIME - 1,
) -> RelationalEntityGraph:
    """The graph from parents per key and existence times per table.

    Args:
        num_rows: Rows per table; its order is the order of node types.
        parents: Per foreign key, int32 [child rows], -1 for null.
        times: Per table, int64 [rows] (see `existence_times`).
        has_time_col: Per table, whether it has a time column.
        cutoff_s: UNIX seconds, up to which pretraining sees rows.
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
        time=_concatenate([times[t] for t in node_types], np.int64),
        has_time_col=np.array([has_time_col[t] for t in node_types], dtype=bool),
        child_type=np.array([node_types.index(e[0]) for e in edge_types], dtype=np.int64),
        parent_type=np.array([node_types.index(e[2]) for e in edge_types], dtype=np.int64),
        parent_offset=_offsets([parents[e] for e in edge_types]),
        parent=_concatenate([parents[e] for e in edge_types], np.int32),
        children_offset=_offsets(children),
        children=_concatenate(children, np.int32),
        indptr_offset=_offsets(indptr),
        children_indptr=_concatenate(indptr, np.int64),
        children_end=_concatenate(ends, np.int64),
        cutoff_s=cutoff_s,
    )


def existence_times(
    num_rows: Mapping[str, int],
    parents: Mapping[EdgeType, NDArray[np.int32]],
    own_times: Mapping[str, NDArray[np.int64]],
    *,
    timeless: str = "first_reference",
) -> dict[str, NDArray[np.int64]]:
    """The time from which every row exists, per table: int64 [rows].

    Tables with a time column keep it (null: NO_TIME, never visible). Of the others, with timeless="first_reference":
      - a table with a key to a dated table, directly or through such tables (an order line), exists from the latest of all those parents,
        since it cannot be older (and whenever it is referred to: were it hidden until then, its being there would tell that nothing will
        refer to it); never if such a parent has a null time; with every such parent null, from its first referencing row;
      - of the others, one that these or dated tables refer to (a driver, a product) exists from its first referencing row, transitively;
        a row that nothing refers to never does;
      - of what is left, a table with a key to any of those (which customers are in which club) exists from the latest of its parents: the
        number of its rows must not tell of a parent still to come;
      - a table that no key leads to or from any of these is there ALWAYS.
    With timeless="always" every row of a table without time is always there, which is RelBench's rule (and leaks: an order line is then
    seen before its order).

    Raises:
        ValueError: Another `timeless`.
    """
    if timeless not in ("first_reference", "always"):
        raise ValueError(f"timeless must be 'first_reference' or 'always', got {timeless!r}")
    times = {table: np.asarray(own_times[table]) for table in num_rows if table in own_times}
    if timeless == "first_reference":
        unknown = _date_by_parents(num_rows, parents, times)
        _date_the_unknown(unknown, parents, times)
        _date_by_reference(num_rows, parents, times)
        _date_by_parents(num_rows, parents, times)
    return {t: times[t] if t in times else np.full(n, ALWAYS, dtype=np.int64) for t, n in num_rows.items()}


def existence_rules(
    node_types: Sequence[str], edge_types: Sequence[EdgeType], dated: Collection[str]
) -> dict[str, str]:
    """By which rule of `existence_times` (first_reference) each table's rows are dated, in a few words for people."""
    rules = dict.fromkeys(dated, "its time column")

    def spread(rule: str, child_first: bool) -> None:
        while found := [
            (a, b)
            for child, _, parent in edge_types
            for a, b in [(child, parent) if child_first else (parent, child)]
            if a not in rules and b in rules
        ]:
            for table, source in found:
                rules.setdefault(table, f"{rule} {source}")

    spread("its", child_first=True)
    spread("first reference from", child_first=False)
    spread("its", child_first=True)
    return {t: rules.get(t, "always there") for t in node_types}


Parents = Mapping[EdgeType, NDArray[np.int32]]
Times = dict[str, NDArray[np.int64]]


def _date_by_parents(num_rows: Mapping[str, int], parents: Parents, times: Times) -> dict[str, NDArray[np.bool_]]:
    """Dates the tables that have a key to a dated table or to another such table, each row from the latest of those parents.

    Returns, per such table, which rows have no such parent: bool [rows].

    A fixpoint: each pass carries the dates one key further down, whatever the order of the keys; self references and cycles too.
    """
    lines: list[str] = []
    while (found := next((e[0] for e in parents if e[0] not in times and e[2] in times), None)) is not None:
        times[found] = np.full(num_rows[found], ALWAYS, dtype=np.int64)
        lines.append(found)
    changed = bool(lines)
    while changed:
        changed = False
        for edge_type, parent in parents.items():
            if edge_type[0] in lines and edge_type[2] in times:
                known, latest = parent >= 0, times[edge_type[0]].copy()
                latest[known] = np.maximum(latest[known], times[edge_type[2]][parent[known]])
                changed |= bool((latest != times[edge_type[0]]).any())
                times[edge_type[0]] = latest
    unknown = {table: times[table] == ALWAYS for table in lines}
    for table in lines:
        times[table][unknown[table]] = NO_TIME
    return unknown


def _date_the_unknown(unknown: Mapping[str, NDArray[np.bool_]], parents: Parents, times: Times) -> None:
    """Dates these rows from their first referencing row, transitively."""
    changed = bool(unknown)
    while changed:
        changed = False
        for table, rows in unknown.items():
            first = _first_reference(table, len(rows), parents, times)
            earlier = rows & (first < times[table])
            changed |= bool(earlier.any())
            times[table] = np.where(earlier, first, times[table])


def _first_reference(table: str, num_rows: int, parents: Parents, times: Times) -> NDArray[np.int64]:
    first = np.full(num_rows, NO_TIME, dtype=np.int64)
    for edge_type, parent in parents.items():
        if edge_type[2] == table and edge_type[0] in times:
            known = parent >= 0
            np.minimum.at(first, parent[known], times[edge_type[0]][known])
    return first


def _date_by_reference(num_rows: Mapping[str, int], parents: Parents, times: Times) -> None:
    """Dates the tables that dated tables refer to, transitively: a fixpoint, each pass carries the dates one key further up."""
    reached: set[str] = set()
    while True:
        new = {e[2] for e in parents if e[2] not in times and (e[0] in times or e[0] in reached)} - reached
        if not new:
            break
        reached |= new
    times.update({table: np.full(num_rows[table], NO_TIME, dtype=np.int64) for table in reached})
    changed = bool(reached)
    while changed:
        changed = False
        for table in reached:
            first = _first_reference(table, num_rows[table], parents, times)
            changed |= bool((first != times[table]).any())
            times[table] = first


def _rows_by_time(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows in (time, row) order; a table that is stored by time costs one pass."""
    if (times[1:] >= times[:-1]).all():
        return np.arange(len(times))
    return np.argsort(times, kind="stable")


@njit(cache=True, nogil=True)
def _children_by_time(
    parent: NDArray[np.int32], child_rows: NDArray[np.int64], num_parents: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """A counting sort of the child rows, which come in (time, row) order, by parent: two passes instead of a sort a key."""
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
    """A view that cannot be written, as of mapped arrays: compiled kernels are then compiled once for both."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _visible_ends(visible: NDArray[np.bool_], indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the visible children, which come first in each list, end; one entry more, as `indptr` has."""
    seen = np.concatenate([[0], np.cumsum(visible)])
    return np.append(indptr[:-1] + np.diff(seen[indptr]), indptr[-1])


def _offsets(parts: Sequence[NDArray]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)


def _concatenate(parts: Sequence[NDArray], dtype: type) -> NDArray:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype=dtype)
