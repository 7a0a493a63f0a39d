"""The future level of pretraining: questions about what follows a time, whose answers end at the cutoff."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from rdl_core.config.decoding import checked
from rdl_core.config.sampling import TemporalSamplingConfig
from rdl_core.config.statistics import Share


@checked
class FutureConfig:
    """The questions of the future level."""

    questions_per_sample: PositiveInt = 128
    """Fresh (row, time) questions beside each sample of the three levels."""
    sampling: TemporalSamplingConfig = TemporalSamplingConfig(num_neighbors=(16, 8), strategy="recent")
    """Trees of the questions' pasts."""
    window_shares: tuple[Share, ...] = (1 / 64, 1 / 16)
    """Windows after the time, as shares of the time that the data spans up to the cutoff."""
    next_row: bool = True
    """Ask for the next child's cells, besides counts and means in the windows."""
    exclude: Annotated[tuple[str, ...], Field()] = ()
    """Tables, or columns as table.column, of which nothing is asked: what a task's label is made of, for a control."""
