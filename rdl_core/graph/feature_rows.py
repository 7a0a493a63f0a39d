"""Rows of an encoded table as an encoded table of their own, which a share holds and sends.

Promises: gathering row i of `take_rows(arrays, rows)` gives the cells of row rows[i]; texts and embeddings that the rows do not refer to stay
behind. Donors are no rows and stay with the whole table.

Late cells become known after their row: `status`, `shipped_at`, `amount_paid`.

settings.yaml names, per column, the column of times from which its cells are known. Promises: a cell is null for whoever looks at or before that
time, and itself strictly after; a cell without such a time never becomes known; the times themselves are known from then on, too; statistics,
vocabularies and donors come from cells known by the cutoff. A table without such columns pays nothing.

Rows of a batch are shared between seeds, which may look at different times. A row with late cells is therefore told apart by (row, which of its
times have passed); see `distinct_rows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rdl_core.graph.keys import read_times

Arrays = dict[str, NDArray]
BLOCKS = ("numerical", "categorical", "timestamp", "known_from")
UNKNOWN = -1
"""The row that a cell is copied from which is not known yet: none."""


def take_rows(arrays: Mapping[str, NDArray], rows: NDArray[np.integer]) -> Arrays:
    """Returns the cells of `rows`: the arrays of features.py without donors."""
    taken: Arrays = {name: np.array(arrays[name][rows]) for name in BLOCKS if name in arrays}
    if "embedding_code" in arrays:
        codes = np.array(arrays["embedding_code"][rows])
        for j in range(codes.shape[1]):
            used = np.unique(np.append(codes[:, j], 0))  # code 0 is null
            codes[:, j] = np.searchsorted(used, codes[:, j])
            taken[f"embedding_{j}"] = np.array(arrays[f"embedding_{j}"][used])
        taken["embedding_code"] = codes
    for j in range(_num_multicategorical(arrays)):
        taken |= _take_lists(arrays, f"multicategorical_{j}", rows)
    return taken


def concatenate_rows(parts: Sequence[Mapping[str, NDArray]]) -> Arrays:
    """Returns the rows of all parts, one after another."""
    whole: Arrays = {name: np.concatenate([p[name] for p in parts]) for name in BLOCKS if name in parts[0]}
    if "embedding_code" in parts[0]:
        num_columns = parts[0]["embedding_code"].shape[1]
        sizes = np.array([[len(p[f"embedding_{j}"]) for j in range(num_columns)] for p in parts])
        begins = np.concatenate([np.zeros((1, num_columns), np.int64), np.cumsum(sizes, axis=0)[:-1]])
        codes = [(p["embedding_code"] + begin).astype(np.int32) for p, begin in zip(parts, begins, strict=True)]
        whole["embedding_code"] = np.concatenate(codes)
        for j in range(num_columns):
            whole[f"embedding_{j}"] = np.concatenate([p[f"embedding_{j}"] for p in parts])
    for j in range(_num_multicategorical(parts[0])):
        name = f"multicategorical_{j}"
        lengths = np.concatenate([np.diff(p[f"{name}_offset"]) for p in parts])
        whole[f"{name}_offset"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        whole[f"{name}_values"] = np.concatenate([p[f"{name}_values"] for p in parts])
    return whole


def num_bytes(arrays: Mapping[str, NDArray]) -> int:
    """Returns the bytes of all arrays."""
    return sum(a.nbytes for a in arrays.values())


def _num_multicategorical(arrays: Mapping[str, NDArray]) -> int:
    return sum(name.startswith("multicategorical_") for name in arrays) // 2


def _take_lists(arrays: Mapping[str, NDArray], name: str, rows: NDArray[np.integer]) -> Arrays:
    offset, values = arrays[f"{name}_offset"], arrays[f"{name}_values"]
    lengths = offset[rows + 1] - offset[rows]
    new_offset = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    cell = np.repeat(np.arange(len(rows)), lengths)
    return {
        f"{name}_offset": new_offset,
        f"{name}_values": np.array(values[offset[rows][cell] + np.arange(new_offset[-1]) - new_offset[cell]]),
    }


def late_times(path: Path, known_from: Mapping[str, str]) -> dict[str, NDArray[np.int64]]:
    """Returns the times from which cells are known, by the column that holds them, in order of names.

    Args:
        path: The table's Parquet file.
        known_from: The column of times by late column.

    Returns:
        int64 [rows], UNIX seconds, NO_TIME for never.
    """
    with pq.ParquetFile(path) as file:
        return {name: read_times(file, name) for name in sorted(set(known_from.values()))}


def known_by_cutoff(
    known_from: Mapping[str, str], times: Mapping[str, NDArray[np.int64]], visible: NDArray[np.bool_], cutoff_s: int
) -> dict[str, NDArray[np.bool_]]:
    """Returns, for each late column, which cells of visible rows are known up to the cutoff: bool [rows]."""
    return {column: visible & (times[name] <= cutoff_s) for column, name in known_from.items()}


def late_positions(columns: list[str], known_from: Mapping[str, str]) -> list[tuple[int, int]]:
    """Returns, of each late column, its position among the columns and that of its time among the distinct times, which are in order of names."""
    names = sorted(set(known_from.values()))
    return [(columns.index(column), names.index(name)) for column, name in known_from.items() if column in columns]


def cells_of(rows: NDArray[np.integer], known: NDArray[np.bool_] | None, num_columns: int) -> NDArray[np.int64]:
    """Returns the row that each cell is copied from: int64 [m, columns], UNKNOWN where it is not known.

    Args:
        rows: [m] rows.
        known: bool [m, columns], or None: all are.
        num_columns: Number of columns.
    """
    cells = np.repeat(rows.astype(np.int64)[:, None], num_columns, axis=1)
    return cells if known is None else np.where(known, cells, UNKNOWN)


def distinct_rows(rows: NDArray[np.integer], passed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns which nodes stand for all that show the same row with the same times passed, and the number among those of each node.

    Args:
        rows: [nodes], the row of each node.
        passed: bool [nodes, times].
    """
    key = rows.astype(np.int64)
    for one in passed.T:  # ranked each time, so that the numbers stay small
        key = np.unique(2 * key + one, return_inverse=True)[1]
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    return first, index
