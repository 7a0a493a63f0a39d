"""The future level of the loss: a linear decoder per table of questions, from the vector of a question's row to its answers.

In: the vectors of the questions' rows after message passing over trees of their pasts. Out: a sum over questions and their number.
Promises: 1.0 is what constant answers come to, where training begins; the sums of a step are the sums of its samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import Linear, Module, ModuleList
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from rdl_core.future.batch import FutureBatch, FutureSource
from rdl_core.future.weighing import Weighing

INITIAL_SCALE = 0.01
"""Standard deviation of the decoders' first weights times sqrt(channels); at 0 the rows would get no gradient."""


class FutureLevel(Module):
    """The future level.

    Args:
        source: Tables of questions and what is asked about their rows.
        channels: Length of the rows' vectors.
    """

    def __init__(self, source: FutureSource, channels: int) -> None:
        super().__init__()
        self.source, self.tables = source, source.tables
        self.decoders = ModuleList(_decoder(source.weighing[table], channels) for table in self.tables)

    def forward(self, vectors: Sequence[Tensor], batches: Sequence[FutureBatch]) -> tuple[Tensor, Tensor]:
        """Returns (the summed loss, 0-dim, with its graph; the number of questions with an answer that is known, int64 0-dim).

        Args:
            vectors: Per batch [questions, channels], the rows of the questions after message passing.
            batches: The questions.
        """
        weights = next(self.decoders.parameters())
        totals, counts = [weights.new_zeros(())], [torch.zeros((), dtype=torch.int64, device=weights.device)]
        with torch.autocast(weights.device.type, enabled=False):
            for h, batch in zip(vectors, batches, strict=True):
                totals.append(self._loss(h.to(weights.dtype), batch))
                counts.append(batch.count)
        return torch.stack(totals).sum(), torch.stack(counts).sum()

    def _loss(self, h: Tensor, batch: FutureBatch) -> Tensor:
        number = self.tables.index(batch.table)
        numbers = self.source.weighing[batch.table].num_numbers
        answer, target = self.decoders[number](h), batch.target.to(h.dtype)
        losses = [
            smooth_l1_loss(answer[:, :numbers], target[:, :numbers], reduction="none"),
            binary_cross_entropy_with_logits(answer[:, numbers:], target[:, numbers:], reduction="none"),
        ]
        return (torch.cat(losses, dim=1) * batch.weight.to(h.dtype)).sum()


def _decoder(weighing: Weighing, channels: int) -> Linear:
    """Returns a decoder that begins with the constant answers, nearly."""
    decoder = Linear(channels, len(weighing.asked))
    share = weighing.center[weighing.num_numbers :]
    constants = np.concatenate([np.zeros(weighing.num_numbers), np.log(share) - np.log1p(-share)])
    with torch.no_grad():
        decoder.weight.copy_(torch.randn(decoder.weight.shape) * INITIAL_SCALE / channels**0.5)
        decoder.bias.copy_(torch.from_numpy(constants))
    return decoder
