"""Names of statistics for people: "mean of results.points over the last 4 via driverId"."""

from __future__ import annotations

from collections.abc import Sequence

from rdl_core.config.statistics import StatisticsConfig
from rdl_core.graph.measures import Measure
from rdl_core.graph.reg import EdgeType
from rdl_core.statistics.kernels import NUM_TIME_COLUMNS


def statistic_names(
    edge_type: EdgeType, measures: Sequence[Measure], config: StatisticsConfig, windows_s: Sequence[int]
) -> list[str]:
    """Returns the names of a key's statistics, in their order.

    Args:
        edge_type: The key.
        measures: The measures of the child table.
        config: Which statistics there are.
        windows_s: The seconds of each window.
    """
    child, fkey_col, _ = edge_type
    names = [
        f"count of {child}",
        f"days since the last of {child}",
        f"days since the first of {child}",
        f"days between the last two of {child}",
        f"time since the last of {child}, in mean gaps,",
    ]
    averages = [measure.average(child) for measure in measures]
    for span in (*(f"the last {n}" for n in config.num_last), "all"):
        names += [f"{average} over {span}" for average in averages]
    for window_s in windows_s:
        names += [f"{what} within {duration(window_s)}" for what in (f"count of {child}", *averages)]
    return [f"{name} via {fkey_col}" for name in names]


def statistic_columns(measures: Sequence[Measure], config: StatisticsConfig) -> list[str | None]:
    """Returns the column of the child table that each of a key's statistics is made of, in the order of their names; None for counts and times."""
    cells: list[str | None] = [measure.column for measure in measures]
    of_windows = [None, *cells] * len(config.window_shares)
    return [None] * NUM_TIME_COLUMNS + cells * (len(config.num_last) + 1) + of_windows


def duration(seconds: int) -> str:
    """Returns a number of seconds in the largest unit of which it has two or more: "78 days", "1.5 days" is "36 hours"."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            number = seconds / size
            return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
    return f"{seconds} seconds"
