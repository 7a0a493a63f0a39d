"""Rows per table over time, as counts, and as a picture for the page.

The time axis is common to all tables: from the first to the last rows' times, the outermost thousandth of a table's rows left out where they
would lengthen it by more than a tenth, since one row of the year 1900 would press all others together; the validation and test timestamps lie within
it. What is outside is counted. One pass per table.
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

from distributed.import_report.folder_tables import FolderTables, view
from distributed.import_report.report import RowsOverTime

NUM_BINS = 60
WIDTH, HEIGHT = 480, 44


def count_rows_over_time(tables: FolderTables) -> RowsOverTime | None:
    """Returns the counts of all dated tables; None where no table is dated."""
    marks = [_seconds(tables.manifest.val_timestamp), _seconds(tables.manifest.test_timestamp)]
    seconds = {
        name: f"CAST(floor(epoch_us({time}) / 1000000) AS BIGINT)"
        for name in tables.specs
        if (time := tables.time(name)) is not None
    }
    ends: list[int] = []
    extremes: list[int] = []
    for name, second in seconds.items():
        low, high, least, most = tables.one(
            f"SELECT quantile_disc({second}, 0.001), quantile_disc({second}, 0.999), min({second}), max({second}) FROM {view(name)}"
        )
        ends += [] if low is None else [low, high]
        extremes += [] if low is None else [least, most]
    if not ends:
        return None
    first, last = min(*ends, *marks), max(*ends, *marks)
    margin = (last - first) // 10
    ends += [end for end in extremes if first - margin <= end <= last + margin]
    start = min(*ends, *marks)
    width = max(1, -(-(max(*ends, *marks) + 1 - start) // NUM_BINS))
    counts: dict[str, tuple[int, ...]] = {}
    outside: dict[str, int] = {}
    for name, second in seconds.items():
        bins = f"CAST(floor(({second} - {start}) / {width}) AS BIGINT)"
        found = dict(
            tables.rows(f"SELECT {bins}, count(*) FROM {view(name)} WHERE {tables.time(name)} IS NOT NULL GROUP BY 1")
        )
        counts[name] = tuple(found.get(number, 0) for number in range(NUM_BINS))
        outside[name] = sum(found.values()) - sum(counts[name])
    return RowsOverTime(
        start_s=start,
        bin_s=width,
        val_timestamp_s=marks[0],
        test_timestamp_s=marks[1],
        counts=counts,
        num_outside=outside,
    )


def draw_rows_over_time(rows: RowsOverTime, table: str) -> str:
    """Returns an SVG element: bars of one table's rows, the validation and test timestamps as lines."""
    counts = rows.counts[table]
    top, step = max(*counts, 1), WIDTH / len(counts)
    svg = ElementTree.Element(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "width": str(WIDTH),
            "height": str(HEIGHT),
            "role": "img",
            "class": "bars",
        },
    )
    ElementTree.SubElement(svg, "title").text = f"{table}: at most {top:,} rows in {duration(rows.bin_s)}"
    bars = "".join(
        f"M{number * step:.1f} {HEIGHT}v{-max(count / top * (HEIGHT - 4), 1):.1f}h{step - 1:.1f}V{HEIGHT}z"
        for number, count in enumerate(counts)
        if count
    )
    ElementTree.SubElement(svg, "path", {"d": bars, "class": "bar"})
    for name, moment in (("val", rows.val_timestamp_s), ("test", rows.test_timestamp_s)):
        x = f"{(moment - rows.start_s) / rows.bin_s * step:.1f}"
        line = ElementTree.SubElement(
            svg, "line", {"x1": x, "x2": x, "y1": "0", "y2": str(HEIGHT), "class": f"mark {name}"}
        )
        ElementTree.SubElement(line, "title").text = f"{name} timestamp"
    return ElementTree.tostring(svg, encoding="unicode")


def axis_dates(rows: RowsOverTime) -> tuple[str, str]:
    """Returns the first and the last day of the axis."""
    first, last = (_day(rows.start_s + number * rows.bin_s) for number in (0, NUM_BINS))
    return first, last


def duration(seconds: int) -> str:
    """Returns a span of time in the largest unit that it fills at least twice."""
    for unit, length in (("years", 31_557_600), ("weeks", 604_800), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds} s"


def _day(second: int) -> str:
    try:
        return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):  # beyond the years that Python knows
        return f"{1970 + second / 31_556_952:.0f}"


def _seconds(timestamp: str | object) -> int:
    return int(datetime.fromisoformat(str(timestamp)).replace(tzinfo=UTC).timestamp())
