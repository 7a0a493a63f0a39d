"""Columns of a row at a time: its cells and the statistics of its past, and those of rows that key paths lead to ("wide" columns).

    its cells · its age · statistics of its children by each key
    the same of its parents, and of theirs                          order_line -> product
    statistics and parents of its latest children, and sums of theirs: of the latest, and the mean over the latest 16
                                                                    customer <- order <- order_line -> product

Promises
- Strictly before: all that a column is made of exists before the time, parents included, but the row itself, which is there whatever its time (the
  question is about it). A late cell is NaN until it is known.
- Exact: nothing is drawn. A row's columns are a function of the store, the row and the time: neither of the other rows of a call nor of their
  order.
- Names, number and order of the columns are functions of the schema, the keys and the settings: a model's columns do not change with the data.
- What a row's own statistics tell already is not repeated: the cells of its children.
- A call works in chunks, so that memory does not grow with it, besides its result. Distinct (row, time) pairs on the way are computed once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import ColumnsConfig
from rdl_core.graph.existence import existence_rules
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.store import Store
from rdl_core.statistics.blocks import Block
from rdl_core.statistics.cells import RowCells
from rdl_core.statistics.key_statistics import KeyStatistics
from rdl_core.statistics.latest_children import latest_children
from rdl_core.statistics.paths import Keys, Path, default_hops, find_paths
from rdl_core.statistics.sources import Source
from rdl_core.statistics.sums import ChildSums

ROWS_PER_CHUNK = 1 << 18
"""Rows at the far ends of paths in a chunk of a call."""

Rows = NDArray[np.int64]
Times = NDArray[np.int64]


class Columns:
    """The columns of a table's rows at any time.

    Args:
        store: An open store.
        table: The table.
        config: Hops, children and statistics.

    Raises:
        ValueError: The store has no such table.
    """

    def __init__(self, store: Store, table: str, config: ColumnsConfig) -> None:
        if table not in store.schema.tables:
            raise ValueError(f"the store has no table {table!r}; its tables: {', '.join(store.schema.tables)}")
        self.table, self.config, self._graph = table, config, store.graph
        keys = _usable_keys(store)
        self.hops = config.hops or default_hops(keys, table)
        self.left_out = _left_out(store, keys)
        """Keys that no path uses, by table.column: why."""
        self._near, self._far = KeyStatistics(store, config.statistics), KeyStatistics(store, config.further)
        self._keys = keys
        self._sums = {e: ChildSums(self._far, e) for e in keys.edge_types}
        dated = _dated(store, keys)
        self._cells = {t: RowCells(store, t, is_dated=t in dated) for t in store.schema.tables}
        self._paths = find_paths(keys, table, self.hops)
        described = self._described(self._paths, Source(start=table))
        self.names = [name for name, _ in described]
        """The meaning of each column, in words."""
        self.sources = [source for _, source in described]
        """The source of each column."""

    @property
    def width(self) -> int:
        return len(self.names)

    def __call__(
        self,
        rows: Rows,
        before_s: Times,
        *,
        raw: bool = False,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> NDArray[np.float32]:
        """Returns the columns of rows at times.

        Args:
            rows: int64 [m], rows of the table.
            before_s: int64 [m], UNIX seconds; all that is seen exists strictly before.
            raw: In the cells' own units, for people and trees, instead of standardised, for networks.
            advance: Is told how many rows are done, a chunk at a time.

        Returns:
            float32 [m, width], NaN where a column is not defined.

        Raises:
            ValueError: The arrays' lengths differ, or a row is none of the table.
        """
        rows, before_s = np.asarray(rows, np.int64), np.asarray(before_s, np.int64)
        if not rows.shape == before_s.shape == (len(rows),):
            raise ValueError(f"rows and before_s must have one length, got {rows.shape} and {before_s.shape}")
        if len(rows) and not 0 <= rows.min() <= rows.max() < self._graph.num_rows(self.table):
            last = self._graph.num_rows(self.table) - 1
            raise ValueError(f"rows must be 0 to {last} of {self.table!r}, got {rows.min()} to {rows.max()}")
        out = np.empty((len(rows), self.width), np.float32)
        order = np.lexsort((rows, before_s))  # what one time's rows share is computed together
        size = max(1, ROWS_PER_CHUNK // self.config.num_children**self._paths.most_down)
        for begin in range(0, len(rows), size):
            chunk = order[begin : begin + size]
            out[chunk] = self._chunk(rows[chunk], before_s[chunk], raw)
            advance(len(chunk))
        return out

    def _chunk(self, rows: Rows, before_s: Times, raw: bool) -> NDArray[np.float32]:
        out, begin = np.empty((len(rows), self.width), np.float32), 0
        for block in self._blocks(self._paths, rows, before_s, raw):
            end = begin + block.values.shape[1]
            block.write(out[:, begin:end])
            begin = end
        return out

    def _described(self, path: Path, here: Source) -> list[tuple[str, Source]]:
        """Returns name and source of each of a path's columns, in the order of `_blocks`; `here` is the way to the path's rows."""
        cells, found = self._cells[path.table], list[tuple[str, Source]]()
        if not path.came_down:
            found += zip(cells.names, here.read(cells.columns, "age"), strict=True)
        for key in self._keys.down_from(path.table):
            statistics, children = self._statistics_at(path), here.along(key, key[0])
            found += zip(statistics.names(key), children.read(statistics.columns(key), "counts"), strict=True)
            if path.came_down:
                sums = self._sums[key]
                found += zip(sums.names, children.read(sums.columns, "counts"), strict=True)
        for key, parent in path.parents:
            above = self._described(parent, here.along(key, key[2]))
            found += [(f"{key[1]}'s {name}", source) for name, source in above]
        for key, child in path.children:
            below = self._described(child, here.along(key, key[0]))
            if child.num_down == 1:
                found += [(f"latest {key[0]} via {key[1]}: {name}", source) for name, source in below]
            mean = f"mean over the latest {self.config.num_children} {key[0]} via {key[1]} of"
            found += [(f"{mean} {name}", source) for name, source in below]
        return found

    def _blocks(self, path: Path, rows: Rows, before_s: Times, raw: bool) -> list[Block]:
        """Returns the columns of a path's rows, which exist before their times: those of the rows, of their parents, of their children."""
        own = [] if path.came_down else [self._cells[path.table](rows, before_s, raw=raw)]
        for key in self._keys.down_from(path.table):
            own.append(self._statistics_at(path)(key, rows, before_s, raw=raw))
            own += [self._sums[key](rows, before_s, raw=raw)] if path.came_down else []
        blocks = [Block(values) for values in own]
        for key, parent in path.parents:
            blocks += self._of_parents(key, parent, rows, before_s, raw)
        for key, child in path.children:
            blocks += self._of_children(key, child, rows, before_s, raw)
        return blocks

    def _of_parents(self, key: EdgeType, path: Path, rows: Rows, before_s: Times, raw: bool) -> list[Block]:
        """Returns the columns of the rows' parents, each distinct (parent, time) computed once; of none where a parent is not there."""
        parents = self._graph.key_parent(key)[rows].astype(np.int64)
        there = parents >= 0
        there[there] = self._exists(key[2], parents[there], before_s[there])
        parents, times = parents[there], before_s[there]
        _, time_rank = np.unique(times, return_inverse=True)
        pair = time_rank * self._graph.num_rows(key[2]) + parents
        _, first, number = np.unique(pair, return_index=True, return_inverse=True)
        place = np.full(len(rows), -1, np.int64)
        place[there] = number
        return [block.at(place) for block in self._blocks(path, parents[first], times[first], raw)]

    def _exists(self, table: str, rows: Rows, before_s: Times) -> NDArray[np.bool_]:
        """Returns which rows exist before, and are valid at, a time: bool [m]."""
        exists, expiry = self._graph.times_of(table, rows) < before_s, self._graph.expiry
        if not len(expiry):
            return exists
        begin = self._graph.row_offset[self._graph.node_types.index(table)]
        return exists & (expiry[begin + rows] >= before_s)

    def _of_children(self, key: EdgeType, path: Path, rows: Rows, before_s: Times, raw: bool) -> list[Block]:
        """Returns the columns of the rows' latest child, at the first step down, and their means over the latest children."""
        latest = latest_children(self._graph, key, rows, before_s, self.config.num_children)
        there = latest >= 0
        place = np.full(latest.shape, -1, np.int64)
        place[there] = np.arange(there.sum())
        times = np.broadcast_to(before_s[:, None], latest.shape)[there]
        below = self._blocks(path, latest[there].astype(np.int64), times, raw)
        of_latest = [block.at(place[:, 0]) for block in below] if path.num_down == 1 else []
        return of_latest + [block.at(place).means() for block in below]

    def _statistics_at(self, path: Path) -> KeyStatistics:
        """Returns the statistics of a path's rows: fewer of each behind children."""
        return self._far if path.num_down else self._near


