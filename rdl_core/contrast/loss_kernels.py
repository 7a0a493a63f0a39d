"""The loss of a block of logits in one or both directions and its gradient in their place, on a CPU.

In: logits [num_samples, rows, columns] and which pairs are positive. Masked: positives and what is no negative become the smallest number, whose
exponential is 0. Way 0 has the rows as anchors, way 1 the columns. With n = log-sum-exp of an anchor's negatives, the terms are those of `slopes`
(loss_pairs.py).
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from rdl_core.kernel_cache import njit

LOG2_E = np.float32(1.44269504)
LN2 = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""In two parts: a small whole number times the first is exact."""
LEAST = np.float32(-87.0)
"""The exponential of less is 0: it has no normal float32."""


def _exp(x):
    """Of a number <= 0."""


@overload(_exp)
def _exp_of(x):
    """float32: Cephes' expf, 1 unit in the last place, without a branch or a call, so that loops over it become vector instructions."""
    if x != types.float32:
        return lambda x: np.exp(x)

    def code(x):
        y = LEAST if x < LEAST else x
        n = np.floor(y * LOG2_E + np.float32(0.5))
        r = y - n * LN2[0] - n * LN2[1]
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        p = p * r * r + r + np.float32(1.0)
        power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
        return np.float32(0.0) if x < LEAST else p * power  # of NaN: NaN

    return code


@njit(cache=True, nogil=True)
def weigh(
    logits, anchor, candidate, is_target, is_row, is_column, is_self_reference, skip_without_negative, is_both_ways
):
    """(sum of losses, their number); logits become d sum / d logits.

    anchor, candidate: [pairs], flat places in is_row and is_column. is_target: [pairs], or none for all.
    """
    num_samples, num_rows, num_columns = logits.shape
    positive, slope_of_pair = np.empty(len(anchor), logits.dtype), np.zeros(len(anchor), logits.dtype)
    of_rows, of_columns = (
        np.zeros((3, num_samples, num_rows), logits.dtype),
        np.zeros((3, num_samples, num_columns), logits.dtype),
    )
    top_of_rows, sum_of_rows, of_row = of_rows[0], of_rows[1], of_rows[2]
    top_of_columns, sum_of_columns, of_column = of_columns[0], of_columns[1], of_columns[2]
    twin = np.empty((num_samples if is_both_ways else 0, num_rows, num_columns), logits.dtype)
    _mask(logits, anchor, candidate, is_row, is_column, is_self_reference, is_both_ways, positive)
    _exponentials(logits, twin, top_of_rows, sum_of_rows, top_of_columns, sum_of_columns)
    total, count = _terms(
        anchor, candidate, is_target, is_column, is_self_reference, skip_without_negative, top_of_rows, sum_of_rows, positive, slope_of_pair, of_row,
    )  # fmt: skip
    if is_both_ways:
        part, number = _terms(
            candidate, anchor, is_target, is_row, is_self_reference, skip_without_negative, top_of_columns, sum_of_columns, positive,
            slope_of_pair, of_column,
        )  # fmt: skip
        total, count = total + part, count + number
        of_column /= sum_of_columns
    of_row /= sum_of_rows
    for s in range(num_samples):
        by_column = of_column[s]
        for v in range(num_rows):
            weights, by_row = logits[s, v], of_row[s, v]
            if is_both_ways:
                other = twin[s, v]
                for w in range(num_columns):
                    weights[w] = weights[w] * by_row + other[w] * by_column[w]
            else:
                for w in range(num_columns):
                    weights[w] *= by_row
    for p in range(len(anchor)):
        logits[anchor[p] // num_rows, anchor[p] % num_rows, candidate[p] % num_columns] = -slope_of_pair[p]
    return total, count


@njit(cache=True, nogil=True)
def _mask(logits, anchor, candidate, is_row, is_column, is_self_reference, is_both_ways, positive):
    """Fills positive [pairs]; what is no negative becomes the smallest number."""
    num_samples, num_rows, num_columns = logits.shape
    lowest = np.finfo(logits.dtype).min
    for p in range(len(anchor)):
        s, v, w = anchor[p] // num_rows, anchor[p] % num_rows, candidate[p] % num_columns
        positive[p] = logits[s, v, w]
        logits[s, v, w] = lowest
    for s in range(num_samples):
        for w in np.flatnonzero(~is_column[s]):
            logits[s, :, w] = lowest
        if is_both_ways:
            for v in np.flatnonzero(~is_row[s]):
                logits[s, v] = lowest
        if is_self_reference:
            for v in range(num_rows):
                logits[s, v, v] = lowest


@njit(cache=True, nogil=True)
def _exponentials(logits, twin, top_of_rows, sum_of_rows, top_of_columns, sum_of_columns):
    """logits become exp(logits - top of their row), twin exp(logits - top of their column) unless it is empty; fills tops and sums."""
    num_samples, num_rows, num_columns = logits.shape
    is_both_ways = len(twin) > 0
    top_of_columns[:] = np.finfo(logits.dtype).min
    for s in range(num_samples):
        column_top, column_sum = top_of_columns[s], sum_of_columns[s]
        for v in range(num_rows):  # a loop of its own: within the next one it would keep that from running in vectors
            row, top = logits[s, v], logits[s, v, 0]
            for w in range(num_columns):
                top = row[w] if row[w] > top else top
            top_of_rows[s, v] = top
            if is_both_ways:
                for w in range(num_columns):
                    column_top[w] = row[w] if row[w] > column_top[w] else column_top[w]
        for v in range(num_rows):
            row, top = logits[s, v], top_of_rows[s, v]
            if is_both_ways:
                other = twin[s, v]
                for w in range(num_columns):
                    other[w] = _exp(row[w] - column_top[w])
                for w in range(num_columns):
                    column_sum[w] += other[w]
            for w in range(num_columns):
                row[w] = _exp(row[w] - top)
            sum_of_rows[s, v] = _sum(row)


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})  # lets it run in vectors, in one order on one machine
def _sum(row):
    total = row.dtype.type(0.0)
    for w in range(len(row)):
        total += row[w]
    return total


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
