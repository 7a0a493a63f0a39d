"""The latest children of a row before a time, by the child lists of the graph: exact, without a draw.

Promises: children exist strictly before the time; of one time, the later row counts as the later child, as in the graph's (time, row) order. A
look-up costs O(log children + num_children); the compiled kernel releases the GIL and allocates nothing but its result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import EdgeType, RelationalEntityGraph
from rdl_core.kernel_cache import kernel
from rdl_core.statistics.kernels import first_from


def latest_children(
    graph: RelationalEntityGraph,
    edge_type: EdgeType,
    parents: NDArray[np.int64],
    before_s: NDArray[np.int64],
    num_children: int,
) -> NDArray[np.int32]:
    """Returns the latest children of each parent that exist before a time, the latest first.

    Args:
        graph: The relational entity graph.
        edge_type: The key, whose parent table must not hold versions (`valid_to`), nor its child table.
        parents: int64 [m], rows of the key's parent table.
        before_s: int64 [m], UNIX seconds.
        num_children: Most children of a row.

    Returns:
        int32 [m, num_children], rows of the child table; -1 behind the last.
    """
    key = graph.edge_types.index(edge_type)
    begin = graph.indptr_offset[key]
    indptr = graph.children_indptr[begin : graph.indptr_offset[key + 1]]
    return _latest(graph.children, indptr, graph.table_time(edge_type[0]), parents, before_s, num_children)


@kernel
def _latest(
    children: NDArray[np.int32],
    indptr: NDArray[np.int64],
    time: NDArray[np.int64],
    parents: NDArray[np.int64],
    before_s: NDArray[np.int64],
    num_children: int,
) -> NDArray[np.int32]:
    """Finds the end of the children before each time by a binary search and copies those in front of it, backwards."""
    found = np.full((len(parents), num_children), -1, np.int32)
    for i in range(len(parents)):
        first = indptr[parents[i]]
        end = first_from(children, time, first, indptr[parents[i] + 1], before_s[i])
        for j in range(min(num_children, end - first)):
            found[i, j] = children[end - 1 - j]
    return found
