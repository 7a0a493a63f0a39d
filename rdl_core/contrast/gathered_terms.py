"""The contrastive levels with negatives from the whole step, with their gradient computed on the way.

Each worker has the anchors and positives of its own samples; candidates are the rows of all workers. The loss is a plain sum over anchors, so each
worker knows, with its logits, the gradient of its own sum with respect to every candidate. These are added up over the workers and scattered
to the owners of the candidates in the forward pass already; the backward pass only multiplies by what comes from above, and calls no
collective that could mix with those of DistributedDataParallel.

Hence one condition: what multiplies a level from above is the same number on all workers. `train_step` divides by counts over all workers.
Cost: as by_columns (loss_columns.py): only columns that can matter, anchors in chunks; rows that are no anchor of an input are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rdl_core.contrast.columns import CHUNK_LOGITS
from rdl_core.contrast.gathered_rows import StepRows
from rdl_core.contrast.pairs import slopes, without_skipped
from rdl_core.contrast.terms import LEVELS, LossSum


@dataclass(frozen=True, kw_only=True)
class StepPairs:
    """One direction of one key, or one table: who has which positive, and whom not to take for a negative.

    Args:
        level: Position in LEVELS, and of the candidates' values: corrupted view, clean view, context.
        anchor, positive: int64 [inputs], this worker's rows: in the anchors, and among all its rows.
        sample: int64 [inputs].
        num_samples: Of this worker.
        excluded: int64 [anchors]: candidates of this number are positives of the anchor, or the anchor itself.
        number: int64 [candidates].
        itself, row: int64 [anchors] and [candidates], where both are rows of one table and a row is no negative of itself; or None.
        candidate: int64 [candidates], places among the rows of all workers, in the order in which they are taken.
        skip_without_negative: A sample in which the anchor of some input has no negative gives nothing.
    """

    level: int
    anchor: Tensor
    positive: Tensor
    sample: Tensor
    num_samples: int
    excluded: Tensor
    number: Tensor
    itself: Tensor | None
    row: Tensor | None
    candidate: Tensor
    skip_without_negative: bool


def contrast_step(
    anchors: Sequence[Tensor], own: Tensor, pairs: Sequence[StepPairs], rows: StepRows, max_negatives: int
) -> dict[str, LossSum]:
    """Per level this worker's part of the sum.

    anchors: [anchors, channels] for each of `pairs`. own: [rows of this worker, len(LEVELS), channels]. In loops:

        for one, a in zip(pairs, anchors):
            everyone = values of all workers' rows in part one.level
            for v, u, s in zip(one.anchor, one.positive, one.sample):
                negatives = [w for w, number in zip(one.candidate, one.number) if number != one.excluded[v]]  # and is not itself
                negatives = negatives[:max_negatives]
                if not negatives and skip_without_negative:
                    skipped_samples.add(s)
                inputs.append((s, v, u, negatives))
            for s, v, u, negatives in inputs:
                if negatives and s not in skipped_samples:
                    positive = exp(a[v] . own[u])
                    denominator = positive + sum(exp(a[v] . everyone[w]) for w in negatives)
                    total += -log(positive / denominator) / log(len(negatives) + 1)
                    count += 1
    """
    *totals, counts = _ContrastStep.apply(pairs, rows, max_negatives, torch.is_grad_enabled(), own, *anchors)
    return {level: LossSum(totals[i], counts[i]) for i, level in enumerate(LEVELS)}


class _ContrastStep(Function):
    @staticmethod
    def forward(
        ctx: Any,
        pairs: Sequence[StepPairs],
        rows: StepRows,
        max_negatives: int,
        with_gradient: bool,
        own: Tensor,
        *anchors: Tensor,
    ) -> tuple[Tensor, ...]:
        totals, counts = own.new_zeros(len(LEVELS)), own.new_zeros(len(LEVELS), dtype=torch.int64)
        everyone = rows.gather(own)
        grad_own, grad_everyone, grad_anchors = torch.zeros_like(own), torch.zeros_like(everyone), []
        for one, a in zip(pairs, anchors, strict=True):
            of_own, of_all = grad_own[:, one.level], grad_everyone[:, one.level]
            parts = _Parts(a, own[:, one.level], everyone[:, one.level], one, max_negatives)
            totals[one.level] += parts.total
            counts[one.level] += parts.count
            if with_gradient:
                grad_anchors.append(parts.gradients(of_own, of_all))
        if with_gradient:
            grad_own += rows.scatter(grad_everyone, len(own))
        ctx.levels = [one.level for one in pairs]
        ctx.save_for_backward(grad_own, *grad_anchors)
        ctx.mark_non_differentiable(counts)
        return *totals.unbind(), counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_own, *grad_anchors = ctx.saved_tensors
        of_anchors = [grad * grads[level] for grad, level in zip(grad_anchors, ctx.levels, strict=True)]
        return None, None, None, None, grad_own * torch.stack(grads[:-1]).unsqueeze(1), *of_anchors


class _Parts:
    """The sum and count of one StepPairs, and its gradients.

    Args:
        a: [anchors, channels].
        own, everyone: [rows, channels], this worker's and all workers' rows of the level.
    """

    def __init__(self, a: Tensor, own: Tensor, everyone: Tensor, pairs: StepPairs, max_negatives: int) -> None:
        self.a, self.own, self.pairs, self.max_negatives = a, own, pairs, max_negatives
        self.used, self.slot = pairs.anchor.unique(return_inverse=True)
        self.excluded = pairs.excluded[self.used]
        self.itself = None if pairs.itself is None else pairs.itself[self.used]
        self.candidate = pairs.candidate[: self._width()]
        self.columns, self.anchors = everyone[self.candidate], a[self.used]
        step = max(1, CHUNK_LOGITS // max(1, len(self.candidate)))
        self.bounds = [(begin, begin + step) for begin in range(0, len(self.used), step)]
        negatives, numbers = [a.new_zeros(0)], [pairs.anchor.new_zeros(0)]
        for begin, end in self.bounds:
            logits, number = self._chunk(begin, end)
            negatives.append(logits.logsumexp(1))
            numbers.append(number)
        self.negative, number = torch.cat(negatives), torch.cat(numbers)[self.slot]
        is_input = number > 0
        if pairs.skip_without_negative:
            is_input = without_skipped(is_input, ~is_input, pairs.sample, pairs.num_samples)
        positive = (a[pairs.anchor] * own[pairs.positive]).sum(1)
        self.total, self.count, self.slope = slopes(positive, self.negative[self.slot], number, is_input)

    def _width(self) -> int:
        """Columns that can matter: an anchor passes over no more than this many before it has max_negatives."""
        most = _most_equal(self.pairs.number, self.excluded)
        if self.itself is not None and self.pairs.row is not None:
            most += _most_equal(self.pairs.row, self.itself)
        return min(len(self.pairs.candidate), self.max_negatives + most)

    def _chunk(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """(masked logits, number of negatives) of some anchors."""
        width = len(self.candidate)
        is_negative = self.excluded[begin:end].unsqueeze(1) != self.pairs.number[:width]
        if self.itself is not None and self.pairs.row is not None:
            is_negative &= self.itself[begin:end].unsqueeze(1) != self.pairs.row[:width]
        if width > self.max_negatives:
            is_negative &= is_negative.cumsum(1, dtype=torch.int32) <= self.max_negatives
        logits = self.anchors[begin:end] @ self.columns.T
        return logits.masked_fill_(~is_negative, torch.finfo(logits.dtype).min), is_negative.sum(1)

    def gradients(self, grad_own: Tensor, grad_everyone: Tensor) -> Tensor:
        """The gradient of the anchors; those of both sorts of candidates are added to what is there."""
        pairs, pull = self.pairs, self.slope.unsqueeze(1)
        of_anchor = self.slope.new_zeros(len(self.used), 1).index_add_(0, self.slot, pull)
        grad_anchors, grad_columns = torch.zeros_like(self.anchors), torch.zeros_like(self.columns)
        for begin, end in self.bounds:
            logits, _ = self._chunk(begin, end)
            weight = (logits - self.negative[begin:end].unsqueeze(1)).exp_().mul_(of_anchor[begin:end])
            grad_anchors[begin:end] = weight @ self.columns
            grad_columns += weight.T @ self.anchors[begin:end]
        grad_anchors.index_add_(0, self.slot, -pull * self.own[pairs.positive])
        grad_own.index_add_(0, pairs.positive, -pull * self.a[pairs.anchor])
        grad_everyone.index_add_(0, self.candidate, grad_columns)
        return torch.zeros_like(self.a).index_copy_(0, self.used, grad_anchors)


def _most_equal(numbers: Tensor, wanted: Tensor) -> int:
    """The most `numbers` equal to one of `wanted`."""
    if not len(wanted):
        return 0
    ordered = numbers.sort().values
    return int((torch.searchsorted(ordered, wanted, right=True) - torch.searchsorted(ordered, wanted)).max())
