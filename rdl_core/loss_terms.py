"""The three contrastive levels as sums over inputs, with their gradient computed on the way.

In: rows padded to [num_samples, max_rows, channels] by a `SampleLayout`, and which pairs (anchor, candidate) are positive. Out: a `LossSum`,
that is, the sum over inputs of L / mu with mu = log(number of negatives + 1) of that input, and the number of inputs. 1.0 is chance.

Invariants: negatives never leave their sample, so the sum of a batch of samples is the sum of their sums. An input without a negative leaves both
total and count. No exponential is taken outside a log-sum-exp, and masked logits are the smallest finite number, not -inf, so that no gradient
is ever NaN.
Cost: the loss is a plain sum, so its gradient with respect to logits is known as soon as the logits are: with n = log-sum-exp of v's negatives,
s = sigmoid(n - positive) / mu summed over v's inputs, d logits[v, w] = s exp(logits[v, w] - n). The logits are dropped at once; what is kept is as
large as the rows. Beyond max_negatives candidates, only the columns of smallest rank that can matter are gathered, and anchors go in chunks.
Source: arXiv 2506.22530, Eq. 1-6. A row u joined to v by two keys counts twice in the mean of Eq. 3, once per link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import logsigmoid

from rdl_core.loss_batch import SampleLayout

CHUNK_LOGITS = 1 << 21
"""Most logits held at a time when the candidates are more than max_negatives + 1: 8 MB in float32."""


@dataclass(frozen=True)
class LossSum:
    """The sum over inputs of L / mu (0-dim) and their number: added over tables, samples and ranks, divided once."""

    total: Tensor
    count: Tensor | int

    def __add__(self, other: LossSum) -> LossSum:
        return LossSum(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        """total / count; 0 with its graph kept when there is no input."""
        return self.total / (self.count.clamp(min=1) if isinstance(self.count, Tensor) else max(1, self.count))


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


def contrast(a: Tensor, c: Tensor, pairs: Pairs, *, both_ways: bool = False) -> LossSum:
    """The loss of `pairs`, logits[s, v, u] = a[s, v] . c[s, u]; `both_ways` adds that of `pairs.turned()` on the same logits.

    a: [num_samples, max_anchors, channels]; c: [num_samples, max_candidates, channels], float32 or float64. In loops:

        for position, (v, u) in enumerate(pairs):  # v's sample is s
            if is_target[position]:
                negatives = [w for w in candidates(s) if (v, w) not in pairs]
                if is_self_reference:
                    negatives = [w for w in negatives if w != v]
                negatives = sorted(negatives, key=rank)[:max_negatives]
                if not negatives and skip_without_negative:
                    skipped_samples.add(s)
                inputs.append((s, v, u, negatives))
        for s, v, u, negatives in inputs:
            if negatives and s not in skipped_samples:
                denominator = exp(logits[s, v, u]) + sum(exp(logits[s, v, w]) for w in negatives)
                total += -log(exp(logits[s, v, u]) / denominator) / log(len(negatives) + 1)
                count += 1
    """
    total, count = _Contrast.apply(a, c, pairs, both_ways, torch.is_grad_enabled())
    return LossSum(total, count)


def sum_losses(parts: Sequence[LossSum], zero: Tensor) -> LossSum:
    """The sum of the parts; with no part, `zero` (0-dim, with a graph) and count 0."""
    if not parts:
        return LossSum(zero, torch.zeros((), dtype=torch.int64, device=zero.device))
    return LossSum(torch.stack([p.total for p in parts]).sum(), torch.stack([p.count for p in parts]).sum())  # type: ignore[misc]


class _Contrast(Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, c: Tensor, pairs: Pairs, both_ways: bool, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(a.device.type, enabled=False):
            if pairs.is_small and (not both_ways or pairs.turned().is_small):
                total, count, *gradients = _dense(a, c, pairs, both_ways, with_gradient)
            else:
                total, count, *gradients = _by_columns(a, c, pairs, with_gradient)
                if both_ways:
                    total_2, count_2, grad_c, grad_a = _by_columns(c, a, pairs.turned(), with_gradient)
                    total, count = total + total_2, count + count_2
                    gradients = [gradients[0] + grad_a, gradients[1] + grad_c] if with_gradient else gradients
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_a, grad_c = ctx.saved_tensors
        return grad_a * grad_total, grad_c * grad_total, None, None, None


def _dense(a: Tensor, c: Tensor, pairs: Pairs, both_ways: bool, with_gradient: bool) -> tuple[Tensor, ...]:
    """(total, count, gradients of a and c) from all logits at once."""
    logits = a @ c.mT
    place = pairs.anchor * pairs.candidates.max_rows + pairs.candidate % pairs.candidates.max_rows
    positive = logits.view(-1).index_select(0, place)
    _mask(logits, pairs, place, both_ways)
    total, count, weights, slopes = [], [], None, []
    for way, dim in ((pairs, 2), (pairs.turned(), 1))[: 1 + both_ways]:
        share, negative = _softmax(logits, dim)
        part, number, slope = _terms(way, positive, negative, _num_negatives(way))
        total.append(part)
        count.append(number)
        slopes.append(slope)
        if with_gradient:
            of_anchor = slope.new_zeros(negative.numel()).index_add_(0, way.anchor, slope)
            weight = share.mul_(of_anchor.view(logits.shape[0], -1).unsqueeze(dim))
            weights = weight if weights is None else weights.add_(weight)
    if weights is None:
        return sum(total), sum(count)  # type: ignore[return-value]
    weights.view(-1).index_copy_(0, place, -sum(slopes))  # type: ignore[arg-type]
    return sum(total), sum(count), weights @ c, weights.mT @ a  # type: ignore[return-value]


def _mask(logits: Tensor, pairs: Pairs, place: Tensor, both_ways: bool) -> None:
    """Makes what is no negative the smallest number; the rows of padding anchors stay as they are, unless they are candidates too."""
    lowest = torch.finfo(logits.dtype).min
    logits.view(-1).index_fill_(0, place, lowest)
    if pairs.is_candidate is not pairs.candidates.is_row or not pairs.candidates.is_full:
        logits.masked_fill_(~pairs.is_candidate.unsqueeze(1), lowest)
    if both_ways and not pairs.anchors.is_full:
        logits.masked_fill_(~pairs.anchors.is_row.unsqueeze(2), lowest)
    if pairs.is_self_reference:
        logits.diagonal(dim1=1, dim2=2).fill_(lowest)


def _softmax(logits: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(softmax, log-sum-exp [flat]): where the largest logit m is, softmax is e^(m - n), so n = m - log of it, one pass saved."""
    share = logits.softmax(dim)
    return share, (logits.amax(dim) - share.amax(dim).log_()).view(-1)


