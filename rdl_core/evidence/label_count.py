"""The labels that a figure rests on, counted, and whether they are few.

Promises: labels of one entity count once where they are judged, since they are no independent evidence; of a classification the rarest class is
judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEW_OF_A_CLASS = 50
"""Entities of the rarest class below which a classification has few labels: the standard error of an AUROC of 0.8 is then 0.03 or more."""
FEW_NUMBERS = 100
"""Entities below which a regression has few labels."""


@dataclass(frozen=True, kw_only=True)
class LabelCount:
    """The labels of a split.

    Args:
        labels, entities: Number of labels, and of the entities that they are of.
        rarest: The class with the fewest labels; None of a regression.
        rarest_labels, rarest_entities: The labels of that class, and the entities that they are of; of a regression those of all.
    """

    labels: int
    entities: int
    rarest: int | None
    rarest_labels: int
    rarest_entities: int

    @classmethod
    def of(cls, target: NDArray[np.float64], entities: NDArray[np.int64], *, is_classification: bool) -> LabelCount:
        """Counts labels: float64 [labels] of entities int64 [labels].

        A classification of two classes, one of which is missing, has that one as its rarest.
        """
        num_labels, num_entities = len(target), len(np.unique(entities))
        if not is_classification:
            return cls(
                labels=num_labels,
                entities=num_entities,
                rarest=None,
                rarest_labels=num_labels,
                rarest_entities=num_entities,
            )
        classes = np.union1d(target, [0.0, 1.0])
        rarest = min(classes[::-1], key=lambda one: int((target == one).sum()))  # of equally rare ones the last
        of_it = target == rarest
        return cls(
            labels=num_labels,
            entities=num_entities,
            rarest=int(rarest),
            rarest_labels=int(of_it.sum()),
            rarest_entities=len(np.unique(entities[of_it])),
        )

    @property
    def is_few(self) -> bool:
        """Tells whether a figure needs its interval beside it."""
        return self.rarest_entities < (FEW_NUMBERS if self.rarest is None else FEW_OF_A_CLASS)

    @property
    def words(self) -> str:
        """The count in words: "3 positives, of 2 entities, among 300 labels"."""
        if self.rarest is None:
            return f"{self.labels:,} labels of {_counted(self.entities, 'entity', 'entities')}"
        names = {0: ("negative", "negatives"), 1: ("positive", "positives")}
        one, many = names.get(self.rarest, (f"label of class {self.rarest}", f"labels of class {self.rarest}"))
        of = f", of {_counted(self.rarest_entities, 'entity', 'entities')}," if self.rarest_labels else ""
        return f"{_counted(self.rarest_labels, one, many)}{of} among {self.labels:,} labels"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
