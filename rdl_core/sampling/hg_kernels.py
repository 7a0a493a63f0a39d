"""Compiled kernels of HGSampling; `hg_sampling.py` (local) and `sharded.py` are their only callers and hold the contract.

Terms. A *subgraph* in the making knows its *entries*: every row it has met, in order of meeting, with graph node, budget and place. The budget
is the sum of 1/degree over the row's sampled neighbours, NaN once the row is sampled; the place is 1 + its position among the sampled rows
of its table, 0 before. `index` finds a node's entry: directly while the database is small, by open addressing else, so that memory and cache
misses follow what a subgraph touches and not the size of the database. *Segments* name the runs of entries that belong to one table.

A `GraphView` is what the kernels read of the graph. Nothing here allocates or clears anything of the graph's size; the kernels release the GIL.
"""

# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import ALWAYS
from rdl_core.kernel_cache import inlined, kernel, kernel_part, njit
from rdl_core.random_streams import fold, uniform

ENTRIES, SEGMENTS, SHIFT, TOUCHED = 0, 1, 2, 3
"""Positions in a subgraph's `counters`: entries, segments, 64 - log2(slots) of its index (0 while nodes index it directly), a sink of reads."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TABLE_STREAM = 1_000_000
"""Table t of a hop draws from the hop's child stream TABLE_STREAM + t; key k picks children of a hub from child stream k."""


class GraphView(NamedTuple):
    """The part of the graph that kernels read: parents and child lists by "list number".

    In the whole graph, a row's list number is the row. A sharded sampler passes the lists that it was sent, and no times, since all that it was
    sent is visible.

    Args:
        row_offset: int64 [tables + 1], number of each table's first node.
        time: int64 [nodes], UNIX seconds; [0] where all is visible.
        child_type, parent_type: int64 [keys], tables of a key.
        parent_offset: int64 [keys + 1]; parent: int32, parent row by (key, list number), -1 for null, -2 - row if it is not visible.
        children: int32, child rows of all lists.
        list_offset: int64 [keys + 1]; list_begin, list_end: int64, the list in `children` by (key, list number).
    """

    row_offset: NDArray[np.int64]
    time: NDArray[np.int64]
    child_type: NDArray[np.int64]
    parent_type: NDArray[np.int64]
    parent_offset: NDArray[np.int64]
    parent: NDArray[np.int32]
    children: NDArray[np.int32]
    list_offset: NDArray[np.int64]
    list_begin: NDArray[np.int64]
    list_end: NDArray[np.int64]


@kernel
def count_before(children, time, child_offset, low, high, bound):
    """Counts those of children[low:high] (sorted by time) that exist before `bound`: galloping from the end, then a binary search."""
    first, above, at, step = low, high, high - 1, 1
    while at >= low and time[child_offset + children[at]] >= bound:
        above = at
        at -= step
        step *= 2
    low = max(low, at + 1)
    while low < above:
        middle = (low + above) >> 1
        if time[child_offset + children[middle]] < bound:
            low = middle + 1
        else:
            above = middle
    return low - first


@inlined
def _slot(index, node_of, shift, node):
    """Returns the slot of `node` in the index, or the free slot where it belongs."""
    if shift == 0:
        return node
    mask = len(index) - 1
    slot = np.int64((np.uint64(node) * GOLDEN) >> np.uint64(shift))
    while index[slot] != 0 and node_of[index[slot] - 1] != node:
        slot = (slot + 1) & mask
    return slot


@kernel_part
def reserve(counters, entries, needed):
    """Returns the entries with room for `needed`: as they are, or copied to larger arrays with a larger index."""
    index, node, budget, place = entries
    if needed <= len(node):
        return entries
    size = len(node)
    while size < needed:
        size += size // 4
    num = counters[ENTRIES]
    new_node, new_budget, new_place = np.empty(size, np.int64), np.empty(size, np.float64), np.empty(size, np.int32)
    for c in range(num):
        new_node[c], new_budget[c], new_place[c] = node[c], budget[c], place[c]
    if counters[SHIFT] > 0:
        while (1 << (64 - counters[SHIFT])) < 4 * size:  # a quarter taken: chains of collisions cost more than memory
            counters[SHIFT] -= 1
        index = np.zeros(1 << (64 - counters[SHIFT]), np.int32)
        for c in range(num):
            index[_slot(index, new_node, counters[SHIFT], new_node[c])] = c + 1
    return index, new_node, new_budget, new_place


