"""Exact statistics of a row's children along a foreign key, strictly before a time, from the running sums of the store.

Per key: how many children there are, the days since the last and the first, between the last two, and the age of the last in mean gaps; the mean of
each measure of their cells over the last few and over all; counts and means in windows that are scaled to the time that the data spans.

Promises: no child at or after the time changes one bit; a child without a time is never counted, one that is there ALWAYS is counted and has no age;
nothing is sampled, and a row costs O(log children) a window. Keys into or of tables that hold versions, and cells that become known after their row,
are left out; `left_out` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdl_core.config.statistics import StatisticsConfig
from rdl_core.graph.measures import Measure, late_measures, measures
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.store import Store
from rdl_core.statistics.kernels import NUM_TIME_COLUMNS, fill_statistics, fill_window, next_children
from rdl_core.statistics.names import statistic_columns, statistic_names
from rdl_core.statistics.sources import Source


@dataclass(frozen=True, kw_only=True)
class _Key:
    """The arrays of a key, as the kernels take them."""

    measures: tuple[Measure, ...]
    children: NDArray[np.int32]
    times: NDArray[np.int64]
    indptr: NDArray[np.int64]
    base: int
    sums: NDArray[np.float64]
    unknown: NDArray[np.int64]

    def units(self, raw: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns what means are shifted and scaled by: mean and standard deviation per measure, or 0 and 1."""
        mean = np.array([m.mean if raw else 0.0 for m in self.measures])
        return mean, np.array([m.std if raw else 1.0 for m in self.measures])


