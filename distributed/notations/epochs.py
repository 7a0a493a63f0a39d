"""Numbers as times: UNIX seconds to nanoseconds, YYYYMMDD and its kin, Julian days, serial days of Excel.

Every reading has a range of numbers that give a time of 1990 to 2100 (dates written as digits: 1900 to 2100), and the ranges do not overlap, but for
six digits, which may be YYYYMM or YYMMDD; those are refused where both fit. So a whole column has one reading or none.

A year or a month is read as its last moment: a row that is dated by its first one would be seen before it happened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from distributed.notations.notation import Sql

_FIRST_S, _LAST_S = 631_152_000, 4_102_444_800  # 1990 and 2100


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number as SQL: an integer, null where it is none, and a float. Times of day are fractions in some readings."""

    integer: str
    float: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A way to take a number for a time.

    Args:
        name: What a report calls it.
        declared: What `formats:` of a schema file calls it.
        first, last: The numbers that can be such times.
        value: From the SQL of the integer to the SQL of its time.
        fraction: From the SQL of the float to the SQL of its time, where fractions have a meaning.
        caution: What a reader of the report must know.
    """

    name: str
    declared: str
    first: float
    last: float
    value: Sql
    fraction: Sql | None = None
    caution: str = ""

    def time(self, number: Number) -> str:
        """Returns the SQL of the time, null where the number is out of range or no such date."""
        sql = self.value(number.integer)
        if self.fraction is not None:
            sql = f"coalesce({sql}, {self.fraction(number.float)})"
        return f"CASE WHEN {number.float} BETWEEN {self.first} AND {self.last} THEN {sql} END"

    def unbounded(self, number: Number) -> str:
        """Returns the SQL of the time for a declared reading, whatever its year."""
        sql = f"TRY({self.value(number.integer)})"
        return sql if self.fraction is None else f"coalesce({sql}, TRY({self.fraction(number.float)}))"


def _unix(us_per_unit: int) -> Sql:
    return lambda integer: f"make_timestamp({integer} * {us_per_unit})"


def _digits(strptime_format: str, width: int) -> Sql:
    # DuckDB reads %Y of fewer digits, so that the width is part of the notation.
    def value(integer: str) -> str:
        text = f"CAST({integer} AS VARCHAR)"
        return f"CASE WHEN length({text}) = {width} THEN try_strptime({text}, '{strptime_format}') END"

    return value


def ends_of(unit: str, start: str) -> str:
    """Returns the SQL of the last microsecond of a `month` or a `year` that begins at `start`."""
    return f"({start} + INTERVAL 1 {unit} - INTERVAL 1 MICROSECOND)"


def _days(origin: float) -> Sql:
    """Returns the SQL of days since `origin`, the day number of 1970-01-01, to milliseconds."""
    return lambda days: (
        f"make_timestamp(TRY_CAST(round((CAST({days} AS DOUBLE) - {origin}) * 86400000) AS BIGINT) * 1000)"
    )


UNIX_S = Reading(
    name="UNIX seconds", declared="unix_s", first=_FIRST_S, last=_LAST_S, value=_unix(10**6),
    fraction=lambda number: f"make_timestamp(TRY_CAST(round({number} * 1000000) AS BIGINT))",
)  # fmt: skip
UNIX_MS = Reading(
    name="UNIX milliseconds", declared="unix_ms", first=_FIRST_S * 10**3, last=_LAST_S * 10**3, value=_unix(10**3),
    fraction=lambda number: f"make_timestamp(TRY_CAST(round({number} * 1000) AS BIGINT))",
)  # fmt: skip
UNIX_US = Reading(
    name="UNIX microseconds", declared="unix_us", first=_FIRST_S * 10**6, last=_LAST_S * 10**6, value=_unix(1)
)
# From 1991 on: in 1990 nanoseconds are as large as .NET ticks of our time.
UNIX_NS = Reading(
    name="UNIX nanoseconds", declared="unix_ns", first=662_688_000 * 10**9, last=_LAST_S * 10**9,
    value=lambda integer: f"make_timestamp({integer} // 1000)",
)  # fmt: skip
YYYYMMDD = Reading(name="YYYYMMDD", declared="%Y%m%d", first=19000101, last=21001231, value=_digits("%Y%m%d", 8))
YYYYMMDDHHMM = Reading(
    name="YYYYMMDDhhmm", declared="%Y%m%d%H%M", first=190001010000, last=210012312359, value=_digits("%Y%m%d%H%M", 12)
)
YYYYMMDDHHMMSS = Reading(
    name="YYYYMMDDhhmmss", declared="%Y%m%d%H%M%S", first=19000101000000, last=21001231235959,
    value=_digits("%Y%m%d%H%M%S", 14),
)  # fmt: skip
YYYYMM = Reading(
    name="YYYYMM", declared="%Y%m", first=190001, last=210012, value=lambda integer: ends_of("month", _digits("%Y%m", 6)(integer)),
    caution="taken as the last moment of the month, so that no row is seen before it happened",
)  # fmt: skip
YYYY = Reading(
    name="years", declared="%Y", first=1900, last=2100, value=lambda integer: ends_of("year", _digits("%Y", 4)(integer)),
    caution="taken as the last moment of the year, so that no row is seen before it happened",
)  # fmt: skip
JULIAN_DAYS = Reading(
    name="Julian days",
    declared="julian_day",
    first=2415020,
    last=2488070,
    value=_days(2440587.5),
    fraction=_days(2440587.5),
)
EXCEL = Reading(
    name="serial days of Excel", declared="excel", first=32874, last=73051, value=_days(25569), fraction=_days(25569)
)
YYMMDD = Reading(
    name="YYMMDD", declared="%y%m%d", first=101, last=991231,
    value=lambda integer: f"try_strptime(lpad(CAST({integer} AS VARCHAR), 6, '0'), '%y%m%d')",
)  # fmt: skip
UNIX_DAYS = Reading(
    name="days since 1970-01-01", declared="unix_days", first=7305, last=32873, value=_days(0), fraction=_days(0)
)
READINGS = (
    UNIX_S, UNIX_MS, UNIX_US, UNIX_NS, YYYYMMDD, YYYYMMDDHHMM, YYYYMMDDHHMMSS, YYYYMM, YYYY, JULIAN_DAYS, EXCEL
)  # fmt: skip
"""Readings that are found by the numbers alone in a column that is known to be a time."""
DECLARED_ONLY = (YYMMDD, UNIX_DAYS)
"""Readings that are recognised, but must be declared: their century or their origin is a guess."""

_TIME_WORDS = {
    "at", "on", "date", "datetime", "time", "timestamp", "ts", "dt", "day", "created", "updated", "modified", "epoch", "since",
    "until", "when", "expires", "expiry", "due", "start", "end", "begin", "seen", "born", "birthday", "unix", "datum", "fecha",
}  # fmt: skip
_DATE_WORDS = {"date", "datetime", "day", "dt", "at", "on", "timestamp", "datum", "fecha"}
_MONTH_WORDS = {"month", "yearmonth", "yyyymm", "ym", "period", "date"}
_YEAR_WORDS = {"year", "yr", "yyyy"}
_PLAIN_WORDS = {"calendar", "report", "reporting", "reported", "observation", "obs", "data", "survey", "census"}
"""Names that may stand beside a year or a month that dates its row; a `model_year` or a `birth_year` does not, and a season or a fiscal year ends
at another time than its year."""


def words_of(column: str) -> set[str]:
    """Returns the words of a column's name, in lower case: `orderedAt` and `ordered_at` are `ordered` and `at`."""
    spaced = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", column)
    words = {word for word in re.split(r"[\W_\d]+", spaced.lower()) if word}
    return words | {
        ending for ending in ("date", "time", "timestamp", "year", "month") for word in words if word.endswith(ending)
    }


