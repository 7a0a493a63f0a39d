"""The weights that are best on validation so far."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor


class BestWeights:
    """Nothing yet, or what was kept of a training that goes on.

    Args:
        is_higher_better: Whether the metric grows as models get better.
        value, weights: The metric and the weights so far, or None.
    """

    def __init__(
        self, *, is_higher_better: bool, value: float | None = None, weights: dict[str, Tensor] | None = None
    ) -> None:
        self.sign, self.value, self.weights = 1.0 if is_higher_better else -1.0, value, weights

    def is_beaten_by(self, value: float | None) -> bool:
        """Returns whether a metric is better; one that is missing or not finite never is."""
        if value is None or not math.isfinite(value):
            return False
        return self.value is None or self.sign * value > self.sign * self.value

    def take(self, value: float, model: torch.nn.Module) -> bool:
        """Keeps a copy of the weights of a model if its metric is the best yet, and returns whether it is."""
        if not self.is_beaten_by(value):
            return False
        self.value, self.weights = value, copy.deepcopy(model.state_dict())
        return True
