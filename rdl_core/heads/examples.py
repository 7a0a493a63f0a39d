"""Labelled rows of columns: what every head is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.problems import InputError


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled rows of columns.

    Args:
        columns: float32 [rows, columns]; NaN where a column is undefined.
        target: float64 [rows]; 0 or 1 where `is_binary`.
        time_s: int64 [rows], seed times in UNIX seconds.
        weights: float64 [rows], what a row counts; not negative.
        is_binary: Whether the target is a class.

    Raises:
        InputError: Shapes differ, a target or weight is no finite number, a class is neither 0 nor 1, or a column is infinite.
    """

    columns: NDArray[np.float32]
    target: NDArray[np.float64]
    time_s: NDArray[np.int64]
    weights: NDArray[np.float64]
    is_binary: bool

    def __post_init__(self) -> None:
        num_rows = len(self.columns)
        for name in ("target", "time_s", "weights"):
            if (shape := getattr(self, name).shape) != (num_rows,):
                raise InputError(
                    f"examples: expected {name} [{num_rows}], one for each row of columns, got {list(shape)}"
                )
        for name in ("target", "weights"):
            if (wrong := np.flatnonzero(~np.isfinite(getattr(self, name)))).size:
                raise InputError(f"examples: {name} of row {wrong[0]} is not finite; leave rows without a label out")
        if (self.weights < 0).any() or not self.weights.sum() > 0:
            raise InputError(
                "examples: expected weights of at least 0, one of them above; got none above, or a negative one"
            )
        if self.is_binary and not np.isin(self.target, (0, 1)).all():
            raise InputError("examples: expected classes 0 and 1 as target")
        if (infinite := np.flatnonzero(np.isinf(self.columns).any(axis=0))).size:
            raise InputError(
                f"examples: column {infinite[0]} is infinite in some row; expected NaN where it is undefined"
            )

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, rows: NDArray[np.int64]) -> Examples:
        """Returns these rows alone."""
        return Examples(
            columns=self.columns[rows],
            target=self.target[rows],
            time_s=self.time_s[rows],
            weights=self.weights[rows],
            is_binary=self.is_binary,
        )

    def and_also(self, other: Examples) -> Examples:
        """Returns these rows and behind them the other's."""
        return Examples(
            columns=np.concatenate([self.columns, other.columns]),
            target=np.concatenate([self.target, other.target]),
            time_s=np.concatenate([self.time_s, other.time_s]),
            weights=np.concatenate([self.weights, other.weights]),
            is_binary=self.is_binary,
        )

    @property
    def has_one_class(self) -> bool:
        """Returns whether the rows that count are all of one class: nothing can be learned or measured of them."""
        return self.is_binary and len(np.unique(self.target[self.weights > 0])) < 2


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Returns the weighted median; the middle of the two that share it."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    places = (int(np.searchsorted(reached, 0.5, side="left")), int(np.searchsorted(reached, 0.5, side="right")))
    low, high = (float(values[order[min(place, len(values) - 1)]]) for place in places)
    return (low + high) / 2
