"""Compiled kernels of a graph share (share.py)."""

# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

import numpy as np

from rdl_core.kernel_cache import inlined, kernel
from rdl_core.sampling.hg_kernels import count_before, hub_runs


@kernel
def cut_lists(children, time, child_offset, indptr, bound):
    """Cuts the lists children[indptr[i] : indptr[i + 1]] at `bound`. Returns (int64 [lists + 1] from 0, int32 children)."""
    ends = np.zeros(len(indptr), np.int64)
    for i in range(len(indptr) - 1):
        ends[i + 1] = ends[i] + count_before(children, time, child_offset, indptr[i], indptr[i + 1], bound)
    kept = np.empty(ends[-1], np.int32)
    for i in range(len(indptr) - 1):
        kept[ends[i] : ends[i + 1]] = children[indptr[i] : indptr[i] + ends[i + 1] - ends[i]]
    return ends, kept


@inlined
def _degree(indptr, children_time, low_at, bounds, row, list_base):
    """Returns how many children of the list the row sees."""
    low, high = list_base + indptr[low_at], list_base + indptr[low_at + 1]
    if len(children_time) > 0:
        return np.searchsorted(children_time[low:high], bounds[row, 0])
    return high - low


@kernel
def expand(share, keys, request, max_children):
    """Returns the arrays of a share's Response (share.py) in two passes: the first counts, the second writes.

    share: (first_row, parent_offset, parent, parent_time, indptr_offset, indptr, list_base, children, children_time); keys: (child_type,
    parent_type); request: a Request.
    """
    first_row, parent_offset, parent, parent_time, indptr_offset, indptr, list_base, children, children_time = share
    child_type, parent_type = keys
    row_begin, rows, bounds, list_begin, list_row, list_stream, with_lists = request
    num_parents, num_lists, num_children = 0, 0, 0
    for k in range(len(child_type)):
        num_parents += row_begin[child_type[k] + 1] - row_begin[child_type[k]]
        num_lists += list_begin[parent_type[k] + 1] - list_begin[parent_type[k]]
    parents = np.empty(num_parents, np.int32)
    begins, lengths = np.zeros(num_lists, np.int32), np.zeros(num_lists, np.int32)
    at = 0
    for k in range(len(child_type)):
        table = child_type[k]
        for r in range(row_begin[table], row_begin[table + 1]):
            place = parent_offset[k] + rows[r] - first_row[table]
            parents[at] = parent[place]
            if len(parent_time) > 0 and parent[place] >= 0 and parent_time[place] >= bounds[r, 1]:
                parents[at] = -2 - parent[place]
            at += 1
    found = np.empty(0, np.int32)
    degree, begin_of = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    if not with_lists:
        return parents, begins, lengths, found
    for writing in range(2):
        if writing:
            found = np.empty(num_children, np.int32)
        at, num_children = 0, 0
        for k in range(len(child_type)):
            table = parent_type[k]
            for r in range(row_begin[table], row_begin[table + 1]):
                low_at = indptr_offset[k] + rows[r] - first_row[table]
                degree[r] = _degree(indptr, children_time, low_at, bounds, r, list_base[k])
                if degree[r] <= max_children:
                    begin_of[r] = num_children
                    if writing:
                        low = list_base[k] + indptr[low_at]
                        found[num_children : num_children + degree[r]] = children[low : low + degree[r]]
                    num_children += degree[r]
            for i in range(list_begin[table], list_begin[table + 1]):
                r = list_row[i]
                begins[at], lengths[at] = begin_of[r], min(degree[r], max_children)
                if degree[r] > max_children:
                    begins[at] = num_children
                    if writing:
                        low = list_base[k] + indptr[indptr_offset[k] + rows[r] - first_row[table]]
                        start, stride, run = hub_runs(list_stream[i], k, rows[r], degree[r], max_children)
                        for j in range(max_children):
                            place = (start + j // run * stride + j % run) % degree[r]
                            found[num_children + j] = children[low + place]
                    num_children += max_children
                at += 1
    return parents, begins, lengths, found
