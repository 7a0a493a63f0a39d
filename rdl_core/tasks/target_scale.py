"""The unit in which a head predicts: logits of classes; of a regression the target, centred and divided by its standard deviation.

Promises: a head's first output is near 0, which stands for the best constant, the median for L1 and the mean for MSE; predictions of a regression
stay between the least and the greatest target that was learned from. A scale is saved with the model: it is of the labels that the model saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """The scale of one model.

    Args:
        is_binary: Whether predictions are probabilities; the other fields do nothing then.
        centre, std: The target that output 0 stands for, and that of one unit.
        lowest, highest: Bounds of predictions.
        classes: Of a multi-class task, whose head has an output for each; () for others.
    """

    is_binary: bool
    centre: float = 0.0
    std: float = 1.0
    lowest: float = 0.0
    highest: float = 1.0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))  # of a checkpoint, a list

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one prediction: (classes,), or () for a number or probability."""
        return (len(self.classes),) if self.classes else ()

    @classmethod
    def of(
        cls, target: NDArray[np.float64], *, is_binary: bool, loss: Literal["l1", "mse"], classes: tuple[str, ...] = ()
    ) -> TargetScale:
        """Returns the scale of labels: float64 [labels]."""
        if classes:
            return cls(is_binary=False, classes=classes)
        if is_binary:
            return cls(is_binary=True)
        centre = np.median if loss == "l1" else np.mean
        return cls(
            is_binary=False,
            centre=float(centre(target)),
            std=float(target.std()) or 1.0,
            lowest=float(target.min()),
            highest=float(target.max()),
        )

    def output(self, target: Tensor) -> Tensor:
        """Returns what a head should give for these targets, of classes their places: [seeds]."""
        return (target - self.centre) / self.std

    def prediction(self, output: Tensor) -> Tensor:
        """Returns the probabilities, or targets, that a head's outputs stand for: [seeds], of several classes [seeds, classes]."""
        if self.classes:
            return output.softmax(dim=1)
        if self.is_binary:
            return output.sigmoid()
        return (output * self.std + self.centre).clamp(self.lowest, self.highest)