def _num_negatives(pairs: Pairs) -> Tensor:
    """int64 [anchors]; of an anchor without pair it does not matter."""
    left_out = torch.bincount(pairs.anchor, minlength=pairs.anchors.is_row.numel())
    if pairs.is_self_reference:
        itself = torch.ones_like(left_out)
        left_out = left_out + itself.index_fill_(0, pairs.anchor[pairs.anchor == pairs.candidate], 0)
    candidates = pairs.is_candidate.sum(1, keepdim=True)
    return (candidates - left_out.view(candidates.shape[0], -1)).view(-1)


def _by_columns(a: Tensor, c: Tensor, pairs: Pairs, with_gradient: bool) -> tuple[Tensor, ...]:
    """The same from the columns of smallest rank: a's anchors need at most max_negatives of them, and leave out their own positives."""
    num_samples, num_anchors, channels = a.shape
    max_rows = pairs.candidates.max_rows
    num_positives = torch.bincount(pairs.anchor, minlength=1).max() + pairs.is_self_reference
    width = min(max_rows, pairs.max_negatives + int(num_positives))
    rank = pairs.candidates.rank.masked_fill(~pairs.is_candidate, torch.iinfo(torch.int64).max)
    columns = rank.argsort(dim=1)
    column = columns.argsort(dim=1)[:, :].view(-1)[pairs.candidate]  # of each pair's candidate
    columns = columns[:, :width]
    is_candidate = pairs.is_candidate.gather(1, columns)
    index = columns.unsqueeze(2).expand(-1, -1, channels)
    c_kept = c.gather(1, index)
    slot = pairs.anchor % num_anchors
    flat_a, flat_c = a.reshape(-1, channels), c.reshape(-1, channels)
    positive = (flat_a[pairs.anchor] * flat_c[pairs.candidate]).sum(1)
    negatives, numbers = a.new_empty(num_samples, num_anchors), a.new_empty(num_samples, num_anchors, dtype=torch.int32)

    def chunk(begin: int, end: int) -> Tensor:
        """Masked logits [num_samples, end - begin, width]."""
        logits = a[:, begin:end] @ c_kept.mT
        is_negative = is_candidate.unsqueeze(1).expand(logits.shape).clone()
        mine = (slot >= begin) & (slot < end) & (column < width)
        row = pairs.anchor[mine] // num_anchors * (end - begin) + slot[mine] - begin
        is_negative.view(-1).index_fill_(0, row * width + column[mine], False)
        if pairs.is_self_reference:
            itself = torch.arange(begin, end, device=a.device).view(1, -1, 1)
            is_negative &= columns.unsqueeze(1) != itself
        is_negative &= is_negative.cumsum(2, dtype=torch.int32) <= pairs.max_negatives
        numbers[:, begin:end] = is_negative.sum(2, dtype=torch.int32)
        return logits.masked_fill_(~is_negative, torch.finfo(logits.dtype).min)

    step = max(1, CHUNK_LOGITS // (num_samples * width))
    bounds = [(begin, min(num_anchors, begin + step)) for begin in range(0, num_anchors, step)]
    for begin, end in bounds:
        negatives[:, begin:end] = chunk(begin, end).logsumexp(2)
    total, count, slope = _terms(pairs, positive, negatives.view(-1), numbers.view(-1))
    if not with_gradient:
        return total, count
    of_anchor = slope.new_zeros(num_samples * num_anchors).index_add_(0, pairs.anchor, slope).view(num_samples, -1, 1)
    grad_a, grad_kept = torch.empty_like(a), torch.zeros_like(c_kept)
    for begin, end in bounds:
        weight = (chunk(begin, end) - negatives[:, begin:end].unsqueeze(2)).exp_().mul_(of_anchor[:, begin:end])
        grad_a[:, begin:end] = weight @ c_kept
        grad_kept += weight.mT @ a[:, begin:end]
    grad_c = torch.zeros_like(c).scatter_(1, index, grad_kept)
    pull = slope.unsqueeze(1)
    grad_a.view(-1, channels).index_add_(0, pairs.anchor, -pull * flat_c[pairs.candidate])
    grad_c.view(-1, channels).index_add_(0, pairs.candidate, -pull * flat_a[pairs.anchor])
    return total, count, grad_a, grad_c


def _terms(pairs: Pairs, positive: Tensor, negative: Tensor, num_negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(sum of losses, their number, d loss / d negative of each pair: minus that is d loss / d positive)."""
    number = num_negatives.index_select(0, pairs.anchor)
    is_input = number > 0
    if pairs.skip_without_negative:
        is_empty = ~is_input if pairs.is_target is None else ~is_input & pairs.is_target
        if pairs.anchors.num_samples == 1:
            is_input = is_input & ~is_empty.any()
        else:
            sample = pairs.anchor // pairs.anchors.max_rows
            num_empty = torch.zeros(pairs.anchors.num_samples, dtype=torch.int64, device=sample.device)
            is_input = is_input & (num_empty.index_add_(0, sample, is_empty.long()) == 0)[sample]
    if pairs.is_target is not None:
        is_input = is_input & pairs.is_target
    gap = negative.index_select(0, pairs.anchor).sub_(positive)
    inverse = (
        number.clamp_(min=1).to(gap.dtype).log1p_().reciprocal_().mul_(is_input)
    )  # clamp: only where it is no input
    return -(logsigmoid(-gap) * inverse).sum(), is_input.sum(), gap.sigmoid_().mul_(inverse)
