"""Softmax over segments of rows: the weights of attention over the neighbours of each node.

Promises: plain PyTorch under autograd; a segment's largest score is subtracted first, so no score overflows; an empty segment is fine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.kernels.sum_rows import sum_rows


def softmax_rows(scores: Tensor, segment: Tensor, row_ptr: Tensor, each: Tensor) -> Tensor:
    """Returns weights [rows, heads] that sum to 1 over each segment, per head.

    Args:
        scores: [rows, heads].
        segment: int64 [rows], each row's segment, in ascending order.
        row_ptr: int64 [segments + 1], where segments begin and end.
        each: int64 [rows + 1], 0, 1, ...
    """
    largest = torch.segment_reduce(scores.detach(), "max", offsets=row_ptr, axis=0, unsafe=True)
    weights = (scores - largest.index_select(0, segment)).exp()
    totals = sum_rows(weights, each[:-1], row_ptr, segment, each)
    return weights / sum_rows(totals, segment, each, each[:-1], row_ptr)


def softmax_rows_reference(scores: Tensor, row_ptr: Tensor) -> Tensor:
    """The same, one segment after another."""
    bounds = row_ptr.tolist()
    parts = [scores[begin:end].softmax(0) for begin, end in zip(bounds[:-1], bounds[1:], strict=True)]
    return torch.cat([scores[:0], *parts])
