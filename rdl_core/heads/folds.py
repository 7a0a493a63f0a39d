"""Expanding windows inside train: fit on the labels of the past, validate on the next block of time, and again with that block in the past.

Promises: all labels that a fold is fitted on have their window closed at or before the first seed time of the block that it is validated on; blocks
hold whole seed times, lie one behind the other and do not overlap; the first block only ever fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.problems import InputError
from rdl_core.timestamps import SECONDS_PER_DAY


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold.

    Args:
        train: int64, rows to fit on.
        validation: int64, rows of the block behind them.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def expanding_folds(
    time_s: NDArray[np.int64],
    target: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    horizon_s: int,
    num_folds: int,
    is_binary: bool,
) -> list[Fold]:
    """Returns the folds in the order of time.

    Seed times are cut into num_folds + 1 blocks of about the same weight. A fold of which nothing can be learned or measured (no closed label before
    it, one class in either part) is left out, so that there may be fewer.

    Args:
        time_s: int64 [rows], seed times in UNIX seconds.
        target: float64 [rows].
        weights: float64 [rows].
        horizon_s: Seconds from a seed time to the end of its label's window.
        num_folds: Most folds.
        is_binary: Whether the target is a class.

    Raises:
        InputError: Not one fold can be made.
    """
    counts = weights > 0
    folds = []
    for first_s, last_s in _blocks(time_s[counts], weights[counts], num_folds + 1)[1:]:
        train = np.flatnonzero(counts & (time_s + horizon_s <= first_s))
        validation = np.flatnonzero(counts & (time_s >= first_s) & (time_s <= last_s))
        if len(train) and not (is_binary and (_is_constant(target[train]) or _is_constant(target[validation]))):
            folds.append(Fold(train=train, validation=validation))
    if not folds:
        num_times, days = len(np.unique(time_s[counts])), horizon_s / SECONDS_PER_DAY
        raise InputError(
            f"heads on columns choose their settings on windows of time inside train, but its {counts.sum()} labels at {num_times} seed times, whose "
            f"windows are {days:g} days long, have no time by which earlier windows with {'both classes' if is_binary else 'labels'} are closed.\n"
            "Remedy: a larger --label-share, a task with more seed times in train (--label-stride makes more of its own SQL), or --heads network"
        )
    return folds


def _blocks(time_s: NDArray[np.int64], weights: NDArray[np.float64], number: int) -> list[tuple[int, int]]:
    """(first, last) seed time of at most `number` blocks of about the same weight."""
    times, inverse = np.unique(time_s, return_inverse=True)
    if len(times) <= number:
        return [(int(t), int(t)) for t in times]
    middle = np.cumsum(weight := np.bincount(inverse, weights)) - weight / 2
    block = np.minimum((middle / weight.sum() * number).astype(np.int64), number - 1)
    return [(int(times[block == b][0]), int(times[block == b][-1])) for b in np.unique(block)]


def _is_constant(target: NDArray[np.float64]) -> bool:
    return bool((target == target[0]).all())
