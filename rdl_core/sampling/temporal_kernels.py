"""Compiled kernels that grow the trees of temporal neighbour sampling; `temporal_sampling.py` is their only caller and holds the contract.

All trees of a batch grow together, hop by hop and, within a hop, one neighbour table after the other. So nodes come out grouped by
(hop, table) and edges by (hop, directed type), both in the order of the seeds, and edges sorted by the row sampled for: nothing is sorted
or moved but once, into the result (`temporal_layout.py`). Rows within a tree are told apart by `position`, an int32 per row of the largest
table, zero between trees: a tree clears what it has touched. Where no row can come twice (a key's children of distinct parents, nothing
else of their table in the tree) it is not looked at.

`temporal_layout.py` has the words: directed type, place, number. A call costs the nodes and edges, and seeds x (types in use + tables) per hop.
The kernels release the GIL.

Helpers that take arrays are plain functions called once per tree or more rarely, and what runs once per edge is written out: a call in the
inner loop that passes arrays (inlined or not) counts references to them atomically, which was 80 % of the time.
"""

# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

import numpy as np

from rdl_core.kernel_cache import kernel, kernel_part
from rdl_core.random_streams import fold, uniform
from rdl_core.sampling.hg_kernels import count_before
from rdl_core.sampling.temporal_layout import Layout, Scratch, reserved


@kernel_part
def _find_children(topology, key, table, seeds, rows, row_seed, wanted, recent, first, degree):
    """Finds the children (rows of `table`) that each row may get: children[first : first + degree]. Returns how many all take together."""
    indptr, children, before, since = topology.indptr, topology.children, seeds.before, seeds.since
    time, child_offset = topology.time, topology.row_offset[table]
    has_window, offset, total = len(since) > 0 and topology.windowed[table], topology.indptr_offset[key], 0
    for i in range(len(rows)):
        low, high = indptr[offset + rows[i]], indptr[offset + rows[i] + 1]
        visible = count_before(children, time, child_offset, low, high, before[row_seed[i]])
        if has_window:
            hidden = count_before(children, time, child_offset, low, low + visible, since[row_seed[i]])
            low, visible = low + hidden, visible - hidden
        if recent and visible > wanted:
            low, visible = low + visible - wanted, wanted
        first[i], degree[i] = low, visible
        total += min(visible, wanted)
    return total


@kernel_part
def _take_parents(parent, time, expiry, bound, nodes, span, num_nodes, ends, edge):
    """Adds edges parent -> row of a span of nodes. Returns (number of nodes after, end of the edges).

    nodes: (node_row, position, base), base + the number of a node being its place; span: (low, high, what makes places of these nodes' numbers);
    ends: (source, target) of edges.
    """
    node_row, position, base = nodes
    low, high, shift = span
    source, target = ends
    for i in range(low, high):
        row = parent[node_row[i]]
        if row >= 0 and time[row] < bound and (len(expiry) == 0 or expiry[row] >= bound):
            place = position[row]
            if place == 0:
                node_row[num_nodes] = row
                num_nodes += 1
                place = base + num_nodes
                position[row] = place
            source[edge], target[edge] = place - 1, i + shift
            edge += 1
    return num_nodes, edge


@kernel_part
def _take_children(found, expiry, bound, skip, wanted, stream, is_new, nodes, span, num_nodes, ends, edge):
    """Adds edges child -> row of a span of nodes: all found children, or one of each of `wanted` strata of them, rotated at random.

    found: (children, first, degree), where the node of number n finds children at n + skip; the others as in `_take_parents`.
    """
    children, first, degree = found
    node_row, position, base = nodes
    low, high, shift = span
    source, target = ends
    for row in range(low, high):
        begin, have = first[row + skip], degree[row + skip]
        count, at = min(have, wanted), 0
        if count == 0:
            continue
        if have > wanted:
            # The row of its own table: the key is in the stream, and another table may grow.
            at = np.int64(uniform(stream, node_row[row]) * have)
        # Stratum i begins at i * have // count, counted up without a division an edge.
        step, rest, error = have // count, have % count, 0
        for _ in range(count):
            child = children[begin + at]
            if len(expiry) == 0 or expiry[child] >= bound:
                place = 0 if is_new else position[child]
                if place == 0:
                    node_row[num_nodes] = child
                    num_nodes += 1
                    place = base + num_nodes
                    if not is_new:
                        position[child] = place
                source[edge], target[edge] = place - 1, row + shift
                edge += 1
            at, error = at + step, error + rest
            if error >= count:
                at, error = at + 1, error - count
            if at >= have:
                at -= have
    return num_nodes, edge


