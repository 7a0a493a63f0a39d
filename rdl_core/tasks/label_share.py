"""Which labels are kept where a model learns from a share of them: how good it is with few labels.

Promises: the rows that are kept are a function of (seed, labels), in the task's own order; fewer rows of the same seed are a part of more rows, so a
curve over shares adds labels and takes none away (but for the one row that brings in a class that would be missing). Every arm and head of a seed
learns from the same labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.random_streams import PURPOSE_LABEL_SHARE, permuted, stream


def kept_rows(num_rows: int, num_kept: int, seed: int, classes: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Returns which of `num_rows` rows are kept: int64 [num_kept], ascending.

    Args:
        classes: float64 [num_rows], the labels of a binary task: where two rows or more would be of one class, the last gives its place to the first
            of the other class.
    """
    order = permuted(np.arange(num_rows), num_rows, stream(seed, PURPOSE_LABEL_SHARE))
    kept = order[:num_kept].copy()
    if classes is not None and num_kept > 1:
        for missing in np.setdiff1d(classes, classes[kept]):
            kept[-1] = order[np.argmax(classes[order] == missing)]
    return np.sort(kept)
