"""Compiled kernels of HGSampling; `hg_sampling.py` is their only caller and holds the contract.

Costs: one subgraph touches the children of the rows it samples (at most `max_children` per parent and key) and nothing else; the scratch
arrays belong to the sampler and are cleaned by walking what was touched, so no call allocates or clears anything of the graph's size.
The kernels release the GIL.
"""

# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

import numpy as np
from numba import njit

from rdl_core.random_streams import fold, uniform


@njit(cache=True, nogil=True)
def count_before(children, time, child_offset, low, high, bound):
    """How many of children[low:high] (sorted by time) exist before `bound`: a binary search."""
    first = low
    while low < high:
        middle = (low + high) >> 1
        if time[child_offset + children[middle]] < bound:
            low = middle + 1
        else:
            high = middle
    return low - first


@njit(cache=True, nogil=True, inline="always")
def _add(node, table, weight, row_offset, budget, position, candidates, num_candidates):
    if position[node] == 0:
        if budget[node] == 0.0:
            candidates[row_offset[table] + num_candidates[table]] = node - row_offset[table]
            num_candidates[table] += 1
        budget[node] += weight


@njit(cache=True, nogil=True)
def _spread(
    graph, rows, first_new, num_sampled, bound, max_children, stream, budget, position, candidates, num_candidates
):
    """Adds 1/degree of every newly sampled row to the budget of each of its neighbours, in (key, sampled position) order."""
    row_offset, time, child_type, parent_type, parent_offset, parent, children, indptr_offset, indptr = graph
    for k in range(len(child_type)):
        child, parent_table = child_type[k], parent_type[k]
        for i in range(first_new[child], num_sampled[child]):
            target = parent[parent_offset[k] + rows[child, i]]
            if target >= 0:
                node = row_offset[parent_table] + target
                if time[node] < bound:
                    _add(node, parent_table, 1.0, row_offset, budget, position, candidates, num_candidates)
        for i in range(first_new[parent_table], num_sampled[parent_table]):
            at = indptr_offset[k] + rows[parent_table, i]
            low = indptr[at]
            degree = count_before(children, time, row_offset[child], low, indptr[at + 1], bound)
            if degree <= max_children:
                for j in range(low, low + degree):
                    node = row_offset[child] + children[j]
                    _add(node, child, 1.0 / degree, row_offset, budget, position, candidates, num_candidates)
            else:  # systematic draw: a random start and an even stride, so every child is as likely and all are distinct
                stride = degree // max_children
                start = np.int64(uniform(fold(stream, k), rows[parent_table, i]) * degree)
                for j in range(max_children):
                    node = row_offset[child] + children[low + (start + j * stride) % degree]
                    _add(node, child, 1.0 / max_children, row_offset, budget, position, candidates, num_candidates)


@njit(cache=True, nogil=True)
def _sift_down(keys, rows, size, at):
    while True:
        largest = at
        for other in (2 * at + 1, 2 * at + 2):
            if other < size and (
                keys[other] > keys[largest] or (keys[other] == keys[largest] and rows[other] > rows[largest])
            ):
                largest = other
        if largest == at:
            return
        keys[at], keys[largest] = keys[largest], keys[at]
        rows[at], rows[largest] = rows[largest], rows[at]
        at = largest


