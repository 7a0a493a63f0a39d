"""Dropout whose masks belong to rows, in the place of PyTorch's in any row encoder.

Promise: given a key per row, a row's masks are the same in any batch, on any device and number of workers. On a GPU the masks of all modules of one
row encoder are drawn together: one by one they were 3,800 of a step's 7,100 kernel launches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.kernels.dropout_mask import dropout_mask, dropout_mask_reference

MAX_CALLS = 1 << 8
"""Calls of one module within a forward pass; each has a mask of its own."""


class KeyedDropout(torch.nn.Module):
    """Dropout with masks from keys, one per row (first dimension); without keys they come from the global generator.

    Args:
        probability: Of a zero, in [0, 1).
        number: Tells the dropout modules of one model apart.
        masks: What the dropout modules of one model share; None: this one is alone.
    """

    def __init__(self, probability: float, number: int, masks: SharedMasks | None = None) -> None:
        super().__init__()
        self.probability, self.number = probability, number
        self.masks = masks or SharedMasks(number, 1)
        self.set_keys(None)

    def set_keys(self, keys: Tensor | None) -> None:
        """Begins a forward pass: int64 [rows] keys of its rows, or None."""
        self.keys, self.calls = keys, 0
        self.masks.drawn = {}

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with cells dropped and the others scaled: [rows, ...].

        Raises:
            ValueError: There are keys for another number of rows.
        """
        if not self.training or self.probability == 0.0:
            return x
        keys, call = self.keys, self.calls
        self.calls += 1
        cells = x[:1].numel() if len(x) else 0
        if keys is None:
            keys = torch.randint(2**63 - 1, x.shape[:1], device=x.device)
            mask = dropout_mask(keys, self.number, cells, self.probability)
        elif len(keys) != len(x):
            raise ValueError(
                f"dropout has keys for {len(keys)} rows, the input has {len(x)}; set the keys of this batch"
            )
        else:
            mask = self.masks.of(keys, self.number, call, cells, self.probability)
        return x * mask.to(x.dtype).view_as(x)


class SharedMasks:
    """The masks of all dropout modules of one model within a forward pass.

    Args:
        first_number, num_modules: The modules' numbers follow each other.
    """

    def __init__(self, first_number: int, num_modules: int) -> None:
        self.first_number, self.num_modules = first_number, num_modules
        self.drawn: dict[tuple[int, int, float], Tensor] = {}

    def of(self, keys: Tensor, number: int, call: int, cells: int, probability: float) -> Tensor:
        """Returns the mask of one module's call: float32 [rows, cells]."""
        if keys.device.type == "cpu":  # where a mask costs less than to keep it
            return dropout_mask(keys, number * MAX_CALLS + call, cells, probability)
        wanted = call, cells, probability
        if wanted not in self.drawn:
            self.drawn[wanted] = self.draw(keys, call, cells, probability)
        return self.drawn[wanted][number - self.first_number]

    def draw(self, keys: Tensor, call: int, cells: int, probability: float) -> Tensor:
        """Returns the masks of all modules: float32 [modules, rows, cells]."""
        modules = torch.arange(self.first_number, self.first_number + self.num_modules, device=keys.device)
        return dropout_mask_reference(keys, (modules * MAX_CALLS + call).unsqueeze(1), cells, probability)


def replace_dropout(model: torch.nn.Module, first_number: int) -> list[KeyedDropout]:
    """Puts a KeyedDropout in the place of every torch.nn.Dropout within a model and returns them.

    The dropout of attention weights in torch.nn.MultiheadAttention is a number, not a module; it is set to 0.
    """
    replaced: list[KeyedDropout] = []
    masks = SharedMasks(first_number, sum(isinstance(child, torch.nn.Dropout) for child in model.modules()))
    for parent in list(model.modules()):
        if isinstance(parent, torch.nn.MultiheadAttention):
            parent.dropout = 0.0
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Dropout):
                replaced.append(KeyedDropout(child.p, first_number + len(replaced), masks))
                setattr(parent, name, replaced[-1])
    return replaced
