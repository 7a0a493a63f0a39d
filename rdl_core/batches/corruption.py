"""The second view: each attribute cell is replaced, with probability p, by a value of the same column (SCARF, Bahri et al. 2022).

Promises: keys, links and times are not touched (they are not cells); values come from rows up to the cutoff; what is drawn depends on
(seed, epoch, sample, table) alone. Columns of every semantic type are treated alike. A cell without any donor (a column with no value up to the
cutoff is no attribute at all) stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.feature_rows import cells_of
from rdl_core.random_streams import PURPOSE_CORRUPTION, numpy_generator


def corrupted_cells(
    rows: NDArray[np.integer],
    donors: Sequence[NDArray[np.integer]],
    probability: float,
    *,
    stream: tuple[int, ...],
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Returns the row that each cell of the corrupted view is copied from: int64 [m, columns].

    Args:
        rows: [m], the rows of one table in one sample.
        donors: Rows to copy from, per column: one row for each distinct value gives a uniform draw over distinct values (the authors'
            code), a sample of rows gives a draw by frequency (SCARF).
        probability: p, the probability that a cell is replaced.
        stream: (seed, epoch, sample, table number).
        known: bool [m, columns], which cells are known at the time of the sample, so that the others stay null where they are not replaced.
    """
    generator = numpy_generator(PURPOSE_CORRUPTION, *stream)
    cells = cells_of(rows, known, len(donors))
    for column, column_donors in enumerate(donors):
        replaced = generator.random(len(rows)) < probability
        drawn = generator.random(len(rows))
        if len(column_donors):
            chosen = column_donors[(drawn * len(column_donors)).astype(np.int64)]
            cells[:, column] = np.where(replaced, chosen, cells[:, column])
    return cells
