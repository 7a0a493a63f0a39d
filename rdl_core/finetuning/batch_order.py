"""The order in which labels are learned from.

Promises: a step's rows are a function of (seed, number of rows, step), whatever the workers; each epoch is a pass in another order, and its partial
last batch is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.random_streams import PURPOSE_FINETUNING_ORDER, permuted, stream


@dataclass(frozen=True, kw_only=True)
class BatchOrder:
    """The batches of a training.

    Args:
        rows: int64 [n], what is learned from.
        batch_size: Rows of a batch; fewer rows than that are one batch.
        seed: Random seed of the order.
    """

    rows: NDArray[np.int64]
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of a pass."""
        return max(1, len(self.rows) // self.batch_size)

    def __call__(self, step: int) -> tuple[NDArray[np.int64], int]:
        """Returns the rows of a step, int64 [batch], and its epoch."""
        size = min(self.batch_size, len(self.rows))
        epoch, batch = divmod(step, self.steps_per_epoch)
        order = stream(self.seed, PURPOSE_FINETUNING_ORDER, epoch)
        return self.rows[permuted(np.arange(batch * size, (batch + 1) * size), len(self.rows), order)], epoch