def _usable_keys(store: Store) -> Keys:
    """Returns the keys without those that are filled in later, and the tables with versions."""
    late = store.late_keys
    edge_types = [e for e in store.graph.edge_types if not late.get(f"{e[0]}.{e[1]}", {}).get("is_left_out")]
    return Keys(edge_types=edge_types, versioned=[name for name, t in store.schema.tables.items() if t.holds_versions])


def _left_out(store: Store, keys: Keys) -> dict[str, str]:
    left_out = {}
    for edge_type in store.graph.edge_types:
        child, fkey_col, parent = edge_type
        if edge_type not in keys.edge_types:
            left_out[f"{child}.{fkey_col}"] = "the key is filled in later"
        elif {child, parent} & set(keys.versioned):
            table = child if child in keys.versioned else parent
            left_out[f"{child}.{fkey_col}"] = f"not from {parent} to {child}: {table} has versions (valid_to)"
    return left_out


def _dated(store: Store, keys: Keys) -> set[str]:
    """Returns the tables whose rows exist from some time on."""
    tables = store.schema.tables
    with_time = [name for name, table in tables.items() if table.time_col is not None]
    if store.schema.timeless_rows == "always":
        return set(with_time)
    rules = existence_rules(list(tables), keys.edge_types, with_time)
    return {name for name, rule in rules.items() if rule != "always there"}