@kernel
def clear(counters, entries):
    """Forgets the subgraph: clears the slots that it used."""
    index, node, _, _ = entries
    if 8 * counters[ENTRIES] > len(index):
        index[:] = 0
    elif counters[SHIFT] == 0:
        for c in range(counters[ENTRIES]):
            index[node[c]] = 0
    else:  # of colliding nodes, the last comes first
        for c in range(counters[ENTRIES] - 1, -1, -1):
            index[_slot(index, node, counters[SHIFT], node[c])] = 0
    counters[ENTRIES], counters[SEGMENTS] = 0, 0


@kernel
def plant(row_offset, seed_nodes, counters, entries, rows, num_sampled):
    """Samples the seeds, each once, in the given order; `reserve` room for them first."""
    index, node_of, budget, place = entries
    for node in seed_nodes:
        table = 0
        while row_offset[table + 1] <= node:
            table += 1
        slot = _slot(index, node_of, counters[SHIFT], node)
        if index[slot] == 0:
            c = counters[ENTRIES]
            rows[table, num_sampled[table]] = node - row_offset[table]
            num_sampled[table] += 1
            node_of[c], budget[c], place[c] = node, np.nan, num_sampled[table]
            counters[ENTRIES] = c + 1
            index[slot] = c + 1


@kernel_part
def _add(entries, shift, num, rows, low, count, offset, weight):
    """Adds `weight` to the budget of rows[low : low + count]; rows not met yet become entries from `num` on. Returns the number of entries."""
    index, node_of, budget, place = entries
    for j in range(low, low + count):
        node = offset + rows[j]
        slot = node if shift == 0 else _slot(index, node_of, shift, node)
        c = index[slot]
        if c != 0:
            budget[c - 1] += weight
        else:
            node_of[num], budget[num], place[num] = node, weight, 0
            num += 1
            index[slot] = num
    return num


@kernel_part
def _close_segment(counters, segments, table, begin, end):
    if end > begin:
        s = counters[SEGMENTS]
        segments[s, 0], segments[s, 1], segments[s, 2] = table, begin, end
        counters[SEGMENTS], counters[ENTRIES] = s + 1, end


@kernel_part
def most_entries(view, lists, first_new, num_sampled, max_children):
    """Returns a bound on how many rows the newly sampled rows can add."""
    child_type, parent_type, list_offset = view.child_type, view.parent_type, view.list_offset
    list_begin, list_end = view.list_begin, view.list_end
    most = 0
    for k in range(len(child_type)):
        child, parent_table = child_type[k], parent_type[k]
        most += num_sampled[child] - first_new[child]
        for i in range(first_new[parent_table], num_sampled[parent_table]):
            at = list_offset[k] + lists[parent_table, i]
            most += min(list_end[at] - list_begin[at], max_children)
    return most


@kernel
def read_parents(view, lists, first_new, num_sampled, parents):
    """Fills parents[key, place of the child] for the newly sampled rows: row, -1 for null, -2 - row if it is not visible."""
    child_type, parent_offset, parent = view.child_type, view.parent_offset, view.parent
    for k in range(len(child_type)):
        child = child_type[k]
        for i in range(first_new[child], num_sampled[child]):
            parents[k, i] = parent[parent_offset[k] + lists[child, i]]


@kernel_part
def _touch_lists(view, key, lists):
    """Reads the first child of each list, so that their cache misses overlap instead of following each other."""
    children, list_offset, list_begin, list_end = view.children, view.list_offset, view.list_begin, view.list_end
    touched = 0
    for i in range(len(lists)):
        at = list_offset[key] + lists[i]
        if list_end[at] > list_begin[at]:
            touched += children[list_begin[at]]
    return touched