@njit(cache=True, nogil=True)
def draw(candidates, weights_of, offset, num_draws, stream, keys, drawn):
    """Draws without replacement with probability proportional to weight = budget^2, in successive-draw order.

    Efraimidis and Spirakis (2006): the `num_draws` smallest of E_i / w_i with E_i exponential, which is the law of drawing one by one.
    E_i comes from the stream at the row number, so the result does not depend on the order of the candidates. 1 - x <= exp(-x) spares the
    logarithm for nearly every candidate that the current worst key excludes. Returns how many were drawn; `drawn` holds them by row.
    """
    size = 0
    for i in range(len(candidates)):
        row = candidates[i]
        weight = weights_of[offset + row]
        weight = weight * weight
        u = uniform(stream, row)
        if size < num_draws:
            keys[size], drawn[size] = -np.log(u) / weight, row
            size += 1
            if size == num_draws:
                for at in range(size // 2, -1, -1):
                    _sift_down(keys, drawn, size, at)
        elif u > 1.0 - weight * keys[0]:
            key = -np.log(u) / weight
            if key < keys[0] or (key == keys[0] and row < drawn[0]):
                keys[0], drawn[0] = key, row
                _sift_down(keys, drawn, size, 0)
    drawn[:size].sort()
    return size


@njit(cache=True, nogil=True)
def sample_one(graph, seed_nodes, bound, rows_per_hop, num_hops, max_children, stream, scratch, rows, num_sampled):
    """One subgraph: fills rows[table, :num_sampled[table]] and position[node] = 1 + its place; the caller reads the links, then `clean`s."""
    row_offset = graph[0]
    budget, position, candidates, num_candidates, keys, drawn = scratch
    num_tables = len(row_offset) - 1
    num_sampled[:] = 0
    num_candidates[:] = 0
    for node in seed_nodes:
        table = np.searchsorted(row_offset, node, side="right") - 1
        if position[node] == 0:
            rows[table, num_sampled[table]] = node - row_offset[table]
            num_sampled[table] += 1
            position[node] = num_sampled[table]
    first_new = np.zeros(num_tables, dtype=np.int64)
    for hop in range(num_hops):
        hop_stream = fold(stream, hop)
        _spread(
            graph, rows, first_new, num_sampled, bound, max_children, hop_stream, budget, position, candidates,
            num_candidates,
        )  # fmt: skip
        first_new[:] = num_sampled
        for table in range(num_tables):
            offset, count = row_offset[table], num_candidates[table]
            table_stream = fold(hop_stream, 1_000_000 + table)
            size = draw(candidates[offset : offset + count], budget, offset, rows_per_hop, table_stream, keys, drawn)
            for i in range(size):
                rows[table, num_sampled[table]] = drawn[i]
                num_sampled[table] += 1
                position[offset + drawn[i]] = num_sampled[table]
            kept = 0
            for i in range(count):
                row = candidates[offset + i]
                if position[offset + row] == 0:
                    candidates[offset + kept] = row
                    kept += 1
                else:
                    budget[offset + row] = 0.0
            num_candidates[table] = kept


@njit(cache=True, nogil=True)
def induced_links(graph, rows, num_sampled, position, links, num_links):
    """All foreign keys between sampled rows, found from the child side: links[2, :], key after key, as places within the tables."""
    row_offset, _, child_type, parent_type, parent_offset, parent, _, _, _ = graph
    total = 0
    for k in range(len(child_type)):
        first = total
        for i in range(num_sampled[child_type[k]]):
            target = parent[parent_offset[k] + rows[child_type[k], i]]
            if target >= 0:
                at = position[row_offset[parent_type[k]] + target]
                if at > 0:
                    links[0, total] = i
                    links[1, total] = at - 1
                    total += 1
        num_links[k] = total - first
    return total


@njit(cache=True, nogil=True)
def clean(graph, rows, num_sampled, scratch):
    """Zeroes what the last subgraph touched."""
    row_offset = graph[0]
    budget, position, candidates, num_candidates, _, _ = scratch
    for table in range(len(row_offset) - 1):
        offset = row_offset[table]
        for i in range(num_sampled[table]):
            position[offset + rows[table, i]] = 0
        for i in range(num_candidates[table]):
            budget[offset + candidates[offset + i]] = 0.0


@njit(cache=True, nogil=True)
def sample_many(
    graph, seed_nodes, bounds, rows_per_hop, num_hops, max_children, streams, scratch, rows, links, buffers
):
    """Several subgraphs in one call, each packed as [rows per table | links per key | rows ... | child places ... | parent places ...].

    seed_nodes: int64 [samples, seeds]; buffers: int32, written from 0; returns int64 [samples + 1], where each one begins.
    """
    num_tables, num_keys = len(graph[0]) - 1, len(graph[2])
    num_sampled = np.zeros(num_tables, dtype=np.int64)
    num_links = np.zeros(num_keys, dtype=np.int64)
    begins = np.zeros(len(streams) + 1, dtype=np.int64)
    at = 0
    for s in range(len(streams)):
        sample_one(
            graph, seed_nodes[s], bounds[s], rows_per_hop, num_hops, max_children, streams[s], scratch, rows,
            num_sampled,
        )  # fmt: skip
        total = induced_links(graph, rows, num_sampled, scratch[1], links, num_links)
        for t in range(num_tables):
            buffers[at + t] = num_sampled[t]
        for k in range(num_keys):
            buffers[at + num_tables + k] = num_links[k]
        at += num_tables + num_keys
        for t in range(num_tables):
            buffers[at : at + num_sampled[t]] = rows[t, : num_sampled[t]]
            at += num_sampled[t]
        buffers[at : at + total] = links[0, :total]
        buffers[at + total : at + 2 * total] = links[1, :total]
        at += 2 * total
        begins[s + 1] = at
        clean(graph, rows, num_sampled, scratch)
    return begins
