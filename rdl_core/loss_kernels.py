"""Both directions' softmax of a block of logits on a CPU: two kernels around one exponential, which PyTorch does in vectors.

    shift:  out[way, v, w] = logits[v, w] - largest of the anchor's negatives; positives and what is no negative become the smallest number
    weigh:  from e = exp(out), the loss terms (loss_pairs.py: `slopes`) and d loss / d logits

Way 0 has the rows as anchors, way 1 the columns. Blocks are [num_samples, rows, columns] with padding right and below: sizes are those of masks.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 16
"""Partial maxima and sums of a row side by side: their loop becomes vector instructions, in one order on every machine."""


@njit(cache=True, nogil=True)
def shift(logits, anchor, candidate, is_row, is_column, is_self_reference, out, top_of_rows, top_of_columns, positive):
    """Fills out [ways, num_samples, rows, columns], top_of_rows, top_of_columns (as is_row, is_column) and positive [pairs]; masks logits."""
    num_samples, num_rows = is_row.shape
    num_columns, is_both_ways = is_column.shape[1], out.shape[0] == 2
    lowest = np.finfo(logits.dtype).min
    for p in range(len(anchor)):
        s, v, w = anchor[p] // num_rows, anchor[p] % num_rows, candidate[p] % num_columns
        positive[p] = logits[s, v, w]
        logits[s, v, w] = lowest
    lanes = np.empty(LANES, logits.dtype)
    for s in range(num_samples):
        no_columns = np.flatnonzero(~is_column[s])
        top_of_columns[s] = lowest
        for v in range(num_rows):
            row, column_top = logits[s, v, :num_columns], top_of_columns[s]
            if is_both_ways and not is_row[s, v]:
                row[:] = lowest
            row[no_columns] = lowest
            if is_self_reference:
                row[v] = lowest
            lanes[:] = lowest
            whole = num_columns // LANES * LANES
            for begin in range(0, whole, LANES):
                part = row[begin : begin + LANES]
                for i in range(LANES):
                    lanes[i] = part[i] if part[i] > lanes[i] else lanes[i]
            top = lanes.max()
            for w in range(whole, num_columns):
                top = max(top, row[w])
            top_of_rows[s, v] = top
            shifted = out[0, s, v]
            for w in range(num_columns):
                shifted[w] = row[w] - top
            if is_both_ways:
                for w in range(num_columns):
                    column_top[w] = row[w] if row[w] > column_top[w] else column_top[w]
            out[:, s, v, num_columns:] = 0.0
        out[:, s, num_rows:] = 0.0
        if is_both_ways:
            for v in range(num_rows):
                row, shifted, column_top = logits[s, v], out[1, s, v], top_of_columns[s]
                for w in range(num_columns):
                    shifted[w] = row[w] - column_top[w]


@njit(cache=True, nogil=True)
def weigh(
    e,
    anchor,
    candidate,
    is_target,
    is_row,
    is_column,
    is_self_reference,
    skip_without_negative,
    top_of_rows,
    top_of_columns,
    positive,
):
    """(sum of losses, their number); e[0] becomes d sum / d logits. is_target: [pairs], or none for all."""
    num_samples, num_rows = is_row.shape
    num_columns = is_column.shape[1]
    slope_of_pair = np.zeros(len(anchor), e.dtype)
    total, count = 0.0, 0
    of_row, sum_of_rows = np.zeros((num_samples, num_rows), e.dtype), _row_sums(e[0], num_rows, num_columns)
    part, number = _terms(
        anchor, candidate, is_target, is_column, is_self_reference, skip_without_negative, top_of_rows, sum_of_rows, positive, slope_of_pair, of_row,
    )  # fmt: skip
    total, count = total + part, count + number
    of_column, sum_of_columns = (
        np.zeros((num_samples, num_columns), e.dtype),
        np.ones((num_samples, num_columns), e.dtype),
    )
    if e.shape[0] == 2:
        sum_of_columns[:] = 0.0
        for s in range(num_samples):
            for v in range(num_rows):
                some, column_sum = e[1, s, v], sum_of_columns[s]
                for w in range(num_columns):
                    column_sum[w] += some[w]
        part, number = _terms(
            candidate, anchor, is_target, is_row, is_self_reference, skip_without_negative, top_of_columns, sum_of_columns, positive,
            slope_of_pair, of_column,
        )  # fmt: skip
        total, count = total + part, count + number
    of_row /= sum_of_rows
    of_column /= sum_of_columns
    for s in range(num_samples):
        e[0, s, num_rows:] = 0.0
        for v in range(num_rows):
            weights, by_column = e[0, s, v], of_column[s]
            weights[num_columns:] = 0.0
            if e.shape[0] == 2:
                other = e[1, s, v]
                for w in range(num_columns):
                    weights[w] = weights[w] * of_row[s, v] + other[w] * by_column[w]
            else:
                for w in range(num_columns):
                    weights[w] *= of_row[s, v]
    for p in range(len(anchor)):
        e[0, anchor[p] // num_rows, anchor[p] % num_rows, candidate[p] % num_columns] = -slope_of_pair[p]
    return total, count


@njit(cache=True, nogil=True)
def _row_sums(e, num_rows, num_columns):
    sums, lanes = np.empty((e.shape[0], num_rows), e.dtype), np.empty(LANES, e.dtype)
    for s in range(e.shape[0]):
        for v in range(num_rows):
            row, whole = e[s, v], num_columns // LANES * LANES
            lanes[:] = 0.0
            for begin in range(0, whole, LANES):
                part = row[begin : begin + LANES]
                for i in range(LANES):
                    lanes[i] += part[i]
            sums[s, v] = lanes.sum() + row[whole:num_columns].sum()
    return sums


@njit(cache=True, nogil=True)
def _terms(
    anchor,
    candidate,
    is_target,
    is_candidate,
    is_self_reference,
    skip_without_negative,
    top,
    sums,
    positive,
    slope_of_pair,
    of_anchor,
):
    """`terms` of loss_pairs.py in one way: (sum, number); adds each pair's slope to slope_of_pair and of_anchor [num_samples, anchors]."""
    num_samples, num_anchors = top.shape
    number, is_skipped = np.empty((num_samples, num_anchors), np.int64), np.zeros(num_samples, np.bool_)
    for s in range(num_samples):
        number[s] = is_candidate[s].sum() - is_self_reference
    for p in range(len(anchor)):
        if not is_self_reference or anchor[p] != candidate[p]:
            number[anchor[p] // num_anchors, anchor[p] % num_anchors] -= 1
    for p in range(len(anchor) if skip_without_negative else 0):
        s, v = anchor[p] // num_anchors, anchor[p] % num_anchors
        is_skipped[s] |= number[s, v] <= 0 and (len(is_target) == 0 or is_target[p])
    total, count = 0.0, 0
    for p in range(len(anchor)):
        s, v = anchor[p] // num_anchors, anchor[p] % num_anchors
        if number[s, v] > 0 and not is_skipped[s] and (len(is_target) == 0 or is_target[p]):
            inverse = 1.0 / np.log1p(number[s, v])
            gap = np.float64(top[s, v]) + np.log(np.float64(sums[s, v])) - np.float64(positive[p])
            small = np.exp(-abs(gap))
            total += (max(gap, 0.0) + np.log1p(small)) * inverse
            slope = (1.0 if gap > 0 else small) / (1.0 + small) * inverse
            slope_of_pair[p] += slope
            of_anchor[s, v] += slope
            count += 1
    return total, count
