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
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rdl_core.loss_columns import by_columns
from rdl_core.loss_pairs import Pairs, terms


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
                total, count, *gradients = by_columns(a, c, pairs, with_gradient)
                if both_ways:
                    total_2, count_2, grad_c, grad_a = by_columns(c, a, pairs.turned(), with_gradient)
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
        part, number, slope = terms(way, positive, negative, _num_negatives(way))
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
