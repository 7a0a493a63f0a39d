"""A column that is a time, by its name or because somebody says so: the one notation that reads all its values, or a refusal.

The candidates are the notations of times.py for text and the readings of epochs.py for digits. One of them must read every value; where two do and
the times differ, both are named and nobody chooses for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from distributed.notations import epochs
from distributed.notations.column import NOTED_SHARE, REFUSED_SHARE, ColumnType, StagedColumn
from distributed.notations.epochs import Number, Reading
from distributed.notations.notation import Notation, Sql, first_of, matched
from distributed.notations.times import (
    CERTAIN,
    DAY_FIRST,
    HAS_OFFSET,
    ISO,
    MONTH_FIRST,
    SHORT_YEAR_PATTERN,
    YEAR_FIRST,
    YEAR_MONTH,
)
from distributed.schema.duckdb_sql import first_row
from distributed.schema.refusals import ImportRefused


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to read a column as times: SQL over `v`, the text or the number."""

    name: str
    value: Sql
    declared: str = ""
    caution: str = ""


CERTAIN_TEXT = Candidate(
    name="times", value=first_of(*(notation.value for notation in (*CERTAIN, YEAR_MONTH))), declared="iso"
)
TEXT_TIMES = (
    CERTAIN_TEXT,
    Candidate(name=DAY_FIRST.name, value=DAY_FIRST.value, declared=DAY_FIRST.declared),
    Candidate(name=MONTH_FIRST.name, value=MONTH_FIRST.value, declared=MONTH_FIRST.declared),
)
SHORT_YEARS = matched(SHORT_YEAR_PATTERN, lambda text: text)


def of_digits(readings: Sequence[Reading], number: str = "text") -> tuple[Candidate, ...]:
    """Returns the readings of a column of digits, which is `text`, `integer` or `float`."""
    make = {"text": epochs.of_text, "integer": epochs.of_integers, "float": epochs.of_floats}[number]
    return tuple(
        Candidate(name=reading.name, value=_timed(reading, make), declared=reading.declared, caution=reading.caution)
        for reading in readings
    )


def _timed(reading: Reading, make: Callable[[str], Number]) -> Sql:
    return lambda value: reading.time(make(value))


def counts(column: StagedColumn, candidates: Sequence[Candidate]) -> tuple[int, list[int]]:
    """Returns how many values there are, and how many each candidate reads: one scan."""
    total, *found = column.counts("v", *(candidate.value("v") for candidate in candidates))
    return total, found


def fitting(
    column: StagedColumn, candidates: Sequence[Candidate], found: Sequence[int], total: int
) -> Candidate | None:
    """Returns the candidate that reads all values, None where there is none.

    Raises:
        ImportRefused: Two candidates read all values, and give different times.
    """
    fit = [candidate for candidate, number in zip(candidates, found, strict=True) if number == total]
    if len(fit) > 1:
        first, second = fit[:2]
        readings = first.value("v"), second.value("v")
        rows = column.examples(f"{readings[0]} <> {readings[1]}", *readings)
        if rows:
            row = rows[0]
            raise ImportRefused(
                f"{column.where}: all {total:,} values can be {first.name} and can be {second.name}: {column.place(row)}, "
                f"{row[1]!r}, is {row[3]} or {row[4]}; say which in the schema file, under {column.plan.name}: "
                f'`formats: {{{column.name}: "{first.declared}"}}` or `formats: {{{column.name}: "{second.declared}"}}`, '
                f"or leave it out by {column.exclude}"
            )
    return fit[0] if fit else None


def time_type(column: StagedColumn, candidate: Candidate) -> ColumnType:
    """Returns the type of a column that a candidate reads."""
    if candidate is CERTAIN_TEXT:
        return _certain(column)
    caution = f"; {candidate.caution}" if candidate.caution else ""
    span = _span(column, candidate.value)
    return ColumnType(
        expression=candidate.value(column.sql),
        kind="timestamp",
        clean=column.text if column.is_text else None,
        reading=candidate.name,
        notes=(f"{column.label}: read as times, {candidate.name}{span}{caution}",),
        nulls=column.spelled_nulls(is_typed=True) if column.is_text else {},
    )


