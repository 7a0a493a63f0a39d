"""Key columns that hold dates: `calendar.date`, and `sales.date` that refers to it, are keys and times at once.

RelBench's time column is a column of timestamps, while a key becomes row numbers. So a key that dates its table is written twice: as the key that it
is, and as a time in a column of its own beside it.

A key column holds dates if each of its values is a timestamp, a text in ISO 8601, or a day written as YYYYMMDD; the last only in a column whose name,
or the name of the table that it leads to, speaks of days, since eight digits may be any number. A text may also be in another notation of days
that reads each value. Up to three values that are no dates, such as -1 and 99991231 for "unknown", in at most a tenth of the rows, are marks: their
rows have no time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import duckdb

from distributed.notations.times import CERTAIN, DAY_FIRST, MONTH_FIRST
from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan

_ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?(Z|[+-]\d{2}(:\d{2})?)?)?"
_DAY_NAME = re.compile(
    r"date|day|calendar|time|(?:^|_)(?:cal|dt|dim_d)(?:_|$)|datum|tag(?:_|$)|fecha|jour", re.IGNORECASE
)
_MAX_MARKS, _LEAST_SHARE = 3, 0.9
_DAY = r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"


def key_times(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    rows: str,
    kinds: Mapping[str, Kind],
) -> dict[str, str]:
    """Returns the key columns that hold dates, those of the primary key first: DuckDB expressions of their times, over the typed `rows`."""
    of_links = sorted({link.columns[0] for link in plan.links if len(link.columns) == 1})
    columns = [*(plan.pkey_cols if len(plan.pkey_cols) == 1 else ()), *of_links]
    found = {}
    for column in dict.fromkeys(columns):
        readings = _readings(plan, column, quoted(column), kinds[column])
        fitting = [time for time in readings if _reads(con, rows, column, time)]
        if readings and not fitting and kinds[column] == "text":
            either = [notation.value(quoted(column)) for notation in (DAY_FIRST, MONTH_FIRST)]
            fitting = [time for time in either if _reads(con, rows, column, time)]
            fitting = fitting if len(fitting) == 1 else []  # where both read all, nobody chooses
        if fitting:
            found[column] = fitting[0]
    return found


def _reads(con: duckdb.DuckDBPyConnection, rows: str, column: str, time: str) -> bool:
    """Returns whether each value is a time, a few marks for "unknown" left aside."""
    key = quoted(column)
    counts = first_row(
        con, f"SELECT count({key}), count({time}), count(DISTINCT {key}) FILTER ({time} IS NULL) FROM {rows}"
    )
    return counts is not None and counts[1] > 0 and counts[2] <= _MAX_MARKS and counts[1] >= _LEAST_SHARE * counts[0]


def marks_note(con: duckdb.DuckDBPyConnection, plan: TablePlan, rows: str, column: str, time: str) -> str | None:
    """Returns the line on values of a key that are no dates, whose rows have no time; None where there are none."""
    key = quoted(column)
    found = con.execute(
        f"SELECT CAST({key} AS VARCHAR), count(*) FROM {rows} WHERE {key} IS NOT NULL AND {time} IS NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    values = ", ".join(f"{value!r} ({number:,})" for value, number in found)
    return (
        f"{plan.name}.{column}: {values} are no dates: their rows have no time, and are never seen" if found else None
    )


def time_beside_key(plan: TablePlan, column: str) -> str:
    """Returns the name of the column that holds a key's times; no column has it."""
    name, taken = f"{column}_time", {c.casefold() for c in (*plan.columns, *(link.out_column for link in plan.links))}
    while name.casefold() in taken:
        name += "_"
    return name


def differing_days(con: duckdb.DuckDBPyConnection, rows: str, key_time: str, time: str) -> int:
    """Returns in how many rows a key's day is another than the day of a time."""
    row = first_row(con, f"SELECT count(*) FROM {rows} WHERE CAST({key_time} AS DATE) != CAST({time} AS DATE)")
    return 0 if row is None else int(row[0])


def _readings(plan: TablePlan, column: str, expression: str, kind: Kind) -> list[str]:
    if kind == "timestamp":
        return [expression]
    text = f"CAST({expression} AS VARCHAR)"
    iso = (
        f"CASE WHEN regexp_full_match({text}, '{_ISO}') "
        f"THEN make_timestamp(epoch_us(TRY_CAST({text} AS TIMESTAMPTZ))) END"
    )
    day = f"CASE WHEN regexp_full_match({text}, '{_DAY}') THEN CAST(try_strptime({text}, '%Y%m%d') AS TIMESTAMP) END"
    parents = [link.parent for link in plan.links if link.columns == (column,)]
    named = any(_DAY_NAME.search(name) for name in (column, *(parents or [plan.name])))
    if kind == "text":
        return [iso, *([day] if named else []), *(notation.value(expression) for notation in CERTAIN)]
    return [day] if kind == "integer" and named else []


def key_time_note(plan: TablePlan, column: str, written: str) -> str:
    """Returns the line that says so."""
    return f"{plan.name}: its key {column!r} holds dates, so it is the time of the rows too, written beside the key as {written!r}"
