"""Exact statistics of a row's past, and the columns that are composed of them along key paths."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from rdl_core.config.decoding import checked

Share = Annotated[float, Field(gt=0.0, le=1.0)]


@checked
class StatisticsConfig:
    """Statistics of a row's children along one key, strictly before a time."""

    num_last: tuple[PositiveInt, ...] = (1, 4, 16, 64)
    """Means of cells over so many of the latest children, besides all of them."""
    window_shares: tuple[Share, ...] = (1 / 256, 1 / 64, 1 / 16, 1 / 4)
    """Windows before the time, as shares of the time that the data spans up to the cutoff: counts and means of the children in each."""


@checked
class ColumnsConfig:
    """Columns of a row at a time: its cells and statistics, and those of rows that key paths lead to."""

    hops: PositiveInt | None = None
    """Longest key path, with the key of the last row's statistics. None: one key more than the farthest table needs, at most 4."""
    num_children: PositiveInt = 16
    """Latest children over which the columns of a further hop are averaged."""
    statistics: StatisticsConfig = StatisticsConfig()
    """Statistics of the row, of its parents and of theirs."""
    further: StatisticsConfig = StatisticsConfig(num_last=(16,), window_shares=(1 / 64,))
    """Statistics of its latest children and of the rows behind them: fewer, since they come by many more paths."""
