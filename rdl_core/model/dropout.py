"""Dropout whose masks belong to rows, in the place of PyTorch's in any row encoder.

Promise: given a key per row, a row's masks are the same in any batch, on any device and number of workers. On a GPU the masks of all modules of one
row encoder are drawn together: one by one they were 3,800 of a step's 7,100 kernel launches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

from rdl_core.kernels.dropout_mask import dropout_mask

MAX_CALLS = 1 << 8
"""Calls of one module within a forward pass; each has a mask of its own."""


class KeyedDropout(torch.nn.Module):
    """Dropout with masks from keys, one per row (first dimension); without keys they come from the global generator.

    Args:
        probability: Probability of a zero, in [0, 1).
        number: Tells the dropout modules of one model apart.
        family: The numbers of all dropout modules of the model; None: this one is alone.
        drawn: The masks that the family has drawn in a forward pass, which it shares.
    """

    def __init__(
        self,
        probability: float,
        number: int,
        family: range | None = None,
        drawn: dict[tuple[int, int, float], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.probability, self.number, self.family = probability, number, family or range(number, number + 1)
        self.drawn = {} if drawn is None else drawn
        self.set_keys(None)

    def set_keys(self, keys: Tensor | None) -> None:
        """Begins a forward pass: int64 [rows] keys of its rows, or None."""
        self.keys, self.calls = keys, 0
        self.drawn.clear()

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with cells dropped and the others scaled: [rows, ...].

        Raises:
            ValueError: There are keys for another number of rows.
        """
        if not self.training or self.probability == 0.0:
            return x
        if self.keys is None and x.device.type != "cpu":  # a mask from keys takes some fifty launches there
            return dropout(x, self.probability)
        keys, wanted = self.keys, (self.calls, x[:1].numel() if len(x) else 0, self.probability)
        self.calls += 1
        if keys is not None and len(keys) != len(x):
            raise ValueError(
                f"dropout has keys for {len(keys)} rows, the input has {len(x)}; set the keys of this batch"
            )
        if keys is None or keys.device.type == "cpu":  # where a mask costs less than to keep it
            keys = torch.randint(2**63 - 1, x.shape[:1], device=x.device) if keys is None else keys
            mask = masks(keys, range(self.number, self.number + 1), *wanted)[0]
        else:
            if wanted not in self.drawn:
                self.drawn[wanted] = masks(keys, self.family, *wanted)
            mask = self.drawn[wanted][self.number - self.family.start]
        return x * mask.to(x.dtype).view_as(x)


def masks(keys: Tensor, modules: range, call: int, cells: int, probability: float) -> Tensor:
    """Returns the masks of these dropout modules in one of their calls: float32 [modules, rows, cells]."""
    numbers = range(modules.start * MAX_CALLS + call, modules.stop * MAX_CALLS + call, MAX_CALLS)
    return dropout_mask(keys, numbers, cells, probability)


def replace_dropout(model: torch.nn.Module, first_number: int) -> list[KeyedDropout]:
    """Puts a KeyedDropout in the place of every torch.nn.Dropout within a model and returns them.

    The dropout of attention weights in torch.nn.MultiheadAttention is a number, not a module; it is set to 0.
    """
    replaced: list[KeyedDropout] = []
    drawn: dict[tuple[int, int, float], Tensor] = {}
    family = range(first_number, first_number + sum(isinstance(m, torch.nn.Dropout) for m in model.modules()))
    for parent in list(model.modules()):
        if isinstance(parent, torch.nn.MultiheadAttention):
            parent.dropout = 0.0
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Dropout):
                replaced.append(KeyedDropout(child.p, first_number + len(replaced), family, drawn))
                setattr(parent, name, replaced[-1])
    return replaced
