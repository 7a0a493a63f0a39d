"""Times that are marks for "unknown" or "never": 1900-01-01, 1970-01-01, 9999-12-31, decades away from every other row.

In: the ordered tables. Out: the span of the times that are meant, and a note per table with rows outside it. Nothing is changed: such a row counts as
there from its time on, so one that is set too early is seen by every seed; the note says so, and how to count the mark as null. Seed times of tasks
keep to the span. Cost: one grouping by year per table.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from distributed.importing.keys import OrderedTable
from distributed.schema.duckdb_sql import quoted

GAP_YEARS = 10
"""Rows that are so far from the others, without any between, are named."""
_MARK_DAYS, _MARK_SHARE = 10, 0.01
"""Rows on more days than so many, and more than such a share of all, are no marks, however far they are: a history may have a gap."""
_MIN_SHARE = 0.5
"""The rows that are meant are at least so many of all; else there is no telling which are."""


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
    years = {name: _years(con, table) for name, table in ordered.items() if table.time_col is not None}
    groups = _groups(sorted((year for of_table in years.values() for year in of_table), key=lambda year: year.first))
    if not groups:
        return TimeSpan()
    sizes = [sum(year.number for year in group) for group in groups]
    main = sizes.index(max(sizes))
    if sizes[main] < _MIN_SHARE * sum(sizes):
        return TimeSpan(first=groups[0][0].first, last=max(year.last for year in groups[-1]))
    least = _MARK_SHARE * sum(sizes)
    meant = [group for group, size in zip(groups, sizes, strict=True) if size > least and _days(group) > _MARK_DAYS]
    meant.append(groups[main])
    first = min(group[0].first for group in meant)
    last = max(year.last for group in meant for year in group)
    notes = [note for name in years for note in _notes(con, ordered[name], years[name], first, last)]
    return TimeSpan(first=first, last=last, notes=tuple(notes))


def _years(con: duckdb.DuckDBPyConnection, table: OrderedTable) -> list[_Year]:
    column, rows = quoted(str(table.time_col)), quoted(f"ordered_{table.plan.name}")
    found = con.execute(
        f"SELECT count(*), count(DISTINCT CAST({column} AS DATE)), min({column}), max({column}) FROM {rows} WHERE {column} IS NOT NULL "
        f"GROUP BY year({column}) ORDER BY 3"
    ).fetchall()
    return [
        _Year(table=table.plan.name, number=number, days=days, first=first, last=last)
        for number, days, first, last in found
    ]


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
    notes = []
    for condition, edge, side in (("<", first, "before"), (">", last, "after")):
        outside = [year for year in years if (year.last < first if side == "before" else year.first > last)]
        if not outside:
            continue
        number = sum(year.number for year in outside)
        near = max(year.last for year in outside) if side == "before" else min(year.first for year in outside)
        gap_years = abs((edge - near).days) // 365
        name, column = table.plan.name, str(table.time_col)
        days = con.execute(
            f"SELECT CAST({quoted(column)} AS DATE)::VARCHAR, count(*) FROM {quoted(f'ordered_{name}')} "
            f"WHERE {quoted(column)} {condition} TIMESTAMP '{edge}' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3"
        ).fetchall()
        option = " ".join(shlex.quote(f"{name}.{column}={day}") for day, _ in days)
        effect = (
            f"they count as there before everything else, so every seed sees them; seed times of tasks start at {first}"
            if side == "before"
            else f"no seed ever sees them; seed times of tasks end with {last}"
        )
        notes.append(
            f"{name}.{column}: {number:,} rows at {', '.join(day for day, _ in days)}{' ...' if number > sum(n for _, n in days) else ''}, "
            f"{gap_years} years {side} all others: a mark for 'unknown'? {effect}; --null-values {option} counts them as null "
            "(rows without a time are never seen)"
        )
    return notes
