"""The record of used samples: each once, and small."""

from __future__ import annotations

import random

import pytest

from rdl_core.pretraining import num_samples, with_samples


def test_samples_in_any_order_and_portions_give_the_ranges_of_their_set() -> None:
    cursors = [(e, k) for e in range(3) for k in range(50) if (e, k) not in {(0, 7), (1, 0), (2, 49)}]
    expected = [[0, 0, 7], [0, 8, 50], [1, 1, 50], [2, 0, 49]]
    random.Random(0).shuffle(cursors)
    ranges: list[list[int]] = []
    for first in range(0, len(cursors), 13):
        ranges = with_samples(ranges, cursors[first : first + 13])
    assert ranges == expected
    assert num_samples(ranges) == len(cursors)


def test_neighbouring_epochs_stay_apart() -> None:
    assert with_samples([[0, 5, 10]], [(1, 10), (1, 11)]) == [[0, 5, 10], [1, 10, 12]]


@pytest.mark.parametrize("twice", [[(0, 3)], [(0, 12), (0, 12)], [(0, 0)], [(0, 9)]])
def test_a_sample_that_comes_twice_is_an_error_that_names_it(twice: list[tuple[int, int]]) -> None:
    with pytest.raises(RuntimeError, match=r"sample \d+ of epoch 0 was trained on twice"):
        with_samples([[0, 0, 10]], twice)
