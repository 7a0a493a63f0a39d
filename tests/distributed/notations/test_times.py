"""Times as text: notations, those that need a word of the user, and values that are none."""

from __future__ import annotations

from datetime import datetime

import pytest

from distributed.schema.refusals import ImportRefused
from distributed.schema.source_table import TextTypes
from tests.distributed.notations.small_columns import DAYS, typed

FORMATS = [
    "%Y-%m-%dT%H:%M:%S+0000",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S.250000+00",
    "%Y/%m/%d %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%Y, %H:%M:%S",
    "%m-%d-%Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%B %d, %Y %I:%M:%S %p",
    "%d-%b-%Y %H:%M:%S",
    "%a %b %d %H:%M:%S %Y",
    "%Y%m%dT%H%M%S",
]


@pytest.mark.parametrize("strftime_format", FORMATS)
def test_a_notation_is_read_over_the_whole_column(strftime_format: str) -> None:
    values, lines = typed([f"{day:{strftime_format}}" for day in DAYS[:30]])
    quarter = 250_000 if ".25" in strftime_format else 0
    assert values == [day.replace(microsecond=quarter) for day in DAYS[:30]]
    iso = strftime_format.startswith("%Y-")
    assert iso or any(line.startswith("t.x: read as times") for line in lines)
    assert typed([f"{day:{strftime_format}}" for day in DAYS[:30]], is_time=True)[0] == values


def test_offsets_move_to_utc_and_a_mixture_with_none_is_said() -> None:
    values, lines = typed(["2024-01-02 05:00:00+02:00", "2024-01-03 05:00:00"], is_time=True)
    assert values == [datetime(2024, 1, 2, 3), datetime(2024, 1, 3, 5)]
    assert "t.x: 1 of 2 times say no offset, others do; those without are taken as UTC" in lines


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["01/02/2024", "03/04/2024"],
            r"all 2 values can be DD/MM/YYYY and can be MM/DD/YYYY.*formats: \{x: \"%d/%m/%Y\"\}",
        ),
        (["13/02/2024", "02/13/2024"], r"row 1 of the source.*'02/13/2024' is none of the times \(DD/MM/YYYY\)"),
        (["02/01/24", "13/01/24"], r"years of two digits.*formats: \{x: \"%d/%m/%y\"\}"),
        (["2024-01-02", "tomorrow"], r"row 1 of the source.*'tomorrow' is none of the times.*1 of 2"),
        (["2024-01-02", "2023-02-30"], r"'2023-02-30' is none of the times"),
        (["soon", "later"], r"row 0 of the source.*expected a time.*got 'soon'.*--exclude t.x"),
        (["2024-W01-2", "2024-W02-2"], r"expected a time.*got '2024-W01-2'"),
    ],
)
def test_a_declared_time_that_cannot_be_read_is_refused(values: list[str], message: str) -> None:
    with pytest.raises(ImportRefused, match=message):
        typed(values, is_time=True)


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        (["01/02/2024", "03/04/2024 10:00"], "%d/%m/%Y", [datetime(2024, 2, 1), datetime(2024, 4, 3, 10)]),
        (["01/02/2024", "03/04/2024"], "%m/%d/%Y", [datetime(2024, 1, 2), datetime(2024, 3, 4)]),
        (["02/01/24", "NA"], "%d/%m/%y", [datetime(2024, 1, 2), None]),
        (["240102", "240103"], "%y%m%d", [datetime(2024, 1, 2), datetime(2024, 1, 3)]),
        (["19724", "19725"], "unix_days", [datetime(2024, 1, 2), datetime(2024, 1, 3)]),
        (["-86400", "86400"], "unix_s", [datetime(1969, 12, 31), datetime(1970, 1, 2)]),
    ],
)
def test_a_declared_format_is_obeyed(values: list[str], declared: str, expected: list[object]) -> None:
    assert typed(values, is_time=True, formats={"x": declared})[0] == expected


