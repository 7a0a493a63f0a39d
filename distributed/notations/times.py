"""Times as text: ISO 8601, years first, month names, RFC 2822, and dates of which day and month must be told apart.

Times with an offset are moved to UTC; times without one are taken as UTC. `02/01/2024` is read only where the whole column leaves one reading:
some day is larger than 12. Years of two digits are read only by a declared format.
"""

from __future__ import annotations

import re

from distributed.notations.epochs import ends_of
from distributed.notations.notation import Notation, Sql, first_of, matched

_OFFSET = r"( ?(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?))?"
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
_CLOCK_12 = r"(0?[1-9]|1[0-2]):\d{2}(:\d{2}([.,]\d{1,9})?)? ?[AaPp][.]?[Mm][.]?"
_TIME = rf"((, ?|T| +)({_CLOCK}|{_CLOCK_12}){_OFFSET})?"
_MONTH = (
    r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|january|february|march|april|june|july|august|september|october|"
    r"november|december)"
)
_WEEKDAY = r"(?i:(?:mon|tue|tues|wed|thu(?:rs?)?|fri|sat|sun|monday|tuesday|wednesday|thursday|friday|saturday|sunday)[.,]* +)?"


def _moment(text: str) -> str:
    """The SQL of a time, of an ISO date with a clock of 24 or 12 hours and an offset."""
    bare = f"regexp_replace({text}, ' ?[AaPp][.]?[Mm][.]?($|[ Z+-])', '\\1')"
    bare = _offset(bare)
    bare = f"replace(regexp_replace({bare}, '(\\d)(, ?|T| +)(\\d{{1,2}}:)', '\\1 \\3'), ',', '.')"
    # Through TIMESTAMPTZ, because DuckDB's cast to TIMESTAMP drops an offset such as +02:00 without a word.
    us = f"epoch_us(TRY_CAST({bare} AS TIMESTAMPTZ))"
    half = f"upper(regexp_extract({text}, ':\\d{{2}}[^AaPp]*([AaPp])[.]?[Mm]', 1))"
    noon = f"regexp_matches({text}, '[ T]12:')"
    hours = f"CASE {half} WHEN 'P' THEN CASE WHEN {noon} THEN 0 ELSE 12 END WHEN 'A' THEN CASE WHEN {noon} THEN -12 ELSE 0 END ELSE 0 END"
    return f"make_timestamp({us} + 3600000000 * ({hours}))"


def _iso(text: str) -> str:
    return f"make_timestamp(epoch_us(TRY_CAST(replace({_offset(text)}, ',', '.') AS TIMESTAMPTZ)))"


def _offset(text: str) -> str:
    """The SQL of a time whose offset stands as DuckDB's cast takes it: `+00` for UTC, no blank before."""
    return f"regexp_replace(regexp_replace({text}, ' ?(Z|UTC|GMT)$', '+00'), ' ([+-]\\d{{2}}(:?\\d{{2}})?)$', '\\1')"


def _numbered(pattern: str, order: str) -> Sql:
    """Returns the SQL of a time whose date is three numbers; `order` is the replacement that puts the year first."""
    return matched(pattern + _TIME, lambda text: _moment(f"regexp_replace({text}, '^{pattern}', '{order}')"))


def _named(pattern: str, order: str) -> Sql:
    """Returns the SQL of a time whose date has the name of its month; `order` gives `day month year`."""

    def value(text: str) -> str:
        formats = "['%d %b %Y', '%d %B %Y']"
        name = f"regexp_replace(regexp_extract({text}, '^{pattern}'), '^{pattern}$', '{order}')"
        name = f"regexp_replace({name}, '(?i)sept ', 'Sep ')"
        day = f"strftime(try_strptime({name}, {formats}), '%Y-%m-%d')"
        return _moment(f"{day} || regexp_replace({text}, '^{pattern}', '')")

    return matched(pattern + _TIME, value)


def _posix(text: str) -> str:
    """The SQL of a time as C's ctime writes it, `Tue Jan  2 05:00:00 2024`, or Twitter, with an offset before the year."""
    pattern = rf"^[A-Za-z]{{3}} ({_MONTH}) +(\d{{1,2}}) (\d{{2}}:\d{{2}}:\d{{2}})( [+-]\d{{4}}| UTC| GMT)? (\d{{4}})$"
    moved = f"regexp_replace({text}, '{pattern}', '\\2 \\1 \\5 \\3\\4')"
    return matched(pattern, lambda _: _DAY_MONTH_NAME(moved))(text)


ISO_PATTERN = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?" + _OFFSET + ")?"
HAS_OFFSET = r".*:\d{2}.*(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)"
"""The pattern of a time that has a clock and says its offset."""
_DAY_MONTH_NAME = _named(_WEEKDAY + rf"(\d{{1,2}})(?:[snrt][tdh])?[ ./-]+({_MONTH})[.]?[ ,./-]+(\d{{4}})", r"\1 \2 \3")
_MONTH_NAME_DAY = _named(_WEEKDAY + rf"({_MONTH})[.]? +(\d{{1,2}})(?:[snrt][tdh])?,? +(\d{{4}})", r"\2 \1 \3")
_COMPACT = matched(r"\d{8}T\d{6}Z?", lambda text: f"try_strptime(replace({text}, 'Z', ''), '%Y%m%dT%H%M%S')")

