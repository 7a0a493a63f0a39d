"""Cohort columns: how each column of a question compares with the same column of all questions that are asked at one time.

    percentile    share of the cohort's defined values below, half of the equal ones counted; 0 to 1
    z             (value - mean) / standard deviation; 0 where all are equal
    gaps          value - least, and greatest - value

Promises: a function of the values of one time alone; undefined where the value is. Limit: who is asked about is part of what is known, and a list of
questions can know the future; a question that is asked alone is its own cohort.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

PER_COLUMN = 4


def with_cohort_columns(columns: NDArray[np.float32], time_s: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns the columns and, behind them, their percentiles, z and both gaps: float32 [questions, (1 + 4) * columns].

    Args:
        columns: float32 [questions, columns]; NaN where a column is undefined.
        time_s: int64 [questions], the times of the questions.
    """
    width = columns.shape[1]
    found = np.empty((len(columns), (1 + PER_COLUMN) * width), np.float32)
    found[:, :width] = columns
    for time in np.unique(time_s):
        rows = np.flatnonzero(time_s == time)
        found[rows, width:] = np.concatenate(_compared(columns[rows].astype(np.float64)), axis=1)
    return found


def _compared(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Returns percentiles, z, gaps to the least and to the greatest of a cohort: float64 [questions, columns] each."""
    is_defined = ~np.isnan(values)
    number = np.maximum(1, is_defined.sum(axis=0))
    percentile = (rankdata(values, axis=0, nan_policy="omit") - 0.5) / number
    mean = np.where(is_defined, values, 0.0).sum(axis=0) / number
    centred = values - mean
    deviation = np.sqrt(np.where(is_defined, centred * centred, 0.0).sum(axis=0) / number)
    z = np.divide(centred, deviation, out=np.where(is_defined, 0.0, np.nan), where=is_defined & (deviation > 0))
    least = np.where(is_defined, values, np.inf).min(axis=0)
    greatest = np.where(is_defined, values, -np.inf).max(axis=0)
    return [percentile, z, values - least, greatest - values]
