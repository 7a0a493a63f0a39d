"""Rows over time are counted as by hand, on one axis for all tables, and drawn with both timestamps."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from distributed.import_report.folder_tables import opened_tables
from distributed.import_report.report import RowsOverTime
from distributed.import_report.rows_over_time import (
    NUM_BINS,
    axis_dates,
    count_rows_over_time,
    draw_rows_over_time,
    duration,
)
from tests.distributed.import_report.small_folders import Tables, library, write


def counted(folder: Path, tables: Tables) -> RowsOverTime | None:
    with opened_tables(folder, write(folder, tables)) as opened:
        return count_rows_over_time(opened)


def test_every_row_is_in_the_span_of_its_time(tmp_path: Path) -> None:
    tables = library()
    rows = counted(tmp_path / "in", tables)
    assert rows is not None and set(rows.counts) == {"readers", "loans"}
    for name, time_col in (("readers", "joined"), ("loans", "at")):
        seconds = tables[name][time_col].to_numpy().astype("M8[s]").astype(np.int64)
        expected = np.bincount(
            np.clip((seconds - rows.start_s) // rows.bin_s, -1, NUM_BINS) + 1, minlength=NUM_BINS + 2
        )
        assert (
            rows.counts[name] == tuple(expected[1:-1].tolist()) and rows.num_outside[name] == expected[0] + expected[-1]
        )
    assert sum(rows.counts["loans"]) + rows.num_outside["loans"] == len(tables["loans"])


def test_the_first_and_last_rows_are_on_the_axis_where_they_are_near_the_others(tmp_path: Path) -> None:
    rows = counted(tmp_path / "in", library())
    assert rows is not None and set(rows.num_outside.values()) == {0}


def test_one_row_of_long_ago_does_not_press_the_others_together(tmp_path: Path) -> None:
    tables = library()
    tables["loans"].loc[0, "at"] = pd.Timestamp("1900-01-01")
    rows = counted(tmp_path / "in", tables)
    assert rows is not None and rows.num_outside["loans"] >= 1 and np.count_nonzero(rows.counts["loans"]) > NUM_BINS / 2


def test_both_timestamps_lie_on_the_axis(tmp_path: Path) -> None:
    tables = library()
    tables["loans"]["at"] -= pd.Timedelta("36500D")
    tables["readers"]["joined"] -= pd.Timedelta("36500D")
    rows = counted(tmp_path / "in", tables)
    assert (
        rows is not None
        and rows.start_s < rows.val_timestamp_s < rows.test_timestamp_s < rows.start_s + NUM_BINS * rows.bin_s
    )
    assert axis_dates(rows)[0].startswith("19")


@pytest.mark.parametrize("names", [("towns",), ("towns", "readers")])
def test_tables_without_a_time_or_without_rows_have_none(tmp_path: Path, names: tuple[str, ...]) -> None:
    tables = {name: frame.head(0) if name == "readers" else frame for name, frame in library().items() if name in names}
    assert counted(tmp_path / "in", tables) is None


def test_the_picture_has_a_bar_per_span_with_rows_and_a_line_per_timestamp() -> None:
    counts = (0, 4, 0, 2) + (0,) * (NUM_BINS - 4)
    rows = RowsOverTime(start_s=0, bin_s=10, val_timestamp_s=20, test_timestamp_s=300, counts={"t": counts})
    svg = ElementTree.fromstring(draw_rows_over_time(rows, "t"))
    path = svg.find("path")
    assert path is not None and path.get("d", "").count("M") == 2
    assert [(line.get("class"), line.get("x1")) for line in svg.findall("line")] == [
        ("mark val", "16.0"),
        ("mark test", "240.0"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1 s"), (7200, "2 hours"), (86_400 * 10, "10 days"), (31_557_600 * 3, "3 years")]
)
def test_spans_are_told_in_the_largest_fitting_unit(seconds: int, text: str) -> None:
    assert duration(seconds) == text