class KeyStatistics:
    """Statistics of the children of rows.

    Args:
        store: The store.
        config: Which statistics; None for the defaults.
    """

    def __init__(self, store: Store, config: StatisticsConfig | None = None) -> None:
        self.config = config or StatisticsConfig()
        self.windows_s = windows_s(store.schema.time_span_s, self.config.window_shares)
        self._schema = store.schema
        self._keys = {e: _key(store, e) for e in store.graph.edge_types if not self._holds_versions(e)}
        self._edge_types = store.graph.edge_types

    def __call__(
        self, edge_type: EdgeType, parents: NDArray[np.integer], before_s: NDArray[np.int64], *, raw: bool = False
    ) -> NDArray[np.float32]:
        """Returns the statistics of the children by a key, strictly before a time, of m rows of the parent table.

        Args:
            edge_type: The key.
            parents: [m], rows of the parent table.
            before_s: int64 [m], UNIX seconds.
            raw: Whether means are in a column's own units, and counts, days and gaps as they are; else means are of standardised measures, and
                the others log(1 + x), of gaps the logarithm between -5 and 5.

        Returns:
            float32 [m, width], NaN where undefined; columns as `names` has them.
        """
        out = np.empty((len(parents), self.width(edge_type)), np.float32)
        if edge_type in self._keys:
            key = self._keys[edge_type]
            fill_statistics(
                out,
                _int64(parents),
                _int64(before_s),
                key.children,
                key.times,
                key.indptr,
                key.base,
                key.sums,
                key.unknown,
                *key.units(raw),
                _int64(self.config.num_last),
                _int64(self.windows_s),
                raw,
            )
        return out

    def measures(self, edge_type: EdgeType) -> tuple[Measure, ...]:
        """Returns the measures of a key's child table; none for a key that is left out."""
        return self._keys[edge_type].measures if edge_type in self._keys else ()

    def names(self, edge_type: EdgeType) -> list[str]:
        """Returns the names of a key's statistics; none for a key that is left out."""
        if edge_type not in self._keys:
            return []
        return statistic_names(edge_type, self.measures(edge_type), self.config, self.windows_s)

    def columns(self, edge_type: EdgeType) -> list[str | None]:
        """Returns the column of the child table that each of a key's statistics is made of, None for counts and times; none for a key left out."""
        return statistic_columns(self.measures(edge_type), self.config) if edge_type in self._keys else []

    def width(self, edge_type: EdgeType) -> int:
        """Returns the number of a key's statistics; 0 for a key that is left out."""
        if edge_type not in self._keys:
            return 0
        p, num_windows = len(self.measures(edge_type)), len(self.windows_s)
        return NUM_TIME_COLUMNS + (len(self.config.num_last) + 1) * p + num_windows * (1 + p)

    def keys_of(self, table: str) -> list[EdgeType]:
        """Returns the keys that lead to a table and have statistics, in the graph's order."""
        return [e for e in self._keys if e[2] == table]

    def of_table(
        self, table: str, rows: NDArray[np.integer], before_s: NDArray[np.int64], *, raw: bool = False
    ) -> NDArray[np.float32]:
        """Returns the statistics of rows of a table by all keys that lead to it: float32 [m, table_width]; arguments as of a call."""
        found = [self(e, rows, before_s, raw=raw) for e in self.keys_of(table)]
        return np.concatenate(found, axis=1) if found else np.empty((len(rows), 0), np.float32)

    def table_width(self, table: str) -> int:
        """Returns the number of statistics that `of_table` gives."""
        return sum(self.width(e) for e in self.keys_of(table))

    def table_names(self, table: str) -> list[str]:
        """Returns the names of the statistics that `of_table` gives."""
        return [name for e in self.keys_of(table) for name in self.names(e)]

    def table_sources(self, table: str) -> list[Source]:
        """Returns the sources of the statistics that `of_table` gives."""
        keys = [(e, Source(start=table).along(e, e[0])) for e in self.keys_of(table)]
        return [source for e, children in keys for source in children.read(self.columns(e), "counts")]

    def window_answers(
        self,
        edge_type: EdgeType,
        parents: NDArray[np.integer],
        from_s: NDArray[np.int64],
        until_s: NDArray[np.int64],
        *,
        raw: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Returns how many children rows have with from_s <= time < until_s, and the means of their measures.

        Args:
            edge_type: A key that is not left out.
            parents, from_s, until_s: [m] rows of the parent table; int64 [m], UNIX seconds.
            raw: Whether means are in a column's own units.

        Returns:
            int64 [m], and float32 [m, measures], NaN where no cell is known.
        """
        key = self._keys[edge_type]
        counts, means = np.empty(len(parents), np.int64), np.empty((len(parents), len(key.measures)), np.float32)
        fill_window(
            counts,
            means,
            _int64(parents),
            _int64(from_s),
            _int64(until_s),
            key.children,
            key.times,
            key.indptr,
            key.base,
            key.sums,
            key.unknown,
            *key.units(raw),
        )
        return counts, means

    def next_child(
        self,
        edge_type: EdgeType,
        parents: NDArray[np.integer],
        from_s: NDArray[np.int64],
        until_s: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Returns the first child of rows, by (time, row), with from_s <= time < until_s: int64 [m], -1 where there is none.

        Args:
            edge_type: A key that is not left out.
            parents, from_s, until_s: [m] rows of the parent table; int64 [m], UNIX seconds.
        """
        key = self._keys[edge_type]
        return next_children(_int64(parents), _int64(from_s), _int64(until_s), key.children, key.times, key.indptr)

    def left_out(self) -> list[str]:
        """Returns a sentence for each key, and each column with cells known after their row, that has no statistics."""
        lines = []
        for child, fkey_col, parent in self._edge_types:
            if self._holds_versions((child, fkey_col, parent)):
                table = child if self._schema.tables[child].holds_versions else parent
                lines.append(
                    f"The key {child}.{fkey_col} -> {parent} has no statistics, since rows of {table} are versions that end (valid_to)."
                )
        for table in dict.fromkeys(e[0] for e in self._keys):
            lines += [
                f"The cells of {table}.{column} are in no statistics, since they become known after their row."
                for column in late_measures(self._schema.tables[table])
            ]
        return lines

    def _holds_versions(self, edge_type: EdgeType) -> bool:
        return any(self._schema.tables[table].holds_versions for table in (edge_type[0], edge_type[2]))


def windows_s(time_span_s: int, shares: tuple[float, ...]) -> tuple[int, ...]:
    """Returns the seconds of windows that are shares of a time span: whole ones, at least 1."""
    return tuple(max(1, round(share * time_span_s)) for share in shares)


def _int64(numbers: ArrayLike) -> NDArray[np.int64]:
    return np.ascontiguousarray(numbers, np.int64)


def _key(store: Store, edge_type: EdgeType) -> _Key:
    graph, k = store.graph, store.graph.edge_types.index(edge_type)
    of_table = measures(store.schema.tables[edge_type[0]])
    missing = {m.column: i for i, m in enumerate(of_table) if m.kind == "missing"}
    unknown = [missing.get(m.column, -1) if m.kind in ("number", "log") else -1 for m in of_table]
    return _Key(
        measures=of_table,
        children=graph.children,
        times=graph.table_time(edge_type[0]),
        indptr=graph.children_indptr[graph.indptr_offset[k] : graph.indptr_offset[k + 1]],
        base=int(graph.children_offset[k]),
        sums=store.prefix_sums(edge_type),
        unknown=np.array(unknown, np.int64),
    )