def by_name(column: str) -> tuple[Reading, ...]:
    """Returns the readings that a column of numbers may have by its name alone, most of all columns none."""
    words = words_of(column)
    if not words & _TIME_WORDS:
        return ()
    days = (JULIAN_DAYS, EXCEL) if words & _DATE_WORDS else ()  # a `start_time` of 45293 may be seconds of a day
    return (UNIX_S, UNIX_MS, UNIX_US, UNIX_NS, YYYYMMDD, YYYYMMDDHHMM, YYYYMMDDHHMMSS, *days)


def says_date(column: str) -> bool:
    """Returns whether a column's name says that it holds dates, whatever its numbers are."""
    return bool(words_of(column) & {"date", "datetime", "dt", "datum", "fecha"})


def weak_by_name(column: str) -> tuple[Reading, ...]:
    """Returns the readings by which a column of numbers is a row's time if nothing else in its table is one."""
    words = words_of(column)
    if words - _YEAR_WORDS - _MONTH_WORDS - _PLAIN_WORDS:
        return ()
    return (*((YYYY,) if words & _YEAR_WORDS else ()), *((YYYYMM,) if words & _MONTH_WORDS else ()))


def of_integers(column: str) -> Number:
    """Returns a column of integers as a number."""
    return Number(integer=column, float=f"CAST({column} AS DOUBLE)")


def of_floats(column: str) -> Number:
    """Returns a column of floats as a number."""
    whole = f"CASE WHEN {column} = trunc({column}) AND abs({column}) < 9e18 THEN TRY_CAST({column} AS BIGINT) END"
    return Number(integer=whole, float=column)


def of_text(text: str) -> Number:
    """Returns a column of text as a number; `7.0` is the integer 7, as pandas writes integers beside nulls."""
    plain = f"regexp_full_match({text}, '-?\\d+([.]\\d*)?([eE][+-]?\\d+)?')"
    whole = (
        f"CASE WHEN regexp_full_match({text}, '-?\\d+([.]0*)?') "
        f"THEN TRY_CAST(regexp_replace({text}, '[.]0*$', '') AS BIGINT) END"
    )
    return Number(integer=whole, float=f"CASE WHEN {plain} THEN TRY_CAST({text} AS DOUBLE) END")
