"""The optimizer: Adam (Kingma and Ba 2015) on the parameters that learn, in one fused operation."""

from __future__ import annotations

import torch


def make_optimizer(model: torch.nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Returns Adam with PyTorch's other defaults; state and checkpoints are those of the unfused one."""
    return torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=learning_rate, fused=True)
