"""Sums of rows: out[i] = sum of x[index[k]] over k from row_ptr[i] to row_ptr[i + 1]; gather, scatter and segment sums of message passing.

Promises: the gradient is such a sum too, along an order that the caller brings, so both ways read sorted segments and write each row once:
nothing is scattered, the result does not depend on chance, and no copy of the gathered rows is made. PyTorch's own gradient of `embedding_bag`
sorts the entries in every step and takes 6 to 30 times as long on a CPU, which is 10 % and more of a fine-tuning step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from rdl_core.kernel_cache import njit


def sum_rows(x: Tensor, index: Tensor, row_ptr: Tensor, index_back: Tensor, row_ptr_back: Tensor) -> Tensor:
    """Returns [targets, channels], sums of the rows of x.

    Args:
        x: [sources, channels], floating point.
        index: int64 [entries], rows of x.
        row_ptr: int64 [targets + 1], where each target's entries begin and end.
        index_back, row_ptr_back: int64 [entries] and [sources + 1], the same entries for the gradient: the targets of each source.
    """
    out: Tensor = _SumRows.apply(x, index, row_ptr, index_back, row_ptr_back)
    return out


class _SumRows(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, index: Tensor, row_ptr: Tensor, index_back: Tensor, row_ptr_back: Tensor
    ) -> Tensor:
        ctx.save_for_backward(index_back, row_ptr_back)
        return embedding_bag(index, x, row_ptr, mode="sum", include_last_offset=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        index, row_ptr = ctx.saved_tensors
        return (
            embedding_bag(index, grad.contiguous(), row_ptr, mode="sum", include_last_offset=True),
            None,
            None,
            None,
            None,
        )


def sum_rows_reference(x: Tensor, index: Tensor, row_ptr: Tensor) -> Tensor:
    """The same under autograd's own gradient."""
    target = torch.arange(len(row_ptr) - 1, device=x.device).repeat_interleave(row_ptr.diff())
    return x.new_zeros(len(row_ptr) - 1, x.shape[1]).index_add(0, target, x[index])


# What follows goes as soon as rdl_core.contrast does not use it any more.


@njit(cache=True, nogil=True)
def counting_sort(keys, num_keys):  # type: ignore[no-untyped-def]
    """(positions in order of keys, ties in order; [num_keys + 1] where each key begins)."""
    offset = np.zeros(num_keys + 1, np.int64)
    for key in keys:
        offset[key + 1] += 1
    for key in range(num_keys):
        offset[key + 1] += offset[key]
    place, order = offset[:-1].copy(), np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        order[place[keys[i]]] = i
        place[keys[i]] += 1
    return order, offset


def sort_by(keys: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    """(int64 [n] order, int64 [num_keys + 1] begins) of int64 keys below num_keys, ties in order."""
    if keys.device.type == "cpu":
        order, offset = counting_sort(keys.numpy(), num_keys)
        return torch.from_numpy(order), torch.from_numpy(offset)
    counts = torch.bincount(keys, minlength=num_keys)
    return torch.argsort(keys, stable=True), torch.cat([counts.new_zeros(1), counts.cumsum(0)])


@dataclass(frozen=True)
class RowSums:
    """See the file's text.

    Args:
        index: int64 [entries], rows of x.
        offset: int64 [targets + 1].
        weight: float [entries], or None: all 1.
        num_sources: Rows of x.
    """

    index: Tensor
    offset: Tensor
    weight: Tensor | None
    num_sources: int

    @classmethod
    def of(cls, target: Tensor, source: Tensor, weight: Tensor | None, num_targets: int, num_sources: int) -> RowSums:
        """From entries (target row, source row) in any order: int64 [entries] each."""
        order, offset = sort_by(target, num_targets)
        return cls(source[order], offset, None if weight is None else weight[order], num_sources)

    @cached_property
    def transposed(self) -> RowSums:
        """The sums that carry gradients back."""
        targets = torch.arange(len(self.offset) - 1, device=self.index.device).repeat_interleave(self.offset.diff())
        return RowSums.of(self.index, targets, self.weight, self.num_sources, len(self.offset) - 1)

    def __call__(self, x: Tensor) -> Tensor:
        """[targets, channels] from [sources, channels], without autograd."""
        if x.shape[0] == 0 or self.index.shape[0] == 0:
            return x.new_zeros(self.offset.shape[0] - 1, x.shape[1])
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return torch.embedding_bag(x, self.index, self.offset, False, 0, False, weight, True)[0]


def numpy_of(values: Tensor) -> NDArray[np.int64]:
    """The numbers on the host."""
    return values.cpu().numpy()
