"""TrainState: what a run is besides weights and optimizer; with these it can be stopped and resumed at any step."""

from __future__ import annotations

from dataclasses import dataclass, field

from rdl_core.batches.pretraining_batch import Cursor
from rdl_core.pretraining.consumed import Ranges


@dataclass
class TrainState:
    """All that changes in a run besides weights and optimizer.

    Args:
        step: Updates done.
        best_loss: Lowest validation loss (sum of levels) so far.
        best_step: Its step.
        validations_since_best: For patience.
        seconds: Training time so far, over all restarts.
        first, last, best: Validation metrics before the first update, latest, at the best step.
        history: One entry a validation: {"step": ..., metrics}.
        sampled: {"rows": {table: n}, "links": {key: n}} over all samples of all workers.
        consumed: The samples of these updates, of all workers (consumed.py), as of the last report or checkpoint.
        since: This worker's samples after that.
        finished: Why the run ended, or "".
    """

    step: int = 0
    best_loss: float = float("inf")
    best_step: int = -1
    validations_since_best: int = 0
    seconds: float = 0.0
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    sampled: dict[str, dict[str, int]] = field(default_factory=dict)
    consumed: Ranges = field(default_factory=list)
    since: list[Cursor] = field(default_factory=list)
    finished: str = ""
