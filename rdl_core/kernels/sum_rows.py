"""Sums of rows: out[i] = sum over k of weight[k] * x[index[k]], k from offset[i] to offset[i + 1]; the one sparse operation of the model.

Promises: the gradient is a RowSums too (sources and targets change places), so both ways read sorted segments and write each row once, nothing
is scattered, and the result does not depend on chance; memory is linear in entries and rows, no gathered copy of the entries' rows is made.
Cost on a CPU in float32: a sixth of gather + index_add (one embedding-bag kernel).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.kernel_cache import njit


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
