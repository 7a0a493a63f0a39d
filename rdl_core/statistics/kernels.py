"""The compiled loops of exact statistics: binary searches in the children of a row, sorted by (time, row), and differences of their running sums.

Every function takes the graph's `children` (rows, of all keys) and `indptr`, where each parent's begin among them, the `times` of the child table's
rows, and `sums`, float64 [children of the key, measures] (prefix_sums.py), whose first row is that of position `base`. `unknown` holds, per measure,
the number of the measure whose sum tells how many cells are unknown, or -1: a mean is over the known ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import ALWAYS
from rdl_core.kernel_cache import kernel, kernel_part
from rdl_core.timestamps import SECONDS_PER_DAY

NUM_TIME_COLUMNS = 5
"""Count; days since the last, since the first, between the last two; age of the last in mean gaps."""
MAX_LOG_GAPS = 5.0


@kernel_part
def first_from(children, times, begin, end, time_s):  # type: ignore[no-untyped-def]
    """Returns the first position in [begin, end) whose child is at or after a time, or `end`."""
    while begin < end:
        middle = (begin + end) // 2
        if times[children[middle]] < time_s:
            begin = middle + 1
        else:
            end = middle
    return begin


@kernel_part
def _earlier(time_s, seconds):  # type: ignore[no-untyped-def]
    """Returns the time that lies so long before another, or the earliest that is no ALWAYS."""
    return max(time_s, ALWAYS + 1 + seconds) - seconds


@kernel_part
def _write_means(out, i, place, first, at, end, sums, unknown, mean, std):  # type: ignore[no-untyped-def]
    """Writes, into row i from `place` on, the mean of each measure over the children in [at, end) of a parent whose own begin at `first`; NaN where
    none is known."""
    for j in range(sums.shape[1]):
        total, number = 0.0, float(end - at)
        if end > at:
            total = sums[end - 1, j]
            if at > first:
                total -= sums[at - 1, j]
            u = unknown[j]
            if u >= 0:
                number -= sums[end - 1, u]
                if at > first:
                    number += sums[at - 1, u]
        out[i, place + j] = total / number * std[j] + mean[j] if number > 0 else np.nan


@kernel_part
def _write_times(out, i, children, times, first, end, before_s, raw):  # type: ignore[no-untyped-def]
    """Writes the NUM_TIME_COLUMNS of the children in [first, end), all before a time, into row i; NaN where too few, or one there ALWAYS."""
    number = end - first
    out[i, 0] = number if raw else np.log1p(number)
    for j in range(1, NUM_TIME_COLUMNS):
        out[i, j] = np.nan
    if number == 0 or times[children[end - 1]] == ALWAYS:
        return
    last = float(times[children[end - 1]])
    since_last = (float(before_s) - last) / SECONDS_PER_DAY
    out[i, 1] = since_last if raw else np.log1p(since_last)
    if times[children[first]] != ALWAYS:
        since_first = (float(before_s) - float(times[children[first]])) / SECONDS_PER_DAY
        out[i, 2] = since_first if raw else np.log1p(since_first)
        if since_first > since_last:
            gaps = since_last * (number - 1) / (since_first - since_last)
            out[i, 4] = gaps if raw else min(max(np.log(gaps), -MAX_LOG_GAPS), MAX_LOG_GAPS)
    if number > 1 and times[children[end - 2]] != ALWAYS:
        between = (last - float(times[children[end - 2]])) / SECONDS_PER_DAY
        out[i, 3] = between if raw else np.log1p(between)


@kernel
def fill_statistics(
    out: NDArray[np.float32],
    parents: NDArray[np.int64],
    before_s: NDArray[np.int64],
    children: NDArray[np.int32],
    times: NDArray[np.int64],
    indptr: NDArray[np.int64],
    base: int,
    sums: NDArray[np.float64],
    unknown: NDArray[np.int64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    num_last: NDArray[np.int64],
    windows_s: NDArray[np.int64],
    raw: bool,
) -> None:
    """Writes the statistics of the children of each parent strictly before its time.

    Args:
        out: float32 [m, width]: the NUM_TIME_COLUMNS, means over the last of each `num_last` and over all, then count and means of each window.
        parents, before_s: int64 [m], rows and UNIX seconds.
        mean, std: float64 [measures], by which means are taken back to a column's own units; 0 and 1 leave them standardised.
        num_last: int64, in any order.
        windows_s: int64 seconds, in any order.
        raw: Whether counts, days and gaps are as they are, and not logarithms.
    """
    p = sums.shape[1]
    for i in range(len(parents)):
        first = indptr[parents[i]]
        end = first_from(children, times, first, indptr[parents[i] + 1], before_s[i])
        _write_times(out, i, children, times, first, end, before_s[i], raw)
        place = NUM_TIME_COLUMNS
        for n in num_last:
            _write_means(out, i, place, first - base, max(first, end - n) - base, end - base, sums, unknown, mean, std)
            place += p
        _write_means(out, i, place, first - base, first - base, end - base, sums, unknown, mean, std)
        place += p
        for window_s in windows_s:
            at = first_from(children, times, first, end, _earlier(before_s[i], window_s))
            out[i, place] = end - at if raw else np.log1p(end - at)
            _write_means(out, i, place + 1, first - base, at - base, end - base, sums, unknown, mean, std)
            place += 1 + p


@kernel
def fill_window(
    counts: NDArray[np.int64],
    means: NDArray[np.float32],
    parents: NDArray[np.int64],
    from_s: NDArray[np.int64],
    until_s: NDArray[np.int64],
    children: NDArray[np.int32],
    times: NDArray[np.int64],
    indptr: NDArray[np.int64],
    base: int,
    sums: NDArray[np.float64],
    unknown: NDArray[np.int64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
) -> None:
    """Writes how many children of each parent lie in [from_s, until_s), int64 [m], and the means of their measures, float32 [m, measures]."""
    for i in range(len(parents)):
        first, last = indptr[parents[i]], indptr[parents[i] + 1]
        at = first_from(children, times, first, last, from_s[i])
        end = first_from(children, times, at, last, until_s[i])
        counts[i] = end - at
        _write_means(means, i, 0, first - base, at - base, end - base, sums, unknown, mean, std)


@kernel
def next_children(
    parents: NDArray[np.int64],
    from_s: NDArray[np.int64],
    until_s: NDArray[np.int64],
    children: NDArray[np.int32],
    times: NDArray[np.int64],
    indptr: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Returns the first child of each parent in [from_s, until_s), by (time, row): int64 [m], -1 where there is none."""
    found = np.full(len(parents), -1, np.int64)
    for i in range(len(parents)):
        last = indptr[parents[i] + 1]
        at = first_from(children, times, indptr[parents[i]], last, from_s[i])
        if at < last and times[children[at]] < until_s[i]:
            found[i] = children[at]
    return found