def iso_type(column: StagedColumn) -> ColumnType | None:
    """Returns the type of a text column whose values are all ISO 8601 times, the usual case; None for any other."""
    total, iso = column.counts("v", ISO.value("v"))
    return _certain(column, (ISO,)) if 0 < iso == total else None


def _certain(column: StagedColumn, notations: Sequence[Notation] = (*CERTAIN, YEAR_MONTH)) -> ColumnType:
    has_offset = matched(HAS_OFFSET, lambda text: text)("v")
    has_clock = matched(r".*\d:\d\d.*", lambda text: text)("v")
    total, with_offset, with_clock, *found = column.counts(
        "v", has_offset, has_clock, *(notation.value("v") for notation in notations)
    )
    numbers = dict(zip(notations, found, strict=True))
    iso, months = numbers[ISO], numbers.get(YEAR_MONTH, 0)
    used = [notation for notation in notations if numbers[notation]]
    if iso == numbers.get(YEAR_FIRST):  # the year is first in every ISO date
        used = [notation for notation in used if notation is not YEAR_FIRST]
    value = first_of(*(notation.value for notation in used))
    reading = "" if iso == total else " and ".join(notation.name for notation in used)
    notes = []
    if reading:
        notes.append(f"{column.label}: read as times, {reading}{_span(column, value)}")
    if months:
        notes.append(f"{column.label}: {months:,} months are {epochs.YYYYMM.caution}")
    if 0 < with_offset < with_clock:
        notes.append(
            f"{column.label}: {with_clock - with_offset:,} of {with_clock:,} times say no offset, others do; those without are taken as UTC"
        )
    return ColumnType(
        expression=value(column.sql),
        kind="timestamp",
        clean=column.text,
        reading=reading,
        notes=tuple(notes),
        nulls=column.spelled_nulls(is_typed=True),
    )


def _span(column: StagedColumn, value: Sql) -> str:
    """Returns the first and the last time, for a note."""
    texts = f"(SELECT {column.text} AS v FROM {column.staged})"
    found = first_row(column.con, f"SELECT min(value), max(value) FROM (SELECT {value('v')} AS value FROM {texts})")
    first, last = found or (None, None)
    return f" ({first} to {last})" if first is not None else ""


def declared_time_type(column: StagedColumn, staged_as: str) -> ColumnType:
    """Returns the type of a column that must be a time, staged as `text`, `integer` or `float`.

    Raises:
        ImportRefused: No notation reads all its values, or several do.
    """
    text = staged_as == "text"
    if text and (iso := iso_type(column)):
        return iso
    digits = of_digits((*epochs.READINGS, epochs.YYMMDD), staged_as)
    candidates = (*TEXT_TIMES, *digits) if text else digits
    total, found = counts(column, candidates)
    if total == 0:
        return ColumnType(
            expression="CAST(NULL AS TIMESTAMP)",
            kind="timestamp",
            nulls=column.spelled_nulls(is_typed=True) if column.is_text else {},
        )
    chosen = fitting(column, candidates, found, total)
    if chosen is not None and chosen.name != epochs.YYMMDD.name:
        return time_type(column, chosen)
    _refuse_no_time(column, candidates, found, total, staged_as)


