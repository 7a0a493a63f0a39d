"""Key columns that hold dates: `calendar.date`, and `sales.date` that refers to it, are keys and times at once.

RelBench's time column is a column of timestamps, while a key becomes row numbers. So a key that dates its table is written twice: as the key that it
is, and as a time in a column of its own beside it.

A key column holds dates if each of its values is a timestamp, a text in ISO 8601, or a day written as YYYYMMDD; the last only in a column whose name,
or the name of the table that it leads to, speaks of days, since eight digits may be any number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import duckdb

from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan

_ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?(Z|[+-]\d{2}(:\d{2})?)?)?"
_DAY_NAME = re.compile(
    r"date|day|calendar|time|(?:^|_)(?:cal|dt|dim_d)(?:_|$)|datum|tag(?:_|$)|fecha|jour", re.IGNORECASE
)
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
        for time in _readings(plan, column, quoted(column), kinds[column]):
            counts = first_row(con, f"SELECT count({quoted(column)}), count({time}) FROM {rows}")
            if counts is not None and counts[0] == counts[1] > 0:
                found[column] = time
                break
    return found


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
        return [iso, *([day] if named else [])]
    return [day] if kind == "integer" and named else []


def key_time_note(plan: TablePlan, column: str, written: str) -> str:
    """Returns the line that says so."""
    return f"{plan.name}: its key {column!r} holds dates, so it is the time of the rows too, written beside the key as {written!r}"
