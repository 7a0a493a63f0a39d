"""Callbacks, by which a training tells of itself while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """The callbacks of a run; called on every worker alike.

    Args:
        on_phase: Called when something begins to be trained, or goes on after a crash, with (its name, its number of updates at most, labels per
            update).
        on_step: Called after each update with (updates of this phase and, of phases of one training, of those before it; loss).
        on_validation: Called after each validation with (updates as above, the selecting metric).
    """

    on_phase: Callable[[str, int, int], None] = lambda name, steps, labels: None
    on_step: Callable[[int, float], None] = lambda step, loss: None
    on_validation: Callable[[int, float], None] = lambda step, metric: None
