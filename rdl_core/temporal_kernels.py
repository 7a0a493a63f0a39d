"""Compiled kernels of temporal neighbour sampling; `temporal_sampling.py` is their only caller and holds the contract."""

# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

import numpy as np
from numba import njit

from rdl_core.hg_kernels import count_before
from rdl_core.random_streams import fold, uniform


@njit(cache=True, nogil=True)
def _grown(array, needed):
    if needed <= len(array):
        return array
    larger = np.empty(max(needed, 2 * len(array)), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@njit(cache=True, nogil=True, inline="always")
def _pick(i, degree, wanted, recent, start):
    """The i-th of `wanted` of `degree` children in time order: the latest, or one of each of `wanted` strata, rotated by `start`."""
    if wanted >= degree:
        return i
    if recent:
        return degree - wanted + i
    return (start + (i * degree) // wanted) % degree


@njit(cache=True, nogil=True)
def expand_seeds(graph, seed_nodes, bounds, num_neighbors, recent, stream, position):
    """Disjoint trees, one a seed: breadth first, each row at most once a tree.

    Returns nodes (graph node, seed, hop), in order of discovery, and edges (neighbour place, row place, directed type, hop); directed type 2 k
    is child -> parent of key k, 2 k + 1 parent -> child. Places count over all trees.
    """
    row_offset, time, child_type, parent_type, parent_offset, parent, children, indptr_offset, indptr = graph
    num_keys = len(child_type)
    node, node_seed = np.empty(4096, np.int64), np.empty(4096, np.int32)
    node_hop = np.empty(4096, np.int8)
    source, target = np.empty(4096, np.int32), np.empty(4096, np.int32)
    kind, edge_hop = np.empty(4096, np.int32), np.empty(4096, np.int8)
    num_nodes, num_edges = 0, 0
    for s in range(len(seed_nodes)):
        bound, seed_stream = bounds[s], fold(stream, s)
        tree = num_nodes
        node, node_seed, node_hop = _grown(node, num_nodes + 1), _grown(node_seed, num_nodes + 1), _grown(node_hop, num_nodes + 1)
        node[num_nodes], node_seed[num_nodes], node_hop[num_nodes] = seed_nodes[s], s, 0
        num_nodes += 1
        position[seed_nodes[s]] = num_nodes
        begin = tree
        for hop in range(len(num_neighbors)):
            end = num_nodes
            for f in range(begin, end):
                table = np.searchsorted(row_offset, node[f], side="right") - 1
                row = node[f] - row_offset[table]
                for k in range(num_keys):
                    for direction in range(2):
                        offset, low, degree, wanted, start = 0, 0, 0, 0, 0
                        if direction == 0 and parent_type[k] == table:
                            at = indptr_offset[k] + row
                            low, offset = indptr[at], row_offset[child_type[k]]
                            degree = count_before(children, time, offset, low, indptr[at + 1], bound)
                            wanted = min(degree, num_neighbors[hop])
                            if wanted < degree and not recent:
                                start = np.int64(uniform(fold(fold(seed_stream, k), hop), node[f]) * degree)
                        elif direction == 1 and child_type[k] == table:
                            up = parent[parent_offset[k] + row]
                            offset = row_offset[parent_type[k]]
                            if up >= 0 and time[offset + up] < bound:
                                degree, wanted, low = 1, 1, up
                        needed = num_nodes + wanted
                        node, node_seed, node_hop = _grown(node, needed), _grown(node_seed, needed), _grown(node_hop, needed)
                        needed = num_edges + wanted
                        source, target = _grown(source, needed), _grown(target, needed)
                        kind, edge_hop = _grown(kind, needed), _grown(edge_hop, needed)
                        for i in range(wanted):
                            if direction == 0:
                                other = offset + children[low + _pick(i, degree, wanted, recent, start)]
                            else:
                                other = offset + low
                            if position[other] == 0:
                                node[num_nodes], node_seed[num_nodes], node_hop[num_nodes] = other, s, hop + 1
                                num_nodes += 1
                                position[other] = num_nodes
                            source[num_edges], target[num_edges] = position[other] - 1, f
                            kind[num_edges], edge_hop[num_edges] = 2 * k + direction, hop
                            num_edges += 1
            begin = end
        for f in range(tree, num_nodes):
            position[node[f]] = 0
    return (
        node[:num_nodes], node_seed[:num_nodes], node_hop[:num_nodes], source[:num_edges], target[:num_edges],
        kind[:num_edges], edge_hop[:num_edges],
    )  # fmt: skip


@njit(cache=True, nogil=True)
def group(keys, num_keys):
    """A stable counting sort: (order, counts) with keys[order] ascending."""
    counts = np.zeros(num_keys, np.int64)
    for key in keys:
        counts[key] += 1
    at = np.zeros(num_keys, np.int64)
    for i in range(1, num_keys):
        at[i] = at[i - 1] + counts[i - 1]
    order = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        order[at[keys[i]]] = i
        at[keys[i]] += 1
    return order, counts


@njit(cache=True, nogil=True)
def table_and_hop(node, node_hop, row_offset, num_hops):
    """int64 [nodes]: table * (num_hops + 1) + hop."""
    keys = np.empty(len(node), np.int64)
    for i in range(len(node)):
        table = np.searchsorted(row_offset, node[i], side="right") - 1
        keys[i] = table * (num_hops + 1) + node_hop[i]
    return keys


@njit(cache=True, nogil=True)
def distinct(node, position):
    """(distinct nodes in order of first appearance, int32 index into them); `position` is scratch, zero before and after."""
    found = np.empty(len(node), np.int64)
    index = np.empty(len(node), np.int32)
    count = 0
    for i in range(len(node)):
        if position[node[i]] == 0:
            found[count] = node[i]
            count += 1
            position[node[i]] = count
        index[i] = position[node[i]] - 1
    for i in range(count):
        position[found[i]] = 0
    return found[:count], index
