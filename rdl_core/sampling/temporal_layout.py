"""The flat arrays of temporal neighbour sampling: those that its kernels take and share, and the layout of grown trees as a result.

A directed type 2 k is child -> parent of key k: the neighbour is the child; 2 k + 1 is parent -> child. A node's place counts the nodes of
its table, its number those of all tables, as they were found. Trees grow group after group ((hop, table) of nodes, (hop, directed type) of
edges); for the result, nodes by (table, hop) and edges by (directed type, hop), each group is copied as a whole into an array of the
result's own size, and the distinct rows of a table are numbered by first appearance. The kernels release the GIL.
"""

# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdl_core.kernel_cache import kernel, kernel_part


class Topology(NamedTuple):
    """The graph's arrays (see `RelationalEntityGraph`) and, for T tables and D = 2 K directed types, which lead from where to where.

    Args:
        incoming_begin, incoming: int64 [T + 1], [D]; the directed types by the table of their neighbours.
        row_table: int64 [D], the table of the rows that a directed type's neighbours are sampled for.
        windowed: bool [T], tables to whose rows, as children, the time window applies.
        expiry: int64 [nodes], UNIX seconds up to which a row is valid; [0] where all are for ever.
    """

    row_offset: NDArray[np.int64]
    time: NDArray[np.int64]
    parent_offset: NDArray[np.int64]
    parent: NDArray[np.int32]
    indptr_offset: NDArray[np.int64]
    indptr: NDArray[np.int64]
    children: NDArray[np.int32]
    incoming_begin: NDArray[np.int64]
    incoming: NDArray[np.int64]
    row_table: NDArray[np.int64]
    windowed: NDArray[np.bool_]
    expiry: NDArray[np.int64]


class Seeds(NamedTuple):
    """The entity row of each seed, its bounds of time and its random stream; `since` is empty where there is no window."""

    row: NDArray[np.int32]
    before: NDArray[np.int64]
    since: NDArray[np.int64]
    stream: NDArray[np.uint64]


class Scratch(NamedTuple):
    """Memory that a call reuses of the one before: rows and seeds of nodes, ends of edges, found children, distinct rows; grown as needed."""

    node_row: NDArray[np.int32]
    node_seed: NDArray[np.int32]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    first: NDArray[np.int64]
    degree: NDArray[np.int32]
    distinct: NDArray[np.int32]
    position: NDArray[np.int32]


class Layout(NamedTuple):
    """The positions of nodes and edges, by hop.

    Args:
        num_nodes, node_begin, place_begin: int64 [hops + 1, T]; number of the first node and its place.
        tree_begin: int64 [hops + 1, T, seeds + 1], number of the first node of each tree.
        edge_begin, edge_end: int64 [hops, D].
    """

    num_nodes: NDArray[np.int64]
    node_begin: NDArray[np.int64]
    place_begin: NDArray[np.int64]
    tree_begin: NDArray[np.int64]
    edge_begin: NDArray[np.int64]
    edge_end: NDArray[np.int64]


@kernel_part
def reserved(array, used, needed):
    """Returns the array, or a larger one with its used part."""
    if needed <= len(array):
        return array
    larger = np.empty(max(needed, 2 * len(array)), array.dtype)
    larger[:used] = array[:used]
    return larger


@kernel
def collect_nodes(num_nodes, node_begin, node_row, node_seed, distinct, position):
    """Collects the distinct rows of all tables, and the index and seed of each node; `position` is zero before and after.

    Returns:
        int64 [distinct rows], int64 [T + 1] where each table's begin, int32 [nodes] index, int32 [nodes] seed, and `distinct`, which may have grown.
    """
    num_hops, num_tables = num_nodes.shape
    total = num_nodes.sum()
    index, seed, distinct = np.empty(total, np.int32), np.empty(total, np.int32), reserved(distinct, 0, total)
    rows_begin, num_rows, end = np.zeros(num_tables + 1, np.int64), 0, 0
    for table in range(num_tables):
        first = num_rows
        for hop in range(num_hops):
            low, count = node_begin[hop, table], num_nodes[hop, table]
            seed[end : end + count] = node_seed[low : low + count]
            for i in range(count):
                row = node_row[low + i]
                if position[row] == 0:
                    distinct[num_rows] = row
                    num_rows += 1
                    position[row] = num_rows - first
                index[end + i] = position[row] - 1
            end += count
        for i in range(first, num_rows):
            position[distinct[i]] = 0
        rows_begin[table + 1] = num_rows
    return distinct[:num_rows].astype(np.int64), rows_begin, index, seed, distinct


@kernel
def collect_edges(edge_begin, edge_end, source, target):
    """Returns int32 [2, edges] (source, target), and int64 [D + 1] where each directed type's edges begin."""
    num_hops, num_types = edge_begin.shape
    ends = np.empty((2, (edge_end - edge_begin).sum()), np.int32)
    edges_begin, end = np.zeros(num_types + 1, np.int64), 0
    for d in range(num_types):
        for hop in range(num_hops):
            low, high = edge_begin[hop, d], edge_end[hop, d]
            ends[0, end : end + high - low] = source[low:high]
            ends[1, end : end + high - low] = target[low:high]
            end += high - low
        edges_begin[d + 1] = end
    return ends, edges_begin
