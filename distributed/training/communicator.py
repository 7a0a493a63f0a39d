"""TorchCommunicator: rdl_core's Communicator over torch.distributed, the only place that calls collectives besides DDP itself."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

COLLECTIVE_TIMEOUT_S = 180
"""A rank that is silent for so long is lost; the longest that ranks wait for each other is a validation."""


class TorchCommunicator:
    """The default process group (gloo on CPUs, nccl on GPUs)."""

    def __init__(self) -> None:
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()

    def sum(self, tensor: Tensor) -> Tensor:
        """Returns the sum over all workers; the input is left as it is."""
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Returns every worker's tensor, in rank order; first dimensions may differ (they are padded to the largest on the way)."""
        lengths = self._all_gather(torch.tensor(len(tensor), device=tensor.device)).tolist()
        padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        return [part[:length] for part, length in zip(self._all_gather(padded), lengths, strict=True)]

    def _all_gather(self, tensor: Tensor) -> Tensor:
        """Returns [world_size, *shape], in rank order; all have one shape."""
        parts = tensor.new_empty(self.world_size, *tensor.shape)
        dist.all_gather(list(parts.unbind()), tensor.detach().contiguous())
        return parts
