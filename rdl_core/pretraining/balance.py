"""Weights of the levels by the length of their gradients, so that none drowns another.

With weights of 1 the backbone gets the longest gradient's lesson: contrast then outweighs the future level by 6 to 1 at the start and 25 to 1 later.

    weight of a level = geometric mean of all levels' gradient norms / its own

Norms are those of the whole step's gradient on the backbone (Chen et al., GradNorm, ICML 2018, measure the last shared layer), an exponential mean
over measurements. Promises: they are the same bits on every worker, and lie in buffers, so that a checkpoint holds them and a resumed run goes on to
the same bits; a level without an input keeps its norm. Cost: a backward pass per level in each step that measures, and one collective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rdl_core.communicator import Communicator

DECAY = 0.8
"""The share that a measurement leaves of the mean before it: half is gone after three."""


class Balance(torch.nn.Module):
    """Weights of levels.

    Args:
        levels: Their names.
    """

    norms: Tensor

    def __init__(self, levels: Sequence[str]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.register_buffer("norms", torch.zeros(len(self.levels), dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """Float64 [levels]; 1 for a level that has not been measured."""
        measured = self.norms > 0
        logs = torch.where(measured, self.norms, 1.0).log()
        mean = logs.sum() / measured.sum().clamp(min=1)
        return torch.where(measured, (mean - logs).exp(), 1.0)

    def measure(
        self, losses: Mapping[str, Tensor], parameters: Sequence[torch.nn.Parameter], communicator: Communicator
    ) -> None:
        """Takes in the gradients of a step; a collective.

        Args:
            losses: Per level this worker's part of the step's loss, 0-dim, with its graph, which stays.
            parameters: Those of the backbone that learn.
        """
        rows = []
        for level in self.levels:
            parts = torch.autograd.grad(losses[level], parameters, retain_graph=True, allow_unused=True)
            pairs = zip(parts, parameters, strict=True)
            rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]))
        norms = communicator.sum(torch.stack(rows)).double().norm(dim=1)
        mean = torch.where(self.norms > 0, DECAY * self.norms + (1 - DECAY) * norms, norms)
        self.norms.copy_(torch.where((norms > 0) & norms.isfinite(), mean, self.norms))

    def figures(self) -> dict[str, float]:
        """Returns the weight and the gradient norm of each level, by names to log."""
        weights, norms = self.weights.tolist(), self.norms.tolist()
        return {
            f"{level}_{name}": value
            for name, values in (("weight", weights), ("gradient_norm", norms))
            for level, value in zip(self.levels, values, strict=True)
        }
