"""Times that are marks for "unknown" or "never": 1900-01-01, 1970-01-01, 9999-12-31, decades away from every other row.

In: the ordered tables. Out: the span of the times that are meant, and a note per table with rows outside it. Nothing is changed: such a row counts as
there from its time on, so one that is set too early is seen by every seed; the note says so, and how to count the mark as null. Seed times of tasks
keep to the span. Cost: one grouping by year per table.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import duckdb

from distributed.importing.keys import OrderedTable
from distributed.schema.duckdb_sql import quoted

GAP_YEARS = 10
"""Rows that are so far from the others, without any between, are named."""
_MARK_DAYS, _MARK_SHARE = 10, 0.01
"""Rows on more days than so many, and more than such a share of all, are no marks, however far they are: a history may have a gap."""
_MIN_SHARE = 0.5
"""The days of the rows that are meant are at least so many of all; else there is no telling which are. A mark is one day, of however many rows."""


@dataclass(frozen=True, kw_only=True)
class TimeSpan:
    """The first and the last time of a row, marks left aside, None where nothing has a time; and the notes on the marks."""

    first: datetime | None = None
    last: datetime | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Year:
    """The rows of one year of one table, and on how many days they are."""

    table: str
    number: int
    days: int
    first: datetime
    last: datetime


def time_span(con: duckdb.DuckDBPyConnection, ordered: Mapping[str, OrderedTable]) -> TimeSpan:
    """Returns the span of the row times of all tables, and what lies outside of it."""
    years = {
        name: _years(con, name, quoted(f"ordered_{name}"), str(table.time_col))
        for name, table in ordered.items()
        if table.time_col is not None
    }
    span, is_clear = _span(years)
    if not is_clear or span.first is None or span.last is None:
        return span
    notes = [note for name in years for note in _notes(con, ordered[name], years[name], span.first, span.last)]
    return replace(span, notes=tuple(notes))


def span_of_rows(con: duckdb.DuckDBPyConnection, times: Mapping[str, tuple[str, str]]) -> TimeSpan:
    """Returns the span of the row times of written tables, without notes.

    Args:
        con: Where they are.
        times: Per table the relation as SQL, and the name of its time column.
    """
    return _span({name: _years(con, name, *place) for name, place in times.items()})[0]


def _span(years: Mapping[str, Sequence[_Year]]) -> tuple[TimeSpan, bool]:
    """Returns the span of years per table, and whether it is clear which times are marks."""
    groups = _groups(sorted((year for of_table in years.values() for year in of_table), key=lambda year: year.first))
    if not groups:
        return TimeSpan(), False
    edges = _meant(groups)
    if edges is None:
        return TimeSpan(first=groups[0][0].first, last=max(year.last for year in groups[-1])), False
    return TimeSpan(first=edges[0], last=edges[1]), True


def notes_on_marked_cells(con: duckdb.DuckDBPyConnection, ordered: Mapping[str, OrderedTable]) -> list[str]:
    """Returns a note on every other column of times with marks: 1900-01-01 as the time from which a cell is known says that it always was."""
    notes = []
    for table in ordered.values():
        schema = table.plan.schema
        for column, kind in table.kinds.items():
            if kind != "timestamp" or column == table.time_col or column in table.plan.key_cols:
                continue
            years = _years(con, table.plan.name, quoted(f"ordered_{table.plan.name}"), column)
            edges = _meant(_groups(years))
            if edges is None:
                continue
            cells = sorted(cell for cell, time in schema.known_from.items() if time == column)
            before, after = "the cells hold these times like any other", "the cells hold these times like any other"
            if cells:
                before = f"{', '.join(cells)} counts as known to every seed in these rows, which leaks what was filled in later"
                after = f"{', '.join(cells)} is never known in these rows"
            if column == schema.valid_to:
                before, after = "these versions are over before everything else, so no seed sees them", ""
            nulls = "counts them as null"
            if cells:
                nulls += " (never known)"
            notes += _notes_of(con, table, column, years, *edges, before=before, after=after, nulls=nulls)
    return notes


def _meant(groups: Sequence[Sequence[_Year]]) -> tuple[datetime, datetime] | None:
    """Returns the first and the last time that are no marks; None where it is not clear which are.

    The group on the most days is meant, of the most rows where they are on equally many, and every other that is too large for a mark.
    """
    if not groups:
        return None
    sizes = [(_days(group), sum(year.number for year in group)) for group in groups]
    largest, num_rows = max(sizes), sum(rows for _, rows in sizes)
    if largest[0] < _MIN_SHARE * sum(days for days, _ in sizes) or sizes.count(largest) > 1:
        return None
    meant = [
        group
        for group, (days, rows) in zip(groups, sizes, strict=True)
        if (days, rows) == largest or (days > _MARK_DAYS and rows > _MARK_SHARE * num_rows)
    ]
    return min(group[0].first for group in meant), max(year.last for group in meant for year in group)


def _years(con: duckdb.DuckDBPyConnection, table: str, rows: str, time_col: str) -> list[_Year]:
    column = quoted(time_col)
    found = con.execute(
        f"SELECT count(*), count(DISTINCT CAST({column} AS DATE)), min({column}), max({column}) FROM {rows} WHERE {column} IS NOT NULL "
        f"GROUP BY year({column}) ORDER BY 3"
    ).fetchall()
    return [_Year(table=table, number=number, days=days, first=first, last=last) for number, days, first, last in found]


def _days(group: Sequence[_Year]) -> int:
    """Returns the number of days on which the table with the most of them has rows."""
    return max(sum(year.days for year in group if year.table == table) for table in {year.table for year in group})


def _groups(years: Sequence[_Year]) -> list[list[_Year]]:
    """Returns the years in groups with a gap of GAP_YEARS between any two."""
    groups: list[list[_Year]] = []
    last: datetime | None = None
    for year in years:
        if last is None or year.first - last >= timedelta(days=365.25 * GAP_YEARS):
            groups.append([])
        groups[-1].append(year)
        last = year.last if last is None else max(last, year.last)
    return groups


def _notes(
    con: duckdb.DuckDBPyConnection, table: OrderedTable, years: Sequence[_Year], first: datetime, last: datetime
) -> list[str]:
    before = (
        f"they count as there before everything else, so every seed sees them; seed times of tasks start at {first}"
    )
    after = f"no seed ever sees them; seed times of tasks end with {last}"
    nulls = "counts them as null (rows without a time are never seen)"
    column = str(table.time_col)
    return _notes_of(con, table, column, years, first, last, before=before, after=after, nulls=nulls)


def _notes_of(
    con: duckdb.DuckDBPyConnection,
    table: OrderedTable,
    column: str,
    years: Sequence[_Year],
    first: datetime,
    last: datetime,
    *,
    before: str,
    after: str,
    nulls: str,
) -> list[str]:
    """Returns a note on the times before `first` and one on those after `last`, with what they do; a side where they do nothing has none."""
    notes = []
    for condition, edge, side, effect in (("<", first, "before", before), (">", last, "after", after)):
        outside = [year for year in years if (year.last < first if side == "before" else year.first > last)]
        if not outside or not effect:
            continue
        number = sum(year.number for year in outside)
        near = max(year.last for year in outside) if side == "before" else min(year.first for year in outside)
        gap_years = abs((edge - near).days) // 365
        name = table.plan.name
        days = con.execute(
            f"SELECT CAST({quoted(column)} AS DATE)::VARCHAR, count(*) FROM {quoted(f'ordered_{name}')} "
            f"WHERE {quoted(column)} {condition} TIMESTAMP '{edge}' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3"
        ).fetchall()
        option = " ".join(shlex.quote(f"{name}.{column}={day}") for day, _ in days)
        remedy = f"--null-values {option} {nulls}"
        if column not in table.plan.columns:  # the time of a key (key_times.py)
            remedy = f"correct these keys in the source, or name another time (--time-cols {name} COLUMN)"
        notes.append(
            f"{name}.{column}: {number:,} rows at {', '.join(day for day, _ in days)}{' ...' if number > sum(n for _, n in days) else ''}, "
            f"{gap_years} years {side} all others: a mark for 'unknown'? {effect}; {remedy}"
        )
    return notes
