"""Dropout whose masks belong to rows, in the place of PyTorch's in any row encoder.

Promise: given a key per row, a row's masks are the same in any batch, on any device and number of workers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.kernels.dropout_mask import dropout_mask

MAX_CALLS = 1 << 8
"""Calls of one module within a forward pass; each has a mask of its own."""


class KeyedDropout(torch.nn.Module):
    """Dropout with masks from keys, one per row (first dimension); without keys they come from the global generator.

    Args:
        probability: Of a zero, in [0, 1).
        number: Tells the dropout modules of one model apart.
    """

    def __init__(self, probability: float, number: int) -> None:
        super().__init__()
        self.probability, self.number = probability, number
        self.set_keys(None)

    def set_keys(self, keys: Tensor | None) -> None:
        """Begins a forward pass: int64 [rows] keys of its rows, or None."""
        self.keys, self.calls = keys, 0

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with cells dropped and the others scaled: [rows, ...].

        Raises:
            ValueError: There are keys for another number of rows.
        """
        if not self.training or self.probability == 0.0:
            return x
        keys, call = self.keys, self.calls
        self.calls += 1
        if keys is None:
            keys = torch.randint(2**63 - 1, x.shape[:1], device=x.device)
        if len(keys) != len(x):
            raise ValueError(
                f"dropout has keys for {len(keys)} rows, the input has {len(x)}; set the keys of this batch"
            )
        mask = dropout_mask(keys, self.number * MAX_CALLS + call, x[:1].numel() if len(x) else 0, self.probability)
        return x * mask.to(x.dtype).view_as(x)


def replace_dropout(model: torch.nn.Module, first_number: int) -> list[KeyedDropout]:
    """Puts a KeyedDropout in the place of every torch.nn.Dropout within a model and returns them.

    The dropout of attention weights in torch.nn.MultiheadAttention is a number, not a module; it is set to 0.
    """
    replaced: list[KeyedDropout] = []
    for parent in list(model.modules()):
        if isinstance(parent, torch.nn.MultiheadAttention):
            parent.dropout = 0.0
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Dropout):
                replaced.append(KeyedDropout(child.p, first_number + len(replaced)))
                setattr(parent, name, replaced[-1])
    return replaced
