"""The optimizer: Adam (Kingma and Ba 2015) on the parameters that learn, in one fused operation; AdamW (Loshchilov and Hutter 2019) with a decay."""

from __future__ import annotations

import torch


def make_optimizer(model: torch.nn.Module, learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Returns Adam with PyTorch's other defaults; state and checkpoints are those of the unfused one.

    Args:
        weight_decay: Above 0: AdamW, which shrinks every parameter by learning_rate * weight_decay of itself in each step, beside Adam's own.
    """
    learning = (p for p in model.parameters() if p.requires_grad)
    if weight_decay:
        return torch.optim.AdamW(learning, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return torch.optim.Adam(learning, lr=learning_rate, fused=True)
