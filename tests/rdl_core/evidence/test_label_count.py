"""Labels that a figure rests on are counted by entity, and few are called few."""

from __future__ import annotations

import numpy as np
import pytest

from rdl_core.evidence import LabelCount
from rdl_core.evidence.label_count import FEW_NUMBERS, FEW_OF_A_CLASS


@pytest.mark.parametrize(
    ("target", "entities", "words"),
    [
        ([0, 0, 1], [0, 1, 2], "1 positive, of 1 entity, among 3 labels"),
        ([0, 1, 1, 1], [0, 1, 1, 2], "1 negative, of 1 entity, among 4 labels"),
        ([0, 0, 0, 1, 1], [0, 1, 2, 4, 4], "2 positives, of 1 entity, among 5 labels"),
        ([0, 0], [0, 1], "0 positives among 2 labels"),
        ([0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 4, 5], "1 label of class 2, of 1 entity, among 6 labels"),
    ],
)
def test_the_rarest_class_is_counted_in_words(target: list[float], entities: list[int], words: str) -> None:
    count = LabelCount.of(np.array(target, float), np.array(entities), is_classification=True)
    assert count.words == words
    assert count.is_few


def test_numbers_are_counted_in_words() -> None:
    count = LabelCount.of(np.array([1.5, 2.5, 0.0]), np.array([3, 3, 4]), is_classification=False)
    assert (count.words, count.rarest, count.is_few) == ("3 labels of 2 entities", None, True)


@pytest.mark.parametrize("is_classification", [True, False])
def test_many_labels_of_few_entities_are_few(is_classification: bool) -> None:
    bound = FEW_OF_A_CLASS if is_classification else FEW_NUMBERS
    for entities, is_few in ((bound - 1, True), (bound, False)):
        target = np.repeat([0.0, 1.0], 10 * entities)
        count = LabelCount.of(target, np.arange(len(target)) % entities, is_classification=is_classification)
        assert count.is_few == is_few
