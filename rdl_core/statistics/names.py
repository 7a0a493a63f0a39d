"""Names of statistics for people: "mean of results.points over the last 4 via driverId"."""

from __future__ import annotations

from collections.abc import Sequence

from rdl_core.config.statistics import StatisticsConfig
from rdl_core.graph.measures import Measure
from rdl_core.graph.reg import EdgeType


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


def duration(seconds: int) -> str:
    """Returns a number of seconds in the largest unit of which it has two or more: "78 days", "1.5 days" is "36 hours"."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            number = seconds / size
            return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
    return f"{seconds} seconds"
