"""Sines and cosines of a number, the encoding of a row's age (Vaswani et al. 2017).

Promises: the same bits and the same buffer as `torch_geometric.nn.PositionalEncoding`. That class is not used, since importing its package takes each
process of a run two to four seconds (it loads datasets, TorchDynamo and, where they are installed, Hugging Face's transformers).
"""

from __future__ import annotations

import torch

BASE_FREQUENCY = 1e-4


class PositionalEncoding(torch.nn.Module):
    """Encodes numbers at frequencies from 1 down to BASE_FREQUENCY.

    Args:
        channels: Length of an encoding, an even number.
    """

    frequency: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.logspace(0, 1, channels // 2, BASE_FREQUENCY))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns float [numbers, channels] for float [numbers]: the sines, then the cosines."""
        angle = x.view(-1, 1) * self.frequency
        return torch.cat([angle.sin(), angle.cos()], dim=-1)
