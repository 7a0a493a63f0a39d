"""The collectives that training needs of the other processes; `SingleProcess` is the case of one.

Every worker calls the same methods in the same order and as often, whatever its data: a table without rows is a tensor without rows, never a
call left out.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Communicator(Protocol):
    """A group of equal workers.

    Args:
        rank: This worker's number, 0 to world_size - 1.
        world_size: Number of workers.
    """

    rank: int
    world_size: int

    def sum(self, tensor: Tensor) -> Tensor:
        """Returns the sum over all workers, without gradient, the same bits on each."""
        ...

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Returns every worker's tensor, in rank order, without gradient; first dimensions may differ."""
        ...


class SingleProcess:
    """One process: every collective is the identity."""

    rank = 0
    world_size = 1

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather(self, tensor: Tensor) -> list[Tensor]:
        return [tensor]
