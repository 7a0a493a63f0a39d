"""Sums of the numbers of a row's children: what an order's lines cost together, which neither their count nor their mean tells alone.

Promises: cells that are not known add nothing; a row without children before the time has the sum 0, and one whose children's cells are all unknown
has none. Only latest children have them: a mean over several orders would lose the product of count and mean, which the row's own columns still show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import EdgeType
from rdl_core.statistics.kernels import NUM_TIME_COLUMNS
from rdl_core.statistics.key_statistics import KeyStatistics


class ChildSums:
    """The sums of a key's children over all of them before a time.

    Args:
        statistics: Statistics with any settings.
        edge_type: The key.
    """

    def __init__(self, statistics: KeyStatistics, edge_type: EdgeType) -> None:
        child, fkey_col, _ = edge_type
        self._statistics, self._edge_type = statistics, edge_type
        measures = statistics.measures(edge_type)
        numbers = [i for i, m in enumerate(measures) if m.kind == "number"]
        missing = {m.column: i for i, m in enumerate(measures) if m.kind == "missing"}
        of_all = NUM_TIME_COLUMNS + len(statistics.config.num_last) * len(measures)  # where the means over all begin
        self._mean = np.array([of_all + i for i in numbers], np.int64)
        self._missing = np.array(
            [of_all + missing[measures[i].column] if measures[i].column in missing else -1 for i in numbers], np.int64
        )
        self._std = np.array([measures[i].std for i in numbers])
        self.columns: list[str | None] = [measures[i].column for i in numbers]
        """The column of the child table that each is made of."""
        self.names = [f"sum of {measures[i].of(child)} over all via {fkey_col}" for i in numbers]

    def __call__(self, parents: NDArray[np.int64], before_s: NDArray[np.int64], *, raw: bool) -> NDArray[np.float32]:
        """Returns the sums of children strictly before a time.

        Args:
            parents: int64 [m], rows of the key's parent table.
            before_s: int64 [m], UNIX seconds.
            raw: In the columns' own units; else signed logarithms of standard deviations.

        Returns:
            float32 [m, numbers of the child table].
        """
        if not self.names:
            return np.empty((len(parents), 0), np.float32)
        found = self._statistics(self._edge_type, parents, before_s, raw=True).astype(np.float64)
        count = found[:, :1]
        known = count * (1.0 - np.where(self._missing >= 0, found[:, self._missing], 0.0))
        sums = np.where(count > 0, found[:, self._mean] * known, 0.0)
        if not raw:
            sums = np.sign(sums) * np.log1p(np.abs(sums) / self._std)
        return sums.astype(np.float32)