def test_a_value_that_the_declared_format_does_not_read_is_refused() -> None:
    with pytest.raises(
        ImportRefused, match=r"row 1 of the source.*'2024-01-02' is none of the values in the format '%d/%m/%Y'"
    ):
        typed(["01/02/2024", "2024-01-02"], is_time=True, formats={"x": "%d/%m/%Y"})
    with pytest.raises(ImportRefused, match="no format 'dmy'; expected a strptime format"):
        typed(["01/02/2024"], is_time=True, formats={"x": "dmy"})
    with pytest.raises(ImportRefused, match="format '%Q'"):
        typed(["01/02/2024"], is_time=True, formats={"x": "%Q"})


def test_text_that_is_nearly_times_is_never_demoted_in_silence() -> None:
    times = [f"{day:%Y-%m-%d}" for day in DAYS[:20]]
    with pytest.raises(
        ImportRefused, match=r"t', column 'x', row 3 of the source.*'x3' is none of the times that 19 of 20"
    ):
        typed([*times[:3], "x3", *times[4:]])
    values, lines = typed(["a", "b", *times[:3]])
    assert "t.x: 3 of 5 values are times, the others are not; it stays text" in lines
    assert values == ["a", "b", *times[:3]]


@pytest.mark.parametrize(
    "strftime_format",
    [
        "%d-%b-%y",
        "%Y-%m-%d %H:%M:%S CET",
        "%Y-%m-%dT%H:%M:%S+01:00[Europe/Berlin]",
        "%a %b %d %Y %H:%M:%S GMT+0100 (Central European Standard Time)",
        "%Y-%m-%d-%H.%M.%S.000000",
        "%Y%m%d %H:%M:%S",
        "%d.%m.%Y %H:%M Uhr",
        "%d. Januar %Y",
        "%d/%m/%Y %I%p",
        "%Y年%m月%d日",
        "'%Y-%m-%d",
    ],
)
@pytest.mark.parametrize("text_types", ["all", "declared"])
def test_dates_in_a_notation_of_their_own_are_refused(strftime_format: str, text_types: TextTypes) -> None:
    values = [f"{day:{strftime_format}}" for day in DAYS[:20]]
    with pytest.raises(
        ImportRefused, match=r"table 't', column 'x', row 0 .*20 of 20 values are dates in a notation of"
    ):
        typed(values, text_types=text_types)
    assert typed(values, formats={"x": "text"})[0] == values


def test_dates_in_two_notations_are_refused() -> None:
    values = [*(f"{day:%Y-%m-%d}" for day in DAYS[:10]), *(f"{day:%d/%m/%Y}" for day in DAYS[10:20])]
    with pytest.raises(ImportRefused, match=r"20 of 20 values are dates in a notation of their own, or in several"):
        typed(values)


@pytest.mark.parametrize(
    "text",
    ["12 Main St", "2024-01-02_report.pdf", "Model 2024", "1.2.3", "192.168.0.17", "2024-01-02: the customer called"],
)
def test_text_with_numbers_is_not_taken_for_dates(text: str) -> None:
    assert typed([text] * 5) == ([text] * 5, [])


@pytest.mark.parametrize("text", ["01/2024", "Jan 2024", "2024-W05", "2024Q1"])
def test_months_weeks_and_quarters_that_are_not_read_are_said(text: str) -> None:
    values, lines = typed([text] * 5)
    assert values == [text] * 5
    assert any(line.startswith("t.x: 5 of 5 values look like months, quarters or weeks") for line in lines)


@pytest.mark.parametrize(
    ("text", "declared"), [("2024-02", None), ("202402", "%Y%m"), ("02/2024", "%m/%Y"), ("Feb 2024", "%b %Y")]
)
def test_a_month_is_its_last_moment_so_that_no_row_is_seen_before_it_happened(text: str, declared: str | None) -> None:
    values, lines = typed([text], is_time=True, formats={"x": declared} if declared else {})
    assert values == [datetime(2024, 2, 29, 23, 59, 59, 999_999)]
    assert any("last moment of the month" in line for line in lines)


def test_a_declared_format_without_a_year_is_refused() -> None:
    with pytest.raises(ImportRefused, match=r"column 'x': format '%H:%M' has no year.*formats: {x: text}"):
        typed(["05:00", "06:00"], formats={"x": "%H:%M"})


def test_text_that_is_nearly_times_stays_text_where_the_schema_file_says_so() -> None:
    values = [*[f"{day:%Y-%m-%d}" for day in DAYS[:20]], "never"]
    assert typed(values, formats={"x": "text"})[0] == values
