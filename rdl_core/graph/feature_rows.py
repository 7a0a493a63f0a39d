"""Rows of an encoded table as an encoded table of their own, which a share holds and sends.

Promises: gathering row i of `take_rows(arrays, rows)` gives the cells of row rows[i]; texts and embeddings that the rows do not refer to stay
behind. Donors are no rows and stay with the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray]
BLOCKS = ("numerical", "categorical", "timestamp")


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
