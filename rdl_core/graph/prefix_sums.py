"""Running sums of the measures of each row's children, by which their mean over any range of children takes two reads.

In: a store's graph and cells. Out, per foreign key: float64 [children, measures], children in the graph's order, each parent's by (time, row); an
entry is the sum over this child and those before it of the same parent, where an unknown number adds 0. Promises: the sums of a parent begin with
its own first child, so that no later row and no other parent's changes one bit of them; the bytes are the same by any number of threads and any
length of blocks; a thread holds one block in memory, never a whole column.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdl_core.array_files import ArrayWriter
from rdl_core.graph.measures import MeasureValues
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import mapped_features, mapped_graph, sums_file
from rdl_core.kernel_cache import kernel

BLOCK_BYTES = 8 << 20


def write_prefix_sums(path: Path, schema: Schema, edge_types: Sequence[EdgeType], workers: int | None = None) -> None:
    """Writes the running sums of all keys into the folder of a store that holds its graph and cells.

    Keys into or of tables that hold versions have none: which children count depends on when one looks.

    Args:
        path: The folder.
        schema: The store's schema.
        edge_types: The keys, in the graph's order.
        workers: Threads, each of which works on one key; None for as many as there are processors.

    Raises:
        OSError: The disk is full.
    """
    graph, features = mapped_graph(path, schema, edge_types), mapped_features(path, schema)
    (path / "statistics").mkdir()

    def write(key: int) -> None:
        child, _, parent = edge_types[key]
        if schema.tables[child].holds_versions or schema.tables[parent].holds_versions:
            return
        values = MeasureValues(features[child])
        num_children = int(graph.children_offset[key + 1] - graph.children_offset[key])
        with ArrayWriter(sums_file(path, key), np.float64, (num_children, len(values.measures))) as file:
            for begin, sums in blocks_of_sums(graph, key, values):
                file.write(begin, sums)

    with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
        list(threads.map(write, range(len(edge_types))))


def blocks_of_sums(
    graph: RelationalEntityGraph, key: int, values: MeasureValues, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yields (first child, float64 [children of the block, measures]) of a key, block by block.

    Args:
        graph: The graph.
        key: The number of the key.
        values: The measures of the child table's rows.
        block_bytes: Bytes of a block, about.
    """
    num_measures = len(values.measures)
    if not num_measures:
        return
    first, end = graph.children_offset[key], graph.children_offset[key + 1]
    indptr = graph.children_indptr[graph.indptr_offset[key] : graph.indptr_offset[key + 1]]
    block_rows = max(1, block_bytes // (8 * num_measures))
    carried, parent = np.zeros(num_measures), 0
    for begin in range(first, end, block_rows):
        sums = np.nan_to_num(values.exact(graph.children[begin : min(begin + block_rows, end)]), copy=False)
        parent = _accumulate(sums, carried, indptr, begin, parent)
        yield int(begin - first), sums


@kernel
def _accumulate(
    sums: NDArray[np.float64], carried: NDArray[np.float64], indptr: NDArray[np.int64], begin: int, parent: int
) -> int:
    """Adds up rows in place, from 0 at each parent's first child.

    Args:
        sums: [rows, measures], values at first.
        carried: [measures], the sums at the end of the block before; then, of this one.
        indptr: Where each parent's children begin, in the positions of `begin`.
        begin: The position of the first row.
        parent: The parent of the last row of the block before.

    Returns:
        The parent of the last row.
    """
    for i in range(len(sums)):
        while indptr[parent + 1] <= begin + i:
            parent += 1
            carried[:] = 0.0
        for j in range(sums.shape[1]):
            carried[j] += sums[i, j]
            sums[i, j] = carried[j]
    return parent
