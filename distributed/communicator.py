"""The Communicator of rdl_core over torch.distributed: the only place that calls collectives besides DDP itself."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class TorchCommunicator:
    """The default process group (gloo on CPU, nccl on GPU)."""

    def __init__(self) -> None:
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers; the input is left as it is."""
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every worker's tensor, in rank order; first dimensions may differ (padded to the largest on the way)."""
        size = torch.tensor(len(tensor), device=tensor.device)
        sizes = [torch.zeros_like(size) for _ in range(self.world_size)]
        dist.all_gather(sizes, size)
        lengths = [int(s) for s in sizes]
        padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.zeros_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return [part[:length] for part, length in zip(parts, lengths, strict=True)]
