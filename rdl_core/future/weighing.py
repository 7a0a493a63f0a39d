"""The weight of each answer in the loss: numbers are standardised, and 1.0 is the loss of the best constant answers.

The loss of one question is the mean over the kinds of answers that are known (counts, any, means, next), of a kind the mean over its known answers;
each kind is divided by the loss that constants have, so that all four weigh alike and, together, constants come to 1.0.

Promises: constants and scales come from a fixed sample of questions, whatever the run's seed; a target that does not vary in it is not asked for.
Losses: smooth L1 of standardised numbers, binary cross entropy of probabilities and shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.future.answers import KINDS, Target

MIN_KNOWN = 16
"""Answers of the fixed sample that must be known for a target to be asked for."""
MIN_STD = 1e-6


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """Scales and weights of the targets of one table.

    Args:
        asked: int64 [asked], columns of the answers: numbers first, then probabilities.
        num_numbers: How many of them are numbers.
        center, scale: float64 [asked], mean and standard deviation of the numbers; of a probability its mean, and 1.
        kind: int64 [asked], position of each target's kind in KINDS.
        unit: float64 [kinds], what the loss of each kind is divided by.
    """

    asked: NDArray[np.int64]
    num_numbers: int
    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    kind: NDArray[np.int64]
    unit: NDArray[np.float64]

    def __call__(self, answers: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns (target, weight), float32 [questions, asked]: the loss of a question is the sum of weight times loss of each target.

        Args:
            answers: [questions, targets]; where one is NaN, target and weight are 0.
        """
        values = answers[:, self.asked].astype(np.float64)
        is_number = np.arange(len(self.asked)) < self.num_numbers
        values = np.where(is_number, (values - self.center) / self.scale, values)
        known = np.isfinite(values)
        of_kind = np.stack([(known & (self.kind == k)).sum(axis=1) for k in range(len(KINDS))], axis=1)
        num_kinds = np.maximum((of_kind > 0).sum(axis=1, keepdims=True), 1)
        shares = 1.0 / (np.maximum(of_kind, 1) * num_kinds * self.unit)
        weight = np.where(known, shares[:, self.kind], 0.0)
        return np.where(known, values, 0.0).astype(np.float32), weight.astype(np.float32)


def weighing_of(answers: NDArray[np.float32], targets: Sequence[Target]) -> Weighing:
    """Fits scales and weights on the answers to a sample of questions: [questions, targets]."""
    known = np.isfinite(answers)
    number = known.sum(axis=0)
    values = np.where(known, answers, 0.0).astype(np.float64)
    mean = values.sum(axis=0) / np.maximum(number, 1)
    std = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / np.maximum(number, 1))
    varies = (number >= MIN_KNOWN) & (std > MIN_STD)
    is_binary = np.array([target.is_binary for target in targets])
    numbers, probabilities = np.flatnonzero(varies & ~is_binary), np.flatnonzero(varies & is_binary)
    asked = np.concatenate([numbers, probabilities]).astype(np.int64)
    weighing = Weighing(
        asked=asked,
        num_numbers=len(numbers),
        center=mean[asked],
        scale=np.concatenate([std[numbers], np.ones(len(probabilities))]),
        kind=np.array([KINDS.index(targets[i].kind) for i in asked], np.int64),
        unit=np.ones(len(KINDS)),
    )
    return Weighing(**{**vars(weighing), "unit": _units(weighing, answers)})


def _units(weighing: Weighing, answers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the loss of the constant answers per kind, such that with it a question's mean over all kinds is 1: float64 [kinds]."""
    target, weight = weighing(answers)
    loss = _loss_of_constants(weighing, target) * (weight > 0)
    found = np.ones(len(KINDS))
    of_question = np.zeros((len(answers), len(KINDS)))
    is_known = np.zeros((len(answers), len(KINDS)), bool)
    for k in range(len(KINDS)):
        mine = weighing.kind == k
        number = (weight[:, mine] > 0).sum(axis=1)
        is_known[:, k] = number > 0
        of_question[:, k] = loss[:, mine].sum(axis=1) / np.maximum(number, 1)
        if is_known[:, k].any():
            found[k] = of_question[is_known[:, k], k].mean()
    asked = is_known.any(axis=1)
    if not asked.any():
        return found
    whole = (of_question / found).sum(axis=1)[asked] / is_known.sum(axis=1)[asked]
    return found * whole.mean()


def _loss_of_constants(weighing: Weighing, target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the loss of each target if the answer is always its mean: float64 [questions, asked]."""
    n = weighing.num_numbers
    error, share = np.abs(target[:, :n].astype(np.float64)), target[:, n:].astype(np.float64)
    p = weighing.center[n:]
    smooth = np.where(error < 1, error**2 / 2, error - 0.5)
    entropy = -(share * np.log(p) + (1 - share) * np.log1p(-p))
    return np.concatenate([smooth, entropy], axis=1)
