"""Which samples a run has trained on, as ranges: [[epoch, first sample, end], ...], sorted, apart from each other.

Promises: a sample is in at most one range, and adding it again is an error, so the record of a finished run shows that every sample was used once.
Samples are used in order, so the record stays as small as the number of epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranges = list[list[int]]


def with_samples(ranges: Sequence[Sequence[int]], cursors: Iterable[Sequence[int]]) -> Ranges:
    """The ranges with these (epoch, sample) added.

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
                f"sample {first} of epoch {epoch} was trained on twice; expected each once. It was dealt otherwise than planned (seeds.py)"
            )
    return merged


def num_samples(ranges: Iterable[Sequence[int]]) -> int:
    """How many samples the ranges hold."""
    return sum(end - first for _, first, end in ranges)
