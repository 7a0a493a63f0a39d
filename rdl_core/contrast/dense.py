"""The loss of pairs with few candidates: all logits of a block at once, and their gradient in their place.

Promises: `block` on a CPU (loss_kernels.py) and elsewhere (PyTorch's operations) is one function; a test compares both. Masked logits are the
smallest finite number. In float32 on a CPU the products around it are part of the same call (loss_contrast.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.contrast.loss_kernels import weigh
from rdl_core.contrast.pairs import Pairs, terms

Number = Tensor | float


def block(logits: Tensor, pairs: Pairs, both_ways: bool) -> tuple[Number, Number, Tensor]:
    """(sum of losses, their number, d sum / d logits) of logits [num_samples, anchors, candidates], which are overwritten."""
    if logits.device.type == "cpu":
        return by_kernels(logits, pairs, both_ways)
    return by_operations(logits, pairs, both_ways)


def by_kernels(logits: Tensor, pairs: Pairs, both_ways: bool) -> tuple[Number, Number, Tensor]:
    """As `block`."""
    is_target = pairs.is_candidate.new_empty(0) if pairs.is_target is None else pairs.is_target
    anchor, candidate, target, is_row, is_column = (
        x.contiguous().numpy()
        for x in (pairs.anchor, pairs.candidate, is_target, pairs.anchors.is_row, pairs.is_candidate)
    )
    of_self, skip = pairs.is_self_reference, pairs.skip_without_negative
    logits = logits.contiguous()
    total, count = weigh(logits.numpy(), anchor, candidate, target, is_row, is_column, of_self, skip, both_ways)
    return total, count, logits


def by_operations(logits: Tensor, pairs: Pairs, both_ways: bool) -> tuple[Number, Number, Tensor]:
    """As `block`."""
    num_candidates, logits = pairs.candidates.max_rows, logits.contiguous()
    place = pairs.anchor * num_candidates + pairs.candidate % num_candidates
    positive = logits.view(-1).index_select(0, place)
    _mask(logits, pairs, place, both_ways)
    total, count, slopes = logits.new_zeros(()), place.new_zeros(()), torch.zeros_like(positive)
    weights = torch.zeros_like(logits)
    for way, dim in ((pairs, 2), (pairs.turned(), 1))[: 1 + both_ways]:
        share, negative = logits.softmax(dim), logits.logsumexp(dim).view(-1)
        part, number, slope = terms(way, positive, negative, _num_negatives(way))
        total, count, slopes = total + part, count + number, slopes + slope
        of_anchor = slope.new_zeros(len(negative)).index_add_(0, way.anchor, slope)
        weights.add_(share.mul_(of_anchor.view(len(logits), -1).unsqueeze(dim)))
    weights.view(-1).index_copy_(0, place, -slopes)
    return total, count, weights


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


def _num_negatives(pairs: Pairs) -> Tensor:
    """int64 [anchors]; of an anchor without pair it does not matter."""
    left_out = torch.bincount(pairs.anchor, minlength=pairs.anchors.is_row.numel())
    if pairs.is_self_reference:
        itself = torch.ones_like(left_out)
        left_out = left_out + itself.index_fill_(0, pairs.anchor[pairs.anchor == pairs.candidate], 0)
    candidates = pairs.is_candidate.sum(1, keepdim=True)
    return (candidates - left_out.view(candidates.shape[0], -1)).view(-1)
