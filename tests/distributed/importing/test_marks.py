"""Marks for unknown among times: named, and never the start of the seed times."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distributed.schema.refusals import ImportRefused
from tests.distributed.notations.small_columns import DAYS, imported_folder, write_csv

TASK = """name: churn
kind: forecast
task_type: binary_classification
entity_table: t
entity_col: id
time_col: timestamp
target_col: y
timedelta: 20 days
sql: SELECT t.timestamp, o.id, CAST(o.id % 2 AS BIGINT) AS y FROM timestamps t, t o WHERE o.x <= t.timestamp
"""
TIMES = {"val_timestamp": "2024-08-01", "test_timestamp": "2024-10-01"}


def imported(path: Path, mark: str | None, **options: object) -> list[str]:
    days = [f"{day:%Y-%m-%d %H:%M:%S}" for day in DAYS]
    if mark:
        days[7] = mark
    write_csv(path / "in", "t", list(enumerate(days)), "id,x")
    return imported_folder(path, **TIMES, **options)


@pytest.mark.parametrize("mark", ["1900-01-01", "1970-01-01 00:00:00", "1753-01-01"])
def test_seed_times_start_after_a_mark_and_it_is_named(tmp_path: Path, mark: str) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "churn.yaml").write_text(TASK)
    lines = imported(tmp_path, mark, tasks=tmp_path / "tasks")
    (line,) = [line for line in lines if "a mark for 'unknown'?" in line]
    assert line.startswith(f"t.x: 1 rows at {mark[:10]}, ") and f"--null-values t.x={mark[:10]}" in line
    train = pq.read_table(tmp_path / "out" / "tasks" / "churn" / "train.parquet")["timestamp"].to_pylist()
    assert min(train) > DAYS[0]
    assert len(set(train)) == 10  # every 20 days from 12 July back to 14 January


@pytest.mark.parametrize("mark", ["2099-12-31", "2200-01-01"])
def test_a_mark_at_the_end_is_named_and_is_not_the_end_of_the_times(tmp_path: Path, mark: str) -> None:
    lines = imported(tmp_path, mark)
    assert any(f"1 rows at {mark}" in line and "no seed ever sees them" in line for line in lines)


def test_a_test_timestamp_before_a_mark_only_has_nothing_to_test_on(tmp_path: Path) -> None:
    days = [f"{day:%Y-%m-%d}" for day in DAYS[:100]]
    write_csv(tmp_path / "in", "t", list(enumerate([*days, "2099-12-31"])), "id,x")
    lines = imported_folder(tmp_path, **TIMES)
    assert any("--test-timestamp 2024-10-01 is after the last row" in line for line in lines)


@pytest.mark.parametrize("mark", ["9999-12-31", "0001-01-01", "2500-06-01"])
def test_a_time_that_cannot_be_held_is_refused_with_the_option_that_nulls_it(tmp_path: Path, mark: str) -> None:
    with pytest.raises(ImportRefused, match=f"years 1677 to 2262.*got {mark}.*--null-values t.x={mark}"):
        imported(tmp_path, mark)
    lines = imported(tmp_path, mark, null_values=(f"t.x={mark}",))
    assert f"t.x: 1 values count as null: '{mark}' (1)" in lines
    assert "t: 1 rows have no x; they come last, and RelBench never shows them" in lines


def test_a_date_that_is_null_covers_its_day(tmp_path: Path) -> None:
    lines = imported(tmp_path, "9999-12-31 23:59:59", null_values=("9999-12-31",))
    assert any("t.x: 1 values count as null" in line for line in lines)


def test_times_without_a_gap_of_decades_are_not_named(tmp_path: Path) -> None:
    assert not any("a mark for" in line for line in [*imported(tmp_path, None), *imported_again(tmp_path)])


def imported_again(path: Path) -> list[str]:
    """The same with a row of eight years before."""
    (path / "again").mkdir()
    return imported(path / "again", "2016-01-01")


def test_a_history_before_a_long_gap_is_no_mark_and_a_mark_before_it_is(tmp_path: Path) -> None:
    days = ["1900-01-01", *(f"{1950 + i}-01-01" for i in range(40)), *(f"{day:%Y-%m-%d}" for day in DAYS)]
    write_csv(tmp_path / "in", "t", list(enumerate(days)), "id,x")
    lines = imported_folder(tmp_path, val_timestamp="1980-01-01", test_timestamp="2024-03-01")
    (line,) = [line for line in lines if "a mark for 'unknown'?" in line]
    assert line.startswith("t.x: 1 rows at 1900-01-01, 50 years before all others")


def test_a_mark_of_most_rows_is_still_the_mark_since_it_is_one_day(tmp_path: Path) -> None:
    days = ["1900-01-01"] * 150 + [f"{day:%Y-%m-%d}" for day in DAYS[:100]]
    write_csv(tmp_path / "in", "t", list(enumerate(days)), "id,x")
    lines = imported_folder(tmp_path, **TIMES)
    assert any("150 rows at 1900-01-01" in line and "--null-values t.x=1900-01-01 counts" in line for line in lines)
    assert not any("after all others" in line for line in lines)


@pytest.mark.parametrize(("mark", "said"), [("1900-01-01", "which leaks"), ("2099-12-31", "never known")])
def test_a_mark_in_the_time_from_which_a_cell_is_known_is_named(tmp_path: Path, mark: str, said: str) -> None:
    rows = [(i, f"{day:%Y-%m-%d}", mark if i == 7 else f"{day:%Y-%m-%d}", "done") for i, day in enumerate(DAYS)]
    write_csv(tmp_path / "in", "t", rows, "id,x,closed_at,status")
    lines = imported_folder(tmp_path, "t: {pkey: id, time_col: x, known_from: {status: closed_at}}", **TIMES)
    (line,) = [line for line in lines if "a mark for 'unknown'?" in line]
    assert line.startswith(f"t.closed_at: 1 rows at {mark}, ") and "status" in line and said in line
    assert f"--null-values t.closed_at={mark}" in line


def test_an_open_end_of_versions_is_no_mark(tmp_path: Path) -> None:
    rows = [(i, f"{day:%Y-%m-%d}", "2099-12-31" if i % 2 else f"{DAYS[-1]:%Y-%m-%d}") for i, day in enumerate(DAYS)]
    write_csv(tmp_path / "in", "t", rows, "id,x,ends")
    lines = imported_folder(tmp_path, "t: {pkey: id, valid_from: x, valid_to: ends}", **TIMES)
    assert not any("mark for" in line for line in lines)