@kernel_part
def _set_earlier(position, node_row, layout, hop, table, tree, is_there):
    """Notes the places (from 1) of the tree's nodes of a table up to this hop, or clears them."""
    for h in range(hop + 1):
        shift = layout.place_begin[h, table] - layout.node_begin[h, table] + 1
        for i in range(layout.tree_begin[h, table, tree], layout.tree_begin[h, table, tree + 1]):
            position[node_row[i]] = i + shift if is_there else 0


@kernel_part
def _expand_table(topology, seeds, hop, table, active, wanted, scratch, found_begin, layout, num_nodes):
    """Adds all trees' nodes of a table at hop + 1, with the edges that lead from them by the `active` types. Returns the number of nodes."""
    row_offset, row_table = topology.row_offset, topology.row_table
    parent, parent_offset = topology.parent, topology.parent_offset
    node_row, node_seed, source, target, first, degree, _, position = scratch
    node_begin, place_begin, tree_begin = layout.node_begin, layout.place_begin, layout.tree_begin
    edge_end, before, streams = layout.edge_end[hop], seeds.before, seeds.stream
    time = topology.time[row_offset[table] : row_offset[table + 1]]
    expiry = topology.expiry[row_offset[table] : row_offset[table + 1]]  # empty where the whole is
    nodes = node_row, position, place_begin[hop + 1, table] - num_nodes
    found, ends = (topology.children, first, degree), (source, target)
    has_earlier = place_begin[hop + 1, table] > 0
    is_new = not has_earlier and len(active) == 1 and active[0] % 2 == 0
    for s in range(len(before)):
        tree = tree_begin[hop + 1, table, s] = num_nodes
        if has_earlier:
            _set_earlier(position, node_row, layout, hop, table, s, True)
        for d in active:
            of, key = row_table[d], d >> 1
            low, high = tree_begin[hop, of, s], tree_begin[hop, of, s + 1]
            span = low, high, place_begin[hop, of] - node_begin[hop, of]
            if low == high:
                continue
            if d % 2 == 1:
                of_key = parent[parent_offset[key] : parent_offset[key + 1]]
                num_nodes, edge_end[d] = _take_parents(
                    of_key, time, expiry, before[s], nodes, span, num_nodes, ends, edge_end[d]
                )
            else:
                skip, draws = found_begin[d] - node_begin[hop, of], fold(fold(streams[s], key), hop)
                num_nodes, edge_end[d] = _take_children(
                    found,
                    expiry,
                    before[s],
                    skip,
                    wanted,
                    draws,
                    is_new,
                    nodes,
                    span,
                    num_nodes,
                    ends,
                    edge_end[d],
                )
        node_seed[tree:num_nodes] = s
        if not is_new:
            for i in range(tree, num_nodes):
                position[node_row[i]] = 0
        if has_earlier:
            _set_earlier(position, node_row, layout, hop, table, s, False)
    tree_begin[hop + 1, table, len(before)] = num_nodes
    return num_nodes


@kernel_part
def _active(topology, table, num_rows):
    """Returns the directed types that lead from a table to rows that there are."""
    incoming = topology.incoming[topology.incoming_begin[table] : topology.incoming_begin[table + 1]]
    return incoming[num_rows[topology.row_table[incoming]] > 0]


