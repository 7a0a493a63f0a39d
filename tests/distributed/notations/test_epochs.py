"""Digits as times: each is read as what it is, or refused with what it would be."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from distributed.schema.refusals import ImportRefused
from distributed.schema.source_table import Kind
from tests.distributed.importing.small_imports import column, run, sqlite_file
from tests.distributed.notations.small_columns import DAYS, typed, unix_us

MIDNIGHTS = [datetime(day.year, day.month, day.day) for day in DAYS[:40]]
EXCEL_DAY_0 = datetime(1899, 12, 30)
READINGS: list[tuple[str, list[Any], list[datetime]]] = [
    ("UNIX seconds", [unix_us(day) // 10**6 for day in DAYS], DAYS),
    ("UNIX milliseconds", [unix_us(day) // 1000 for day in DAYS], DAYS),
    ("UNIX microseconds", [unix_us(day) for day in DAYS], DAYS),
    ("UNIX nanoseconds", [unix_us(day) * 1000 for day in DAYS], DAYS),
    ("YYYYMMDD", [f"{day:%Y%m%d}" for day in MIDNIGHTS], MIDNIGHTS),
    ("YYYYMMDDhhmm", [f"{day:%Y%m%d%H%M}" for day in DAYS], DAYS),
    ("YYYYMMDDhhmmss", [f"{day:%Y%m%d%H%M%S}" for day in DAYS], DAYS),
    ("YYYYMM", ["202311", "202402"], [datetime(2023, 11, 30, 23, 59, 59), datetime(2024, 2, 29, 23, 59, 59)]),
    ("years", ["2023", "2024"], [datetime(2023, 12, 31, 23, 59, 59), datetime(2024, 12, 31, 23, 59, 59)]),
    ("Julian days", [(unix_us(day) / 86_400e6) + 2440587.5 for day in DAYS], DAYS),
    ("serial days of Excel", [(day - EXCEL_DAY_0) / timedelta(days=1) for day in DAYS], DAYS),
    ("serial days of Excel", [(day - EXCEL_DAY_0).days for day in MIDNIGHTS], MIDNIGHTS),
    ("UNIX seconds", [f"{unix_us(day) // 10**6}.0" for day in DAYS], DAYS),  # pandas, beside nulls
    ("YYYYMMDD", [f"{day:%Y%m%d}.0" for day in MIDNIGHTS], MIDNIGHTS),
]


@pytest.mark.parametrize(("name", "values", "expected"), READINGS)
def test_declared_digits_are_read_as_what_they_are(name: str, values: list[Any], expected: list[datetime]) -> None:
    found, lines = typed(values[:20], is_time=True)
    assert [moment.replace(microsecond=0) for moment in found] == [m.replace(microsecond=0) for m in expected[:20]]
    assert any(line.startswith(f"t.x: read as times, {name}") for line in lines)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1], "got '0'; as UNIX seconds it is 1970-01-01"),
        ([20240230, 20240231], "got '20240230'; as UNIX seconds it is 1970-08-23"),
        ([19724, 19725], r"may be days since 1970-01-01, which must be said.*\"unix_days\""),
        ([930101, 930102], r"may be YYMMDD, which must be said.*\"%y%m%d\""),
        ([200101, 200102], r"can be YYYYMM and can be YYMMDD.*\"%Y%m\".*\"%y%m%d\""),
        ([1704171600, 1704171600000], r"row 1 of the source.*'1704171600000' is none of the times \(UNIX seconds\)"),
        ([1704171600, "2024-01-02"], "is none of the times"),
        ([28402560, 28402561], "expected a time"),  # minutes
        (
            [638397684000000000, 638397684000000001],
            r"'638397684000000001' is none of the times|expected a time",
        ),  # .NET ticks
    ],
)
def test_other_digits_are_refused_with_what_they_would_be(values: list[Any], message: str) -> None:
    with pytest.raises(ImportRefused, match=message):
        typed(values, is_time=True)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("created_at", [unix_us(day) // 1000 for day in DAYS[:3]], DAYS[:3]),
        ("orderDate", [f"{day:%Y%m%d}" for day in MIDNIGHTS[:3]], MIDNIGHTS[:3]),
        ("amount", [unix_us(day) // 10**6 for day in DAYS[:3]], None),
        ("delivery_time", [35, 20, 50], None),
        ("start_time", [45293, 45294, 45300], None),
        ("year", [2020, 2021, 2021], None),
    ],
)
def test_undeclared_digits_are_times_by_name_and_value(
    name: str, values: list[Any], expected: list[datetime] | None
) -> None:
    assert typed(values, name)[0] == (values if expected is None else expected)


def test_named_digits_that_are_nearly_all_times_are_refused() -> None:
    values = [*(unix_us(day) // 10**6 for day in DAYS[:19]), 0]
    with pytest.raises(
        ImportRefused,
        match=r"row 19 of the source.*'0' is none of the times \(UNIX seconds\).*--null-values t.created_at",
    ):
        typed(values, "created_at")
    found, lines = typed(values, "created_at", nulls=["t.created_at=0"])
    assert found == [*DAYS[:19], None] and "t.created_at: 1 values count as null: '0' (1)" in lines


def test_digits_that_look_like_days_but_are_not_named_so_are_said() -> None:
    for kind in ("text", "integer"):
        found, lines = typed([20240102, 20240103], "d", kind=kind)
        assert any(
            "t.d: all 2 numbers could be times (YYYYMMDD)" in line and "--time-cols t d" in line for line in lines
        )
        assert found == [20240102, 20240103]


def test_years_are_a_rows_time_only_for_want_of_another_and_it_is_said(tmp_path: Path) -> None:
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, year INTEGER{}); INSERT INTO t VALUES (1, 2020{}), (2, 2021{})"
    times = {"val_timestamp": "2021-01-01", "test_timestamp": "2021-07-01"}
    lines = run(sqlite_file(tmp_path / "t.db", script.format("", "", "")), tmp_path / "out", **times)
    assert any(
        line.startswith("t.year: nothing else is a time here, so the rows are dated by these years") for line in lines
    )
    assert column(tmp_path / "out", "t", "year") == [
        datetime(2020, 12, 31, 23, 59, 59, 999999),
        datetime(2021, 12, 31, 23, 59, 59, 999999),
    ]
    other = script.format(", at DATE", ", '2020-03-03'", ", '2020-04-04'")
    run(sqlite_file(tmp_path / "o.db", other), tmp_path / "other", **times)
    assert column(tmp_path / "other", "t", "year") == [2020, 2021]


@pytest.mark.parametrize("name", ["model_year", "birth_year", "year_built", "season", "fiscal_year"])
def test_a_year_that_is_not_plainly_the_rows_own_dates_no_row(tmp_path: Path, name: str) -> None:
    script = f"""CREATE TABLE t (id INTEGER PRIMARY KEY, {name} INTEGER); INSERT INTO t VALUES (1, 2020), (2, 2021);
        CREATE TABLE u (id INTEGER PRIMARY KEY, at DATE); INSERT INTO u VALUES (1, '2020-01-01'), (2, '2020-02-01');"""
    lines = run(sqlite_file(tmp_path / "t.db", script), tmp_path / "out")
    assert column(tmp_path / "out", "t", name) == [2020, 2021]
    assert any(line.startswith("t: no time column; its rows exist from: always there") for line in lines)
    assert "birth" in name or any(f"not taken for its time: {name} (integer, not times)" in line for line in lines)


def test_digits_that_are_dates_in_a_notation_to_be_said_are_refused_where_the_name_says_date() -> None:
    for values, declared in (
        (["240102", "240113"], "%y%m%d"),
        (["02012024", "13012024"], "%d%m%Y"),
        (["19724", "19735"], "unix_days"),
    ):
        with pytest.raises(
            ImportRefused, match=rf"table 't', column 'date', row 0 .*formats: {{date: \"{declared}\"}}"
        ):
            typed(values, "date")
        assert typed(values, "date", formats={"date": declared})[0] == [datetime(2024, 1, 2), datetime(2024, 1, 13)]


def test_seconds_among_milliseconds_are_refused_in_a_column_named_like_a_time() -> None:
    with pytest.raises(ImportRefused, match=r"row 2 of the source.*is none of the times \(UNIX seconds\) that 2 of 4"):
        typed([unix_us(day) // unit for day, unit in zip(DAYS, (10**6, 10**6, 1000, 1000), strict=False)], "ts")


@pytest.mark.parametrize("kind", ["integer", "float"])
def test_numbers_of_parquet_are_times_where_they_are_declared(kind: Kind) -> None:
    seconds = [unix_us(day) // 10**6 for day in DAYS[:3]]
    assert typed([*seconds, None], is_time=True, kind=kind, text_types="declared")[0] == [*DAYS[:3], None]
    with pytest.raises(ImportRefused, match="row 0 of the source.*got 5"):
        typed([5, 6], is_time=True, kind=kind)


@pytest.mark.parametrize("unit", [1, 1000])
def test_datetime_columns_of_sqlite_hold_numbers(tmp_path: Path, unit: int) -> None:
    values = ", ".join(f"({i}, {unix_us(day) // 10**6 * unit})" for i, day in enumerate(DAYS[:3]))
    source = sqlite_file(
        tmp_path / "t.db", f"CREATE TABLE t (id INTEGER PRIMARY KEY, x DATETIME); INSERT INTO t VALUES {values}"
    )
    run(source, tmp_path / "out", val_timestamp="2024-01-03", test_timestamp="2024-01-04")
    assert column(tmp_path / "out", "t", "x") == DAYS[:3]
    mixed = f"{values}, (7, '2024-01-02 05:00:00')"
    source = sqlite_file(
        tmp_path / "m.db", f"CREATE TABLE t (id INTEGER PRIMARY KEY, x DATETIME); INSERT INTO t VALUES {mixed}"
    )
    with pytest.raises(
        ImportRefused, match=r"table 't', column 'x', row 3 of the source \(key 7\): '2024-01-02 05:00:00' is none"
    ):
        run(source, tmp_path / "mixed", val_timestamp="2024-01-03", test_timestamp="2024-01-04")