ISO = Notation(name="ISO 8601", kind="timestamp", value=matched(ISO_PATTERN, _iso), declared="iso")
YEAR_FIRST = Notation(
    name="YYYY/MM/DD", kind="timestamp", value=_numbered(r"(\d{4})[/.-](\d{1,2})[/.-](\d{1,2})", r"\1-\2-\3")
)
MONTH_NAMES = Notation(
    name="dates with names of months", kind="timestamp", value=first_of(_DAY_MONTH_NAME, _MONTH_NAME_DAY, _posix)
)
COMPACT = Notation(name="YYYYMMDDThhmmss", kind="timestamp", value=_COMPACT)
DAY_FIRST = Notation(
    name="DD/MM/YYYY",
    kind="timestamp",
    value=_numbered(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", r"\3-\2-\1"),
    declared="%d/%m/%Y",
)
MONTH_FIRST = Notation(
    name="MM/DD/YYYY",
    kind="timestamp",
    value=_numbered(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", r"\3-\1-\2"),
    declared="%m/%d/%Y",
)
YEAR_MONTH = Notation(
    name="YYYY-MM",
    kind="timestamp",
    value=matched(
        r"\d{4}[/-]\d{2}", lambda text: ends_of("month", f"try_strptime(regexp_replace({text}, '/', '-'), '%Y-%m')")
    ),
)
CERTAIN = (ISO, YEAR_FIRST, MONTH_NAMES, COMPACT)
"""Notations that have one reading; a column may mix them."""
SHORT_YEAR_PATTERN = r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2}" + _TIME

_MONTH_STEM = (
    r"(?i:jan|ene|gen|feb|fév|fev|mar|mär|maa|mrt|apr|avr|abr|may|mai|mei|mag|maj|jun|jui|giu|jul|lug|aug|aoû|ago|sep|set|oct|okt|ott|out|"
    r"nov|dec|déc|dez|dic)\pL{0,7}[.]?"
)
_DAY_NUMBER = r"\d{1,2}(?:st|nd|rd|th|[.])?"
_SHAPES = (
    r"\d{4}[-/.–年 ]\d{1,2}[-/.–月 ]\d{1,2}日?",
    r"\d{1,2}[-/.–]\d{1,2}[-/.–]\d{4}",
    rf"(?:\pL{{2,10}}[.,]* +)?{_DAY_NUMBER}[ ./-]*{_MONTH_STEM}[ ,./-]*(?:\d{{4}}|'?\d{{2}})",
    rf"(?:\pL{{2,10}}[.,]* +)?{_MONTH_STEM}[ -]+{_DAY_NUMBER},?[ -]+(?:\d{{4}}|'?\d{{2}})",
)
UNREAD_DATE_PATTERN = (
    rf"['\"]?(?:{'|'.join(_SHAPES)})(?:[ T,:–-]*\d{{1,2}}([:.h]\d{{2}}| ?[AaPp][.]?[Mm])[^\n]{{0,60}})?['\"]?"
    r"|(?:19|20)\d{6}[ T_-]?\d{2}:?\d{2}[^\n]{0,40}|/Date\(-?\d+([+-]\d{4})?\)/"
)
"""The pattern of a text that is a day to a reader, in whatever notation."""
COARSE_PATTERN = (
    rf"(?:0?[1-9]|1[0-2])[/.-](?:19|20)\d{{2}}|{_MONTH_STEM}[ ,./-]*(?:(?:19|20)\d{{2}}|'?\d{{2}})"
    r"|(?:19|20)\d{2}[ /-]?[QqWwHh]\d{1,2}(-\d)?|[QqHh][1-4][ /-]?(?:19|20)\d{2}|(?:19|20)\d{2}-[0-3]\d{2}"
)
"""The pattern of a text that is a month, a quarter, a week or a numbered day to a reader."""
CLOCK_PATTERN = rf"{_CLOCK}|{_CLOCK_12}"
UNSEPARATED = Notation(
    name="DDMMYYYY or MMDDYYYY", kind="timestamp",
    value=matched(r"\d{8}", lambda text: f"coalesce(try_strptime({text}, '%d%m%Y'), try_strptime({text}, '%m%d%Y'))"),
)  # fmt: skip


def declared_time(strptime_format: str) -> Notation:
    """Returns the notation of a strptime format, of which an offset (%z) moves the time to UTC; without a day it is the end of the month or year.

    Raises:
        ValueError: The format has no year.
    """
    literal = strptime_format.replace("'", "''")
    directives = set(re.findall(r"%-?(.)", strptime_format.replace("%%", "")))
    if not directives & set("YyGcxs"):
        raise ValueError(f"format {strptime_format!r} has no year")
    unit = "" if directives & set("dejcxsUWVuw") else "month" if directives & set("mbBh") else "year"

    def value(text: str) -> str:
        moment = f"make_timestamp(epoch_us(try_strptime({text}, '{literal}')))"
        return ends_of(unit, moment) if unit else moment

    return Notation(
        name=f"format {strptime_format!r}" + (f", taken as the last moment of the {unit}" if unit else ""),
        kind="timestamp",
        value=value,
        declared=strptime_format,
    )
