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
        lengths = self.all_gather(torch.tensor(len(tensor), device=tensor.device)).tolist()
        padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        return [part[:length] for part, length in zip(self.all_gather(padded), lengths, strict=True)]

    def all_gather(self, tensor: Tensor) -> Tensor:
        """[world_size, *shape], in rank order; all have one shape."""
        parts = tensor.new_empty(self.world_size, *tensor.shape)
        dist.all_gather(list(parts.unbind()), tensor.detach().contiguous())
        return parts

    def reduce_scatter(self, tensor: Tensor) -> Tensor:
        """[*shape] from [world_size, *shape]: the sum over all workers of what each has for this one; the input is left as it is."""
        mine = torch.empty_like(tensor[0])
        dist.reduce_scatter(mine, list(tensor.detach().contiguous().unbind()))
        return mine
