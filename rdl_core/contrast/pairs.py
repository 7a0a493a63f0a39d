"""Which anchors have which positives among which candidates, and what each such pair adds to a loss once its negatives are summed up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rdl_core.batches.sample_layout import SampleLayout


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Which anchors have which positives among which candidates.

    Args:
        anchors, candidates: Layouts of the two sides.
        anchor, candidate: int64 [pairs], flat positions in the two grids; each pair once.
        is_target: bool [pairs] or None (all): the pairs that are inputs; all pairs are left out of the negatives.
        is_candidate: bool [num_samples, max_rows] of the candidates' grid: who may be a negative.
        is_self_reference: Both sides are one table and a row is no negative of itself.
        max_negatives: Those of smallest rank are kept.
        skip_without_negative: A sample in which the anchor of some input has no negative gives nothing.
    """

    anchors: SampleLayout
    candidates: SampleLayout
    anchor: Tensor
    candidate: Tensor
    is_target: Tensor | None
    is_candidate: Tensor
    is_self_reference: bool
    max_negatives: int
    skip_without_negative: bool

    def turned(self) -> Pairs:
        """Anchors and candidates in each other's place; every row of the new candidates may be a negative."""
        return replace(
            self, anchors=self.candidates, candidates=self.anchors, anchor=self.candidate, candidate=self.anchor,
            is_candidate=self.anchors.is_row,
        )  # fmt: skip

    @property
    def is_small(self) -> bool:
        """Whether an anchor with a positive has at most max_negatives negatives anyway."""
        return self.candidates.max_rows - 1 <= self.max_negatives


def terms(pairs: Pairs, positive: Tensor, negative: Tensor, num_negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(sum of losses, their number, d loss / d negative of each pair: minus that is d loss / d positive)."""
    number = num_negatives.index_select(0, pairs.anchor)
    is_input = number > 0
    if pairs.skip_without_negative:
        is_empty = ~is_input if pairs.is_target is None else ~is_input & pairs.is_target
        if pairs.anchors.num_samples == 1:
            is_input = is_input & ~is_empty.any()
        else:
            sample = pairs.anchor // pairs.anchors.max_rows
            is_input = without_skipped(is_input, is_empty, sample, pairs.anchors.num_samples)
    if pairs.is_target is not None:
        is_input = is_input & pairs.is_target
    return slopes(positive, negative.index_select(0, pairs.anchor), number, is_input)


def without_skipped(is_input: Tensor, is_empty: Tensor, sample: Tensor, num_samples: int) -> Tensor:
    """`is_input` without the inputs of samples in which some input is empty; all [inputs]."""
    num_empty = torch.zeros(num_samples, dtype=torch.int64, device=sample.device)
    return is_input & (num_empty.index_add_(0, sample, is_empty.long()) == 0)[sample]


def slopes(positive: Tensor, negative: Tensor, number: Tensor, is_input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `terms`, from the positive logit, the log-sum-exp of the negatives and their number, and whether it counts; all [inputs].

    `negative` and `number` are overwritten.
    """
    gap = negative.sub_(positive)
    inverse = (
        number.clamp_(min=1).to(gap.dtype).log1p_().reciprocal_().mul_(is_input)
    )  # clamp: only where it is no input
    return -(logsigmoid(-gap) * inverse).sum(), is_input.sum(), gap.sigmoid_().mul_(inverse)