@kernel_part
def _only_seeds(topology, seeds, seed_table, num_hops, scratch):
    """Returns layout, and rows and seeds of nodes, of trees that hold their seeds only."""
    num_tables, num_types, num_seeds = len(topology.row_offset) - 1, len(topology.row_table), len(seeds.row)
    num_nodes = np.zeros((num_hops + 1, num_tables), np.int64)
    tree_begin = np.zeros((num_hops + 1, num_tables, num_seeds + 1), np.int64)
    edge_begin = np.zeros((num_hops, num_types), np.int64)
    num_nodes[0, seed_table], tree_begin[0, seed_table] = num_seeds, np.arange(num_seeds + 1)
    node_row, node_seed = reserved(scratch.node_row, 0, num_seeds), reserved(scratch.node_seed, 0, num_seeds)
    node_row[:num_seeds], node_seed[:num_seeds] = seeds.row, np.arange(num_seeds)
    node_begin, place_begin = np.zeros_like(num_nodes), np.zeros_like(num_nodes)
    return Layout(num_nodes, node_begin, place_begin, tree_begin, edge_begin, edge_begin.copy()), node_row, node_seed


@kernel_part
def _place_edges(topology, seeds, hop, table, active, wanted, recent, scratch, found_begin, layout, num_edges):
    """Gives each type that leads from the table at hop + 1 as many edges as there may be, and finds the children.

    Returns (end of the edges; `first` and `degree`, which may have grown).
    """
    node_row, node_seed, first, degree, found = scratch.node_row, scratch.node_seed, scratch.first, scratch.degree, 0
    for d in active:
        low = layout.node_begin[hop, topology.row_table[d]]
        high = low + layout.num_nodes[hop, topology.row_table[d]]
        layout.edge_begin[hop, d] = layout.edge_end[hop, d] = num_edges
        if d % 2 == 1:
            num_edges += high - low
            continue
        found_begin[d], end = found, found + high - low
        first, degree = reserved(first, found, end), reserved(degree, found, end)
        rows, of_rows = node_row[low:high], node_seed[low:high]
        places = first[found:end], degree[found:end]
        num_edges += _find_children(topology, d >> 1, table, seeds, rows, of_rows, wanted, recent, *places)
        found = end
    return num_edges, first, degree


@kernel
def grow_trees(topology, seeds, seed_table, num_neighbors, recent, scratch):
    """Grows disjoint trees, one per seed, breadth first, each row at most once per tree. Returns (layout, scratch)."""
    layout, node_row, node_seed = _only_seeds(topology, seeds, seed_table, len(num_neighbors), scratch)
    _, _, source, target, first, degree, distinct, position = scratch
    num_nodes, num_edges, found_begin = len(seeds.row), 0, np.zeros(len(topology.row_table), np.int64)
    for hop in range(len(num_neighbors)):
        wanted = num_neighbors[hop]
        layout.place_begin[hop + 1] = layout.place_begin[hop] + layout.num_nodes[hop]
        for table in range(len(topology.row_offset) - 1):
            layout.node_begin[hop + 1, table], layout.tree_begin[hop + 1, table] = num_nodes, num_nodes
            active = _active(topology, table, layout.num_nodes[hop])
            if len(active) == 0:
                continue
            scratch = Scratch(node_row, node_seed, source, target, first, degree, distinct, position)
            end, first, degree = _place_edges(
                topology, seeds, hop, table, active, wanted, recent, scratch, found_begin, layout, num_edges
            )
            most = num_nodes + end - num_edges  # each edge may bring a node
            node_row, node_seed = reserved(node_row, num_nodes, most), reserved(node_seed, num_nodes, most)
            source, target = reserved(source, num_edges, end), reserved(target, num_edges, end)
            scratch = Scratch(node_row, node_seed, source, target, first, degree, distinct, position)
            num_nodes = _expand_table(
                topology, seeds, hop, table, active, wanted, scratch, found_begin, layout, num_nodes
            )
            layout.num_nodes[hop + 1, table] = num_nodes - layout.node_begin[hop + 1, table]
            num_edges = end
    return layout, Scratch(node_row, node_seed, source, target, first, degree, distinct, position)
