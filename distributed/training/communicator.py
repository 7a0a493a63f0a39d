"""The Communicator of rdl_core over torch.distributed: the only place that calls collectives besides DDP itself.

Between workers of one host, sums on the CPU, DDP's gradients among them, go through shared memory (shared_sums.py).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from distributed.training.shared_sums import SharedSums

COLLECTIVE_TIMEOUT_S = 180
"""A rank that is silent for so long is lost; the longest that ranks wait for each other is a validation."""


class TorchCommunicator:
    """The default process group (gloo on CPU, nccl on GPU).

    Args:
        sums: Through which sums of CPU tensors go, or None: through the process group like all else.
    """

    def __init__(self, sums: SharedSums | None = None) -> None:
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._sums = sums

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers; the input is left as it is."""
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        if self._sums is not None and total.device.type == "cpu":
            return self._sums.add_up(total)
        dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every worker's tensor, in rank order; first dimensions may differ (padded to the largest on the way)."""
        lengths = self._all_gather(torch.tensor(len(tensor), device=tensor.device)).tolist()
        padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        return [part[:length] for part, length in zip(self._all_gather(padded), lengths, strict=True)]

    def _all_gather(self, tensor: Tensor) -> Tensor:
        """[world_size, *shape], in rank order; all have one shape."""
        parts = tensor.new_empty(self.world_size, *tensor.shape)
        dist.all_gather(list(parts.unbind()), tensor.detach().contiguous())
        return parts


def average_through(sums: SharedSums, model: DistributedDataParallel) -> None:
    """Has DDP average its gradients through shared memory."""
    model.register_comm_hook(sums, lambda sums, bucket: _done(sums.add_up(bucket.buffer()).div_(sums.num_processes)))


def _done(tensor: Tensor) -> Future[Tensor]:
    future: Future[Tensor] = Future()
    future.set_result(tensor)
    return future
