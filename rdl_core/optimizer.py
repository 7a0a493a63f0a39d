"""The optimizer: Adam (Kingma and Ba 2015) on the parameters that learn, in one fused operation.

PyTorch's own step spends as long on bookkeeping for hundreds of small parameters (lists, groups, a tensor each that counts its steps) as on numbers.
Here one tensor counts for all, and the lists are made once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def make_optimizer(model: torch.nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam with PyTorch's other defaults; state and checkpoints are those of the unfused one."""
    return SharedCountAdam((p for p in model.parameters() if p.requires_grad), lr=learning_rate, fused=True)


class SharedCountAdam(torch.optim.Adam):
    """PyTorch's fused Adam, bit for bit; its own step runs where parameters have taken different numbers of steps."""

    _state: tuple[Tensor, list[Tensor], list[Tensor]] | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """As PyTorch's."""
        (group,) = self.param_groups
        parameters = group["params"]
        gradients = [p.grad for p in parameters]
        is_simple = closure is None and all(g is not None for g in gradients)
        state = (self._state or self._shared_state(parameters)) if is_simple else None
        if state is None:
            self._part()
            return super().step(closure)
        self._state = state
        count, mean, square = state
        count += 1
        torch._fused_adam_(
            parameters, gradients, mean, square, [], [count] * len(parameters), lr=group["lr"], beta1=group["betas"][0],
            beta2=group["betas"][1], eps=group["eps"], weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
        return None

    def state_dict(self) -> dict[str, Any]:
        """As PyTorch's: a count for each parameter, which shares no memory with another."""
        self._part()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As PyTorch's."""
        self._state = None
        super().load_state_dict(state_dict)

    def _shared_state(self, parameters: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]] | None:
        """(count, means, means of squares), or None: not all parameters have taken the same number of steps, or none any."""
        entries = [self.state[p] for p in parameters if p in self.state]
        if len(entries) < len(parameters) or len({float(e["step"]) for e in entries}) > 1:
            return None
        for entry in entries:
            entry["step"] = entries[0]["step"]
        return entries[0]["step"], [e["exp_avg"] for e in entries], [e["exp_avg_sq"] for e in entries]

    def _part(self) -> None:
        """Gives each parameter a count of its own again."""
        for entry in self.state.values():
            entry["step"] = entry["step"].clone()
        self._state = None
