"""TrainState: what a run is besides weights and optimizer, with the record of the samples that it has used.

Promises: with a TrainState, the weights and the optimizer a run can be stopped and resumed at any step. A sample is in at most one range of the
record, and adding it again is an error, so the record of a finished run shows that every sample was used once. Samples are used in order, so the
record stays as small as the number of epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rdl_core.batches.pretraining_batch import Cursor

Ranges = list[list[int]]
"""[[epoch, first sample, end], ...], sorted and apart from each other."""


@dataclass
class TrainState:
    """All that changes in a run besides weights and optimizer.

    Args:
        step: Updates done.
        best_loss: Lowest validation loss so far (sum of levels; one without an input counts as chance, 1).
        best_step: Step of the best loss.
        validations_since_best: Counts towards patience.
        seconds: Training time so far, over all restarts.
        first, last, best: Validation metrics before the first update, latest, and at the best step.
        history: One entry per validation: {"step": ..., metrics}.
        sampled: {"rows": {table: n}, "links": {key: n}} over all samples of all workers.
        consumed: Samples of these updates, of all workers, as of the last report or checkpoint.
        since: Samples of this worker after that.
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


def with_samples(ranges: Sequence[Sequence[int]], cursors: Iterable[Sequence[int]]) -> Ranges:
    """Returns the ranges with these samples added.

    Args:
        ranges: Sorted and apart from each other.
        cursors: (epoch, sample) of each.

    Raises:
        RuntimeError: A sample is there already, or twice among the new ones.
    """
    merged: Ranges = []
    for epoch, first, end in sorted([*map(tuple, ranges), *((e, s, s + 1) for e, s in cursors)]):
        if not merged or merged[-1][0] != epoch or merged[-1][2] < first:
            merged.append([epoch, first, end])
        elif merged[-1][2] == first:
            merged[-1][2] = end
        else:
            raise RuntimeError(
                f"sample {first} of epoch {epoch} was trained on twice; expected each once. The plan of the steps dealt it out twice."
            )
    return merged


def num_samples(ranges: Iterable[Sequence[int]]) -> int:
    """Returns how many samples the ranges hold."""
    return sum(end - first for _, first, end in ranges)
