"""The best columns by the gain of LightGBM's splits, of the rows that are given and no others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.heads.boosting import Boosting
from rdl_core.heads.examples import Examples

ROUNDS = 100


def ranked_columns(examples: Examples, boosting: Boosting) -> NDArray[np.int64]:
    """Returns the columns by falling gain, without those that have one value or none in these rows: int64.

    Columns that no split used follow in their own order.
    """
    varied = varied_columns(examples)
    return varied[np.argsort(-boosting.gains(examples, varied, ROUNDS), kind="stable")]


def varied_columns(examples: Examples) -> NDArray[np.int64]:
    """Returns the columns that tell rows apart, by two values, or by one that is not always defined: int64."""
    columns = examples.columns[examples.weights > 0]
    undefined = np.isnan(columns)
    low = np.where(undefined, np.inf, columns).min(axis=0)
    high = np.where(undefined, -np.inf, columns).max(axis=0)
    return np.flatnonzero((low < high) | (undefined.any(axis=0) & ~undefined.all(axis=0)))
