"""The input that the levels of a model need of some samples: both views of their rows for the levels of contrast, questions for the future level.

Promise: what a level that is off would need is not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rdl_core.batches.pretraining_batch import Cursor, PretrainingBatch, collate
from rdl_core.batches.row_source import RowSource
from rdl_core.config import CorruptionConfig, LossConfig
from rdl_core.future import FutureBatch
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.sampling.subgraph import Subgraph


@dataclass(frozen=True, kw_only=True)
class StepInput:
    """The inputs of a pass.

    Args:
        contrast: For the levels row, link and context; None where all are off.
        questions: For the future level, a batch per sample; none where it is off.
    """

    contrast: PretrainingBatch | None
    questions: tuple[FutureBatch, ...]

    def to(self, device: torch.device) -> StepInput:
        """Returns the inputs on a device."""
        contrast = None if self.contrast is None else self.contrast.to(device)
        return StepInput(contrast=contrast, questions=tuple(q.to(device) for q in self.questions))


def step_input(
    model: PretrainingModel,
    subgraphs: Sequence[Subgraph],
    cursors: Sequence[Cursor],
    rows: RowSource,
    corruption: CorruptionConfig,
    loss: LossConfig,
    *,
    seed: int,
) -> StepInput:
    """Returns what the model's levels need.

    Args:
        subgraphs: A sample per cursor; they are not looked at where all levels of contrast are off.
        cursors: (epoch, sample) of each.
        rows: Where times and cells of the samples are.
        corruption, loss: Of the levels of contrast.
        seed: Run seed, or that of validation.
    """
    contrast = None
    if model.has_contrast:
        newest_first = model.encoder.config.newest_first
        contrast = collate(
            subgraphs, cursors, *rows(subgraphs), corruption, seed=seed, loss=loss, newest_first=newest_first
        )
    questions = () if model.future is None else model.future.source(cursors, seed=seed)
    return StepInput(contrast=contrast, questions=questions)
