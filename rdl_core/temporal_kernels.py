"""Compiled kernels of temporal neighbour sampling; `temporal_sampling.py` is their only caller and holds the contract."""

# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

import numpy as np
from numba import njit

from rdl_core.hg_kernels import count_before
from rdl_core.random_streams import fold, uniform


@njit(cache=True, nogil=True)
def _grown(array, needed):
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
def expand_seeds(graph, seed_table, seed_nodes, bounds, num_neighbors, recent, stream, numbers, position):
    """Disjoint trees, one a seed: breadth first, each row at most once a tree.

    Returns nodes (graph node, seed, hop, table), in order of discovery, and edges (neighbour place, row place, directed type, hop); directed type 2 k
    is child -> parent of key k, 2 k + 1 parent -> child. Places count over all trees.
    """
    row_offset, time, child_type, parent_type, parent_offset, parent, children, indptr_offset, indptr = graph
    num_keys = len(child_type)
    node, node_seed = np.empty(1 << 16, np.int64), np.empty(1 << 16, np.int32)
    node_hop, node_table = np.empty(1 << 16, np.int8), np.empty(1 << 16, np.int16)
    source, target = np.empty(1 << 17, np.int32), np.empty(1 << 17, np.int32)
    kind, edge_hop = np.empty(1 << 17, np.int32), np.empty(1 << 17, np.int8)
    num_nodes, num_edges = 0, 0
    for s in range(len(seed_nodes)):
        bound, seed_stream = bounds[s], fold(stream, numbers[s])
        tree = num_nodes
        if num_nodes == len(node):
            node, node_seed = _grown(node, num_nodes + 1), _grown(node_seed, num_nodes + 1)
            node_hop, node_table = _grown(node_hop, num_nodes + 1), _grown(node_table, num_nodes + 1)
        node[num_nodes], node_seed[num_nodes], node_hop[num_nodes] = seed_nodes[s], s, 0
        node_table[num_nodes] = seed_table
        num_nodes += 1
        position[seed_nodes[s]] = num_nodes
        begin = tree
        for hop in range(len(num_neighbors)):
            end = num_nodes
            for f in range(begin, end):
                table = node_table[f]
                row = node[f] - row_offset[table]
                for k in range(num_keys):
                    for direction in range(2):
                        if direction == 0:
                            if parent_type[k] != table:
                                continue
                            other_table, start = child_type[k], 0
                            offset = row_offset[other_table]
                            at = indptr_offset[k] + row
                            low = indptr[at]
                            degree = count_before(children, time, offset, low, indptr[at + 1], bound)
                            wanted = min(degree, num_neighbors[hop])
                            if wanted < degree and not recent:
                                start = np.int64(uniform(fold(fold(seed_stream, k), hop), node[f]) * degree)
                        else:
                            if child_type[k] != table:
                                continue
                            other_table, start = parent_type[k], 0
                            offset = row_offset[other_table]
                            low = np.int64(parent[parent_offset[k] + row])
                            if low < 0 or time[offset + low] >= bound:
                                continue
                            degree, wanted = 1, 1
                        if num_nodes + wanted > len(node):
                            node, node_seed = _grown(node, num_nodes + wanted), _grown(node_seed, num_nodes + wanted)
                            node_hop, node_table = (
                                _grown(node_hop, num_nodes + wanted),
                                _grown(node_table, num_nodes + wanted),
                            )
                        if num_edges + wanted > len(source):
                            source, target = _grown(source, num_edges + wanted), _grown(target, num_edges + wanted)
                            kind, edge_hop = _grown(kind, num_edges + wanted), _grown(edge_hop, num_edges + wanted)
                        for i in range(wanted):
                            at = children[low + _pick(i, degree, wanted, recent, start)] if direction == 0 else low
                            other = offset + at
                            if position[other] == 0:
                                node[num_nodes], node_seed[num_nodes], node_hop[num_nodes] = other, s, hop + 1
                                node_table[num_nodes] = other_table
                                num_nodes += 1
                                position[other] = num_nodes
                            source[num_edges], target[num_edges] = position[other] - 1, f
                            kind[num_edges], edge_hop[num_edges] = 2 * k + direction, hop
                            num_edges += 1
            begin = end
        for f in range(tree, num_nodes):
            position[node[f]] = 0
    return (
        node[:num_nodes], node_seed[:num_nodes], node_hop[:num_nodes], node_table[:num_nodes], source[:num_edges],
        target[:num_edges], kind[:num_edges], edge_hop[:num_edges],
    )  # fmt: skip


@njit(cache=True, nogil=True)
def group(major, minor, num_major, num_minor):
    """A stable counting sort by (major, minor): (order, place of each item in it, int64 [num_major, num_minor] counts)."""
    counts = np.zeros(num_major * num_minor, np.int64)
    for i in range(len(major)):
        counts[major[i] * num_minor + minor[i]] += 1
    at = np.zeros(len(counts), np.int64)
    for i in range(1, len(counts)):
        at[i] = at[i - 1] + counts[i - 1]
    order, place = np.empty(len(major), np.int64), np.empty(len(major), np.int64)
    for i in range(len(major)):
        key = major[i] * num_minor + minor[i]
        order[at[key]] = i
        place[i] = at[key]
        at[key] += 1
    return order, place, counts.reshape(num_major, num_minor)


@njit(cache=True, nogil=True)
def ends_in_order(edge_order, source, target, kind, place, source_begin, target_begin):
    """int32 [2, edges]: the edges in the given order, their ends as places within their tables."""
    ends = np.empty((2, len(edge_order)), np.int32)
    for i in range(len(edge_order)):
        e = edge_order[i]
        ends[0, i] = place[source[e]] - source_begin[kind[e]]
        ends[1, i] = place[target[e]] - target_begin[kind[e]]
    return ends


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
