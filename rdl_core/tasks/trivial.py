"""What a prediction is worth that needs no model: the same value for every row, or each entity's own last label.

Promises: a last label is known when it is used: its window has closed by the seed time and, of a snapshot, by the test timestamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.heads import weighted_median
from rdl_core.tasks.labels import Split


@dataclass(frozen=True, kw_only=True)
class Trivial:
    """A prediction without a model.

    Args:
        value: The base rate of classes, or the median of numbers.
        uses_last: Whether an entity's last label is predicted, and `value` only where there is none.
    """

    value: float
    uses_last: bool

    @classmethod
    def of(cls, train: Split, *, uses_last: bool, is_binary: bool) -> Trivial:
        """Returns it for weighted labels."""
        if is_binary:
            return cls(value=float(np.average(train.target, weights=train.weights)), uses_last=uses_last)
        return cls(value=weighted_median(train.target, train.weights), uses_last=uses_last)

    @property
    def about(self) -> str:
        return "the entity's last label" if self.uses_last else f"{self.value:.4g} always"

    def predict(self, known: Split, asked: Split, *, horizon_s: int) -> NDArray[np.float64]:
        """Returns predictions of seeds: float64 [seeds of `asked`].

        Args:
            known: Labels that may be known; each is from the end of its window on.
            asked: Seeds.
            horizon_s: Seconds from a label's seed time to the end of its window.
        """
        predicted = np.full(len(asked), self.value)
        if not self.uses_last:
            return predicted
        order = np.lexsort((known.time_s, known.entities))
        entities, closed_s, target = known.entities[order], known.time_s[order] + horizon_s, known.target[order]
        # A snapshot ends a second before its bound; a seed of the rolling regime knows what has closed by its own time.
        known_until_s = np.where(asked.before_s < asked.time_s, asked.before_s - 1, asked.time_s)
        begin = np.searchsorted(entities, asked.entities, side="left")
        end = np.searchsorted(entities, asked.entities, side="right")
        for row in np.flatnonzero(end > begin):
            last = begin[row] + np.searchsorted(closed_s[begin[row] : end[row]], known_until_s[row], side="right") - 1
            if last >= begin[row]:
                predicted[row] = target[last]
        return predicted