@kernel_part
def spread(
    view, bounds, lists, first_new, num_sampled, max_children, stream, counters, entries, segments, rows, parents
):
    """Adds 1/degree of every newly sampled row to the budget of each of its neighbours, in (key, sampled position) order.

    bounds: UNIX seconds before which children and parents are seen (children ALWAYS: the lists are cut); a view without times needs none.
    """
    row_offset, time, child_type, parent_type = view.row_offset, view.time, view.child_type, view.parent_type
    children, list_offset, list_begin, list_end = view.children, view.list_offset, view.list_begin, view.list_end
    shift = counters[SHIFT]
    for k in range(len(child_type)):
        child, parent_table = child_type[k], parent_type[k]
        begin = num = counters[ENTRIES]
        offset = row_offset[parent_table]
        for i in range(first_new[child], num_sampled[child]):
            target = parents[k, i]
            if target >= 0 and (len(time) == 0 or time[offset + target] < bounds[1]):
                num = _add(entries, shift, num, parents[k], i, 1, offset, 1.0)
        _close_segment(counters, segments, parent_table, begin, num)
        begin = num
        offset = row_offset[child]
        warm = _touch_lists(view, k, lists[parent_table, first_new[parent_table] : num_sampled[parent_table]])
        for i in range(first_new[parent_table], num_sampled[parent_table]):
            at = list_offset[k] + lists[parent_table, i]
            low, degree = list_begin[at], list_end[at] - list_begin[at]
            if len(time) > 0 and bounds[0] != ALWAYS:
                degree = count_before(children, time, offset, low, list_end[at], bounds[0])
            if 0 < degree <= max_children:
                num = _add(entries, shift, num, children, low, degree, offset, 1.0 / degree)
            elif degree > max_children:
                start, stride, run = hub_runs(stream, k, rows[parent_table, i], degree, max_children)
                for j in range(max_children // run):
                    warm += children[low + (start + j * stride) % degree]
                for j in range(max_children // run):
                    place = (start + j * stride) % degree
                    whole = min(run, degree - place)
                    num = _add(entries, shift, num, children, low + place, whole, offset, 1.0 / max_children)
                    num = _add(entries, shift, num, children, low, run - whole, offset, 1.0 / max_children)
        _close_segment(counters, segments, child, begin, num)
        counters[TOUCHED] ^= warm  # nothing reads it; without a use, the compiler would drop the reads


@inlined
def hub_runs(stream, key, row, degree, max_children):
    """Returns (start, stride, run) of a systematic draw of `max_children` children: runs of neighbours in time, evenly spaced round the list.

    Each child is equally likely, since the start is uniform; all are distinct, since stride >= run. A run is two cache lines where that divides the
    number: on a large database, reading a child elsewhere costs more than all else that is done with it.
    """
    run = 32 if max_children % 32 == 0 else 1
    return np.int64(uniform(fold(stream, key), row) * degree), degree // (max_children // run), run


@inlined
def _after(keys, heap, node_of, a, b):
    return keys[a] > keys[b] or (keys[a] == keys[b] and node_of[heap[a]] > node_of[heap[b]])


@kernel_part
def _sift_down(keys, heap, node_of, size, at):
    while True:
        last = at
        for other in (2 * at + 1, 2 * at + 2):
            if other < size and _after(keys, heap, node_of, other, last):
                last = other
        if last == at:
            return
        keys[at], keys[last] = keys[last], keys[at]
        heap[at], heap[last] = heap[last], heap[at]
        at = last


@kernel_part
def _margins(nodes, budget, offset, stream, threshold, margins):
    """Fills margins: positive where -log(u) / weight may be below the threshold, since 1 - u <= -log(u); the slack is above all rounding."""
    for i in range(len(nodes)):
        margins[i] = uniform(stream, nodes[i] - offset) - 1.0 + budget[i] * budget[i] * threshold * 1.0000001


@njit(cache=True, nogil=True, no_cpython_wrapper=True, fastmath={"reassoc", "contract"})
def _total_weight(budget):
    """Returns the sum of weights, whose order is the compiler's, and the count of the entries that are not sampled yet."""
    total, live = 0.0, 0
    for i in range(len(budget)):
        waiting = budget[i] > 0.0
        total += budget[i] * budget[i] if waiting else 0.0
        live += waiting
    return total, live


@kernel_part
def _smallest_keys(segments, table, offset, node_of, budget, num_draws, threshold, stream, keys, heap, margins):
    """Collects the `num_draws` smallest keys of a table among those below the threshold. Returns how many there are."""
    size = np.int64(0)
    for s in range(len(segments)):
        if segments[s, 0] != table:
            continue
        for c in range(segments[s, 1], segments[s, 2], len(margins)):
            block = min(len(margins), segments[s, 2] - c)
            _margins(node_of[c : c + block], budget[c : c + block], offset, stream, threshold, margins)
            for i in range(block):
                if margins[i] > 0.0:
                    node = node_of[c + i]
                    key = -np.log(uniform(stream, node - offset)) / (budget[c + i] * budget[c + i])
                    if size < num_draws and key < threshold:
                        keys[size], heap[size] = key, c + i
                        size += 1
                        if size == num_draws:
                            for at in range(size // 2, -1, -1):
                                _sift_down(keys, heap, node_of, size, at)
                    elif size == num_draws and (key < keys[0] or (key == keys[0] and node < node_of[heap[0]])):
                        keys[0], heap[0] = key, c + i
                        _sift_down(keys, heap, node_of, size, np.int64(0))
    return size


@kernel
def draw(segments, table, offset, node_of, budget, num_draws, stream, drawing):
    """Draws entries of a table without replacement with probability proportional to weight = budget^2.

    Efraimidis and Spirakis (2006): the `num_draws` smallest of E_i / w_i with E_i exponential, which is the law of drawing one by one.
    E_i comes from the stream at the row number, so the result does not depend on the order of the entries. About 1.6 `num_draws` keys lie
    below the first threshold, so that one pass without logarithms finds them; a threshold that was too low costs another pass, no
    exactness. Returns how many were drawn; the heap of `drawing` (keys, heap, margins) holds them in no order.
    """
    keys, heap, margins = drawing
    total, live = 0.0, 0
    for s in range(len(segments)):
        if segments[s, 0] == table:
            of_segment = _total_weight(budget[segments[s, 1] : segments[s, 2]])
            total, live = total + of_segment[0], live + of_segment[1]
    num_draws = min(num_draws, live)
    if num_draws == 0:
        return 0
    threshold = np.inf if live == num_draws else 1.6 * num_draws / total
    while (
        _smallest_keys(segments, table, offset, node_of, budget, num_draws, threshold, stream, keys, heap, margins)
        < num_draws
    ):
        threshold *= 4.0
    return num_draws


@kernel_part
def draw_hop(row_offset, rows_per_hop, stream, counters, entries, segments, rows, num_sampled, drawing):
    """Draws the next rows of every table, by row number, and samples them."""
    _, node_of, budget, place = entries
    heap = drawing[1]
    for table in range(len(row_offset) - 1):
        offset = row_offset[table]
        of_table = fold(stream, TABLE_STREAM + table)
        size = draw(segments[: counters[SEGMENTS]], table, offset, node_of, budget, rows_per_hop, of_table, drawing)
        for i in range(1, size):  # by row
            c, j = heap[i], i
            while j > 0 and node_of[heap[j - 1]] > node_of[c]:
                heap[j] = heap[j - 1]
                j -= 1
            heap[j] = c
        for i in range(size):
            c = heap[i]
            rows[table, num_sampled[table]] = node_of[c] - offset
            num_sampled[table] += 1
            budget[c], place[c] = np.nan, num_sampled[table]


@kernel_part
def _find_links(row_offset, child_type, parent_type, counters, entries, parents, num_sampled, num_links):
    """Turns parents[key, place of the child] into the place of the parent, -1 where it is not sampled; counts the links per key."""
    index, node_of, _, place = entries
    for k in range(len(child_type)):
        offset, found = row_offset[parent_type[k]], 0
        for i in range(num_sampled[child_type[k]]):
            row = parents[k, i]
            if row < -1:
                row = -2 - row
            parents[k, i] = -1
            if row >= 0:
                c = index[_slot(index, node_of, counters[SHIFT], offset + row)]
                if c != 0 and place[c - 1] > 0:
                    parents[k, i] = place[c - 1] - 1
                    found += 1
        num_links[k] = found


@kernel
def pack(row_offset, child_type, parent_type, counters, entries, rows, parents, num_sampled, buffer):
    """Writes the subgraph (subgraph.py) with all foreign keys between sampled rows, found from the child side; returns its length."""
    num_tables, num_keys = len(row_offset) - 1, len(child_type)
    num_links = buffer[num_tables : num_tables + num_keys]
    _find_links(row_offset, child_type, parent_type, counters, entries, parents, num_sampled, num_links)
    at = num_tables + num_keys
    for t in range(num_tables):
        buffer[t] = num_sampled[t]
        for i in range(num_sampled[t]):
            buffer[at + i] = rows[t, i]
        at += num_sampled[t]
    total = 0
    for k in range(num_keys):
        total += num_links[k]
    for k in range(num_keys):
        for i in range(num_sampled[child_type[k]]):
            if parents[k, i] >= 0:
                buffer[at], buffer[at + total] = i, parents[k, i]
                at += 1
    return at + total


@kernel
def grow_hop(view, bounds, lists, limits, stream, counters, entries, segments, scratch, first_new):
    """Grows one subgraph by a hop: its new rows spread their budget, then the next rows are drawn. Returns the entries, perhaps grown.

    limits: (rows_per_hop, num_hops, max_children); first_new: int64 [tables], where the rows of the last hop begin, moved on.
    """
    rows, parents, num_sampled, drawing = scratch
    row_offset = view.row_offset
    most = counters[ENTRIES] + most_entries(view, lists, first_new, num_sampled, limits[2])
    entries = reserve(counters, entries, min(most, row_offset[-1]))
    read_parents(view, lists, first_new, num_sampled, parents)
    spread(view, bounds, lists, first_new, num_sampled, limits[2], stream, counters, entries, segments, rows, parents)
    for table in range(len(num_sampled)):
        first_new[table] = num_sampled[table]
    draw_hop(row_offset, limits[0], stream, counters, entries, segments, rows, num_sampled, drawing)
    return entries


@kernel
def sample_many(view, seed_nodes, bounds, limits, streams, counters, entries, segments, scratch, buffers):
    """Grows several subgraphs on a view of the whole graph, packed one after another.

    seed_nodes: int64 [samples, seeds]; bounds: int64 [samples, 3], UNIX seconds before which children, parents and the seeds' own parents are seen;
    buffers: int32. Returns (int64 [samples + 1], where each begins, and the entries, perhaps grown).
    """
    row_offset, child_type, parent_type = view.row_offset, view.child_type, view.parent_type
    rows, parents, num_sampled, _ = scratch
    first_new = np.zeros(len(row_offset) - 1, np.int64)
    begins = np.zeros(len(streams) + 1, np.int64)
    seen = np.zeros(2, np.int64)
    for s in range(len(streams)):
        num_sampled[:], first_new[:] = 0, 0
        plant(row_offset, seed_nodes[s], counters, entries, rows, num_sampled)
        for hop in range(limits[1]):
            seen[0], seen[1] = bounds[s, 0], bounds[s, 2 if hop == 0 else 1]
            stream = fold(streams[s], hop)
            entries = grow_hop(view, seen, rows, limits, stream, counters, entries, segments, scratch, first_new)
        read_parents(view, rows, first_new, num_sampled, parents)
        begins[s + 1] = begins[s] + pack(
            row_offset, child_type, parent_type, counters, entries, rows, parents, num_sampled, buffers[begins[s] :]
        )
        clear(counters, entries)
    return begins, entries