def _refuse_no_time(
    column: StagedColumn, candidates: Sequence[Candidate], found: Sequence[int], total: int, staged_as: str
) -> NoReturn:
    text = staged_as == "text"
    best = max(range(len(candidates)), key=lambda position: found[position])
    if 0 < found[best] < total:
        candidate = candidates[best]
        notation = '"%d/%m/%Y %H:%M"' if candidate.declared in ("", "iso") else f'"{candidate.declared}"'
        what = "times (ISO 8601 or alike)" if candidate is CERTAIN_TEXT else f"times ({candidate.name})"
        column.refuse_misfits(candidate.value("v"), what, found[best], total, notation=notation)
    looks_like = [(reading.name, reading.declared) for reading in epochs.DECLARED_ONLY]
    hints = of_digits(epochs.DECLARED_ONLY, staged_as)
    numbers = column.counts(*(hint.value("v") for hint in hints), *([SHORT_YEARS("v")] if text else []))
    as_seconds = of_digits((replace(epochs.UNIX_S, first=-9e15 / 1e3, last=9e12),), staged_as)[0].value("v")
    row = column.examples("v IS NOT NULL", as_seconds)[0]
    seconds = f"; as UNIX seconds it is {row[3]}" if row[3] is not None else ""
    notation = '"%d/%m/%Y"'
    guess = ""
    for (name, declared), number in zip(looks_like, numbers, strict=False):
        if number == total:
            guess, notation = f"; all {total:,} values may be {name}, which must be said", f'"{declared}"'
    if text and numbers[-1] == total:
        guess, notation = "; years of two digits must be said", '"%d/%m/%y"'
    raise ImportRefused(
        f"{column.where}, {column.place(row)}: expected a time such as an ISO 8601 time (2024-03-01 12:30:00), UNIX seconds of 1990 to "
        f"2100, or YYYYMMDD, got {row[1]!r:.80}{seconds}{guess}; {column.remedy(notation=notation)}"
    )


def named_time_type(column: StagedColumn, staged_as: str) -> ColumnType | None:
    """Returns the type of a column of numbers whose name says that it is a time, None where its numbers do not.

    Raises:
        ImportRefused: Nearly all its numbers are times, in one reading.
    """
    candidates = of_digits(epochs.by_name(column.name), staged_as)
    if not candidates:
        return None
    declared_only = of_digits(epochs.DECLARED_ONLY if epochs.says_date(column.name) else (), staged_as)
    together = Candidate(name="times", value=first_of(*(candidate.value for candidate in candidates)))
    total, (*found, in_any) = counts(column, (*candidates, *declared_only, together))
    if total == 0:
        return None
    chosen = fitting(column, candidates, found[: len(candidates)], total)
    if chosen is not None:
        return time_type(column, chosen)
    for candidate, number in zip(declared_only, found[len(candidates) :], strict=True):
        if number == total:
            what = f"what may be times ({candidate.name})"
            column.refuse_unsaid(total, total, what, f'"{candidate.declared}"')
    best = max(range(len(candidates)), key=lambda position: found[position])
    if in_any >= REFUSED_SHARE * total:  # of one reading or, as seconds among milliseconds, of several
        column.refuse_misfits(
            candidates[best].value("v"), f"times ({candidates[best].name})", found[best], total,
            notation=f'"{candidates[best].declared}"',
        )  # fmt: skip
    return None


def weak_time(column: StagedColumn, staged_as: str) -> tuple[str, str] | None:
    """Returns the SQL of a time and what it is, where a column of numbers may be a row's time for want of another."""
    candidates = of_digits(epochs.weak_by_name(column.name), staged_as)
    if not candidates:
        return None
    total, found = counts(column, candidates)
    for candidate, number in zip(candidates, found, strict=True):
        if 0 < number == total:
            return candidate.value(column.sql), f"{candidate.name} {candidate.caution}"
    return None


def near_times(
    column: StagedColumn, candidates: Sequence[Candidate], found: Sequence[int], total: int
) -> tuple[str, ...]:
    """Returns the note on a text column of which some values are times.

    Raises:
        ImportRefused: Nearly all are.
    """
    best = max(range(len(candidates)), key=lambda position: found[position])
    candidate, number = candidates[best], found[best]
    what = "times" if candidate is CERTAIN_TEXT else f"times ({candidate.name})"
    if number >= REFUSED_SHARE * total:
        column.refuse_misfits(candidate.value("v"), what, number, total, notation='"%d/%m/%Y"')
    if number >= NOTED_SHARE * total:
        return (f"{column.label}: {number:,} of {total:,} values are {what}, the others are not; it stays text",)
    return ()
