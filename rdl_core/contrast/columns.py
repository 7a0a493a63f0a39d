"""The loss of pairs with many candidates: only columns that can matter, anchors in chunks, memory linear in anchors and candidates.

An anchor keeps the max_negatives candidates of smallest rank that are not its own positives, so all of them are among the first
max_negatives + (most positives of an anchor) columns by rank. These are gathered once for all anchors; logits of a chunk of anchors are made for the
log-sum-exp, dropped, and made again for the gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.contrast.pairs import Pairs, terms

CHUNK_LOGITS = 1 << 21
"""Most logits held at a time when the candidates are more than max_negatives + 1: 8 MB in float32."""


def by_columns(a: Tensor, c: Tensor, pairs: Pairs, with_gradient: bool) -> tuple[Tensor, ...]:
    """(total, count, and with_gradient the gradients of a and c); see the file's text."""
    num_samples, num_anchors, channels = a.shape
    max_rows = pairs.candidates.max_rows
    num_positives = torch.bincount(pairs.anchor, minlength=1).max() + pairs.is_self_reference
    width = min(max_rows, pairs.max_negatives + int(num_positives))
    rank = pairs.candidates.rank.masked_fill(~pairs.is_candidate, torch.iinfo(torch.int64).max)
    columns = rank.argsort(dim=1)
    column = columns.argsort(dim=1).view(-1)[pairs.candidate]  # of each pair's candidate
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
    total, count, slope = terms(pairs, positive, negatives.view(-1), numbers.view(-1))
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
