"""InfoNCE over blocks of logits: the loss of each positive against the negatives of its anchor, as one operation with its gradient.

    total = sum over positives p of weight[p] * softplus(logsumexp(negatives of p's anchor) - logit[p])

Promises: the loss is a plain sum, so its gradient with respect to the logits is known together with its value and all that is kept is one block; no
exponential is taken outside a log-sum-exp, and masked logits are the smallest finite number, so that no gradient is ever NaN; the same bits each
time, also on a GPU. On a CPU a compiled kernel serves float32 and float64; elsewhere PyTorch's operations do (`with_gradient`).
Source: van den Oord et al., Representation Learning with Contrastive Predictive Coding, arXiv 1807.03748; arXiv 2506.22530, Eq. 1, 2, 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid, softplus

from rdl_core.kernel_cache import kernel, njit


@dataclass(frozen=True)
class Pairs:
    """Which logits of a block [samples, anchors, candidates] are positives, and which are negatives.

    The negatives of an anchor are the candidates of its sample whose rank is below the anchor's bound, but for those that `place` names.

    Args:
        place: int64 [places], flat positions in the block that are no negatives: positives, and a row beside itself; each once, anchor after anchor.
        weight: float64 [places], the factor of each one's loss: 1 / log(number of its negatives + 1) of an input (Eq. 5), 0 of the others.
        rank: int32 [samples, candidates], the order in which candidates are taken; of what is no candidate the largest int32.
        bound: int32 [samples, anchors].
        count: int64 [], how many inputs there are.
    """

    place: Tensor
    weight: Tensor
    rank: Tensor
    bound: Tensor
    count: Tensor


def info_nce(logits: Tensor, pairs: Pairs) -> Tensor:
    """Returns the sum of the inputs' losses, 0-dim.

    Args:
        logits: [samples, anchors, candidates], floating point.
        pairs: On the same device.
    """
    total: Tensor = _InfoNce.apply(logits, pairs)
    return total


def info_nce_reference(logits: Tensor, pairs: Pairs) -> Tensor:
    """The same in PyTorch's operations, under autograd's own gradient."""
    is_negative = pairs.rank.unsqueeze(1) < pairs.bound.unsqueeze(2)
    is_negative.view(-1).index_fill_(0, pairs.place, False)
    weight = logits.new_zeros(logits.numel()).index_copy_(0, pairs.place, pairs.weight.to(logits.dtype))
    negatives = logits.masked_fill(~is_negative, torch.finfo(logits.dtype).min).logsumexp(2, keepdim=True)
    return -(logsigmoid(logits - negatives) * weight.view_as(logits)).sum()


def with_gradient(logits: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Returns the sum and its gradient in as few of PyTorch's operations as there are: on a GPU launches, not numbers, take the time."""
    is_negative = pairs.rank.unsqueeze(1) < pairs.bound.unsqueeze(2)
    is_negative.view(-1).index_fill_(0, pairs.place, False)
    negatives = logits.masked_fill(is_negative.logical_not_(), torch.finfo(logits.dtype).min)
    log_sum = negatives.logsumexp(2)
    at_place = pairs.place.div(logits.shape[2], rounding_mode="floor")
    gap = log_sum.view(-1).index_select(0, at_place) - logits.reshape(-1).index_select(0, pairs.place)
    weight = pairs.weight.to(logits.dtype)
    total = torch.dot(softplus(gap), weight)
    slope = logits.new_zeros(logits.numel()).index_copy_(0, pairs.place, gap.sigmoid_().mul_(weight)).view(logits.shape)
    gradient = (negatives - log_sum.unsqueeze(2)).exp_().mul_(slope.sum(2, keepdim=True)).sub_(slope)
    return total, gradient


class _InfoNce(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, pairs: Pairs) -> Tensor:
        if logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64):
            logits = logits.detach().contiguous()
            gradient = torch.empty_like(logits)
            arrays = (t.numpy() for t in (logits, pairs.place, pairs.weight, pairs.rank, pairs.bound, gradient))
            total = logits.new_tensor(_weigh(*arrays))
        else:
            total, gradient = with_gradient(logits.detach(), pairs)
        ctx.save_for_backward(gradient)
        return total.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None


LOG2_E = np.float32(1.44269504)
LN2 = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""In two parts: a small whole number times the first is exact."""
LEAST = np.float32(-87.0)
"""The exponential of less is 0: it has no normal float32."""


def _exp(x: Any) -> Any:
    """Returns the exponential of a number <= 0."""


@overload(_exp)
def _exp_of(x):  # type: ignore[no-untyped-def]
    """Cephes' expf in float32, 1 unit in the last place, without a branch or a call, so that loops over it become vector instructions."""
    if x != types.float32:
        return lambda x: np.exp(x)

    def code(x):  # type: ignore[no-untyped-def]
        y = LEAST if x < LEAST else x
        n = np.floor(y * LOG2_E + np.float32(0.5))
        r = y - n * LN2[0] - n * LN2[1]
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        p = p * r * r + r + np.float32(1.0)
        power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
        return np.float32(0.0) if x < LEAST else p * power  # NaN stays NaN

    return code


@kernel
def _weigh(logits, place, weight, rank, bound, gradient):  # type: ignore[no-untyped-def]
    """Returns the total and fills `gradient`; an anchor without an input gets zeros."""
    num_samples, num_anchors, num_candidates = logits.shape
    slope, lowest, total, end = np.zeros(len(place), logits.dtype), np.finfo(logits.dtype).min, 0.0, 0
    for s in range(num_samples):
        for a in range(num_anchors):
            row, out, begin, is_used = logits[s, a], gradient[s, a], end, False
            first = (s * num_anchors + a) * num_candidates  # in the block
            while end < len(place) and place[end] < first + num_candidates:
                is_used |= weight[end] > 0.0
                end += 1
            if not is_used:
                for c in range(num_candidates):
                    out[c] = 0.0
                continue
            for c in range(num_candidates):
                out[c] = row[c] if rank[s, c] < bound[s, a] else lowest
            for p in range(begin, end):
                out[place[p] - first] = lowest
            top = out[0]
            for c in range(num_candidates):
                top = out[c] if out[c] > top else top
            for c in range(num_candidates):
                out[c] = _exp(out[c] - top)
            sum_of_row, slopes = _sum(out), 0.0
            for p in range(begin, end):
                if weight[p] > 0.0:
                    gap = np.float64(top) + np.log(np.float64(sum_of_row)) - np.float64(row[place[p] - first])
                    small = np.exp(-abs(gap))
                    total += (max(gap, 0.0) + np.log1p(small)) * weight[p]
                    slope[p] = (1.0 if gap > 0.0 else small) / (1.0 + small) * weight[p]
                    slopes += slope[p]
            factor = logits.dtype.type(slopes / sum_of_row)
            for c in range(num_candidates):
                out[c] *= factor
            for p in range(begin, end):
                out[place[p] - first] = -slope[p]
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})  # lets it run in vectors, in one order on one machine
def _sum(row):  # type: ignore[no-untyped-def]
    total = row.dtype.type(0.0)
    for c in range(len(row)):
        total += row[c]
    return total
