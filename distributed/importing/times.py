"""Finds the column that is the time of a row: the one that the user names, the one that the source declares, or the one that the rule finds.

The rule: the only column of dates or timestamps whose name contains neither "birth" nor "dob" (a birthday is not when a row came to be) and that
is at most half null. Where several columns pass, the import is refused and says what to set.

A key that holds dates is the time where it is the primary key, and where no attribute is; an attribute that differs from it makes two.

In: plans and the staged or ordered rows in DuckDB. Out: column names, the notes that the report repeats, and the attributes that lie after the time
of their row. A row counts as known from its time on, so what was filled in later tells its future; such columns are imported with a warning, since
they may be plans as well as leaks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import duckdb

from distributed.import_report.report import LaterTimes
from distributed.importing.key_times import differing_days
from distributed.importing.keys import OrderedTable
from distributed.importing.marks import TimeSpan
from distributed.notations.types import TypedColumns
from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan
from rdl_core.database.table_settings import TableSettings
from rdl_core.graph.existence import existence_rules

_TIME_NAME = re.compile(
    r"(?i:date|time|year|month|season|quarter|week|epoch|unix|(?:_|^)(?:at|on|ts|dt|day|when|hour|period)$)|(?<=[a-z])(?:At|On)$"
)
_OF_LATER = re.compile(r"(?i:last|latest|recent|final|next)(?![a-z])")


def check_time_cols(time_cols: Mapping[str, str] | None, plans: Mapping[str, TablePlan]) -> None:
    """Refuses names of --time-cols that are no tables, or no columns that can hold times.

    Raises:
        ImportRefused: It holds all such names.
    """
    refusals = Refusals()
    for table, column in (time_cols or {}).items():
        if table not in plans:
            refusals.problems.append(f"--time-cols: no table {table!r}; expected some of {sorted(plans)}")
            continue
        plan = plans[table]
        fitting = [c for c, kind in plan.columns.items() if kind != "boolean"]
        if column not in fitting:
            refusals.problems.append(
                f"--time-cols, table {table!r}: {column!r} cannot be a time column; expected one that holds "
                f"timestamps, ISO 8601 text or UNIX seconds, among {fitting}"
            )
    refusals.refuse()


def given_time_col(time_cols: Mapping[str, str] | None, plan: TablePlan) -> str | None:
    """Returns the time column of a table that the user or else the source names."""
    if time_cols is not None:
        return time_cols.get(plan.name)
    declared = plan.schema.time_col or plan.schema.valid_from
    return declared if declared in plan.columns else None


def time_candidates(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    rows: str,
    kinds: Mapping[str, Kind],
    of_keys: Mapping[str, str],
) -> list[str]:
    """Returns the columns that can be a row's time, by the rule at the top of this file; a table without rows has none.

    Args:
        of_keys: Expressions of the times of key columns that hold dates (key_times.py).
    """
    if plan.pkey_cols and plan.pkey_cols[0] in of_keys:
        return [plan.pkey_cols[0]]
    of_keys = {key: time for key, time in of_keys.items() if not (_is_birthday(key) or _OF_LATER.match(key))}
    times = _attributes_of_times(con, plan, rows, kinds)
    if len(times) != 1:
        return times or list(of_keys)
    # A key that says another day makes it doubtful which of the two is the row's time.
    other = [key for key, time in of_keys.items() if differing_days(con, rows, time, quoted(times[0]))]
    return [*times, *other]


def _attributes_of_times(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    rows: str,
    kinds: Mapping[str, Kind],
) -> list[str]:
    later = plan.key_cols | {plan.schema.valid_to, *plan.schema.known_from, *plan.schema.known_from.values()}
    columns = [
        column
        for column, kind in kinds.items()
        if kind == "timestamp" and column not in later and not _is_birthday(column)
    ]
    if not columns:
        return []
    sums = ", ".join(f"2 * count({quoted(column)}) >= greatest(count(*), 1)" for column in columns)
    keep = first_row(con, f"SELECT {sums} FROM {rows}") or ()
    return [column for column, is_filled in zip(columns, keep, strict=True) if is_filled]


def with_weak_time(plan: TablePlan, columns: TypedColumns) -> tuple[str | None, TypedColumns]:
    """Returns the time column and the columns of a table without any other time, of which one column is of years or months; else None.

    Rows without a time are seen always. A year or a month is its last moment, so that no row is seen before it happened.
    """
    later = plan.key_cols | {plan.schema.valid_to, *plan.schema.known_from}
    parts = {
        part: [c for c, kind in columns.kinds.items() if c.casefold() == part and kind == "integer" and c not in later]
        for part in ("year", "month", "day")
    }
    if len(parts["year"]) == len(parts["month"]) == 1:
        return _with_time_of_parts(plan, columns, [found[0] for found in parts.values() if len(found) == 1])
    weak = [column for column in columns.weak_times if column not in later and not _is_birthday(column)]
    if len(weak) != 1:
        return None, columns
    column = weak[0]
    expression, what = columns.weak_times[column]
    note = f"{plan.name}.{column}: nothing else is a time here, so the rows are dated by these {what}"
    found = replace(columns.columns[column], expression=expression, kind="timestamp", reading=what.split(" taken")[0])
    return column, replace(columns, columns={**columns.columns, column: replace(found, notes=(*found.notes, note))})


def _with_time_of_parts(plan: TablePlan, columns: TypedColumns, parts: list[str]) -> tuple[str, TypedColumns]:
    """Returns the time of columns of years, months and perhaps days, and the columns with it: the year alone would date rows months too early."""
    taken, name = (
        {column.casefold() for column in (*plan.columns, *(link.out_column for link in plan.links))},
        "_".join(parts),
    )
    while name.casefold() in taken:
        name += "_"
    numbers = [f"CAST({quoted(part)} AS BIGINT)" for part in parts] + ["1"] * (3 - len(parts))
    note = (
        f"{plan.name}: nothing else is a time here, so the rows are dated by {' and '.join(parts)} together, written beside them as {name!r}"
        + ("" if len(parts) == 3 else "; a row counts as known from the first moment of its month")
        + "; where they are no date, the row has no time and is never seen"
    )
    found = columns.columns[parts[0]]
    columns = replace(columns, columns={**columns.columns, parts[0]: replace(found, notes=(*found.notes, note))})
    return name, columns.with_time(name, f"TRY(CAST(make_date({', '.join(numbers)}) AS TIMESTAMP))")


def _is_birthday(column: str) -> bool:
    return any(word in column.casefold() for word in ("birth", "dob"))


def refuse_key_without_dates(plan: TablePlan, column: str, of_keys: Mapping[str, str]) -> None:
    """Refuses a key that is named as the time of its table and holds no dates.

    Raises:
        ImportRefused: It does not.
    """
    if column not in of_keys:
        raise ImportRefused(
            f"table {plan.name!r}, time column {column!r}: it is a key, and not each of its values is a date (ISO 8601, or "
            f"YYYYMMDD in a column named so); name another column, or leave the table without a time"
        )


def refuse_timeless(ordered: Mapping[str, OrderedTable], *, allowed: bool) -> None:
    """Refuses a database in which no row has a time, unless the user says that it has none.

    Raises:
        ImportRefused: Nothing has a time, and it is not allowed.
    """
    if allowed or any(table.time_col is not None for table in ordered.values()):
        return
    like = [f"{name}.{column} ({why})" for name, table in ordered.items() for column, why in _like_times(table).items()]
    raise ImportRefused(
        f"no table has a time column, so every row would always be there, those of the future too; columns that look like times: "
        f"{', '.join(like) or 'none'}\nRemedy: name them by --time-cols TABLE COLUMN ..., or as time_col in the schema file; or "
        "pass --timeless if nothing in this database has a time"
    )


def notes_on_undated(ordered: Mapping[str, OrderedTable], settings: Mapping[str, TableSettings]) -> list[str]:
    """Returns, for every table without a time of its own, a note that says from when on its rows exist, and what looks like a time but is none."""
    edge_types = [
        (name, link.out_column, link.parent)
        for name, table in ordered.items()
        for link in table.plan.links
        if link.out_column not in settings[name].filled_later
    ]
    dated = [name for name, table in ordered.items() if table.time_col is not None]
    rules = existence_rules(list(ordered), edge_types, dated)
    notes = []
    for name, table in ordered.items():
        if table.time_col is None:
            like = ", ".join(f"{column} ({why})" for column, why in _like_times(table).items())
            notes.append(
                f"{name}: no time column; its rows exist from: {rules[name]}"
                + (f"; not taken for its time: {like}; --time-cols {name} COLUMN takes one" if like else "")
            )
    return notes


def _like_times(table: OrderedTable) -> dict[str, str]:
    """Returns the columns of a table that hold times, or are named like times, and why they are not the time of its rows."""
    schema, found = table.plan.schema, {}
    for column, kind in table.kinds.items():
        if column in {table.time_col, schema.valid_to, *schema.known_from, *schema.known_from.values()}:
            continue
        if kind == "timestamp":
            found[column] = (
                "a birthday" if _is_birthday(column) else "a key" if column in table.plan.key_cols else "times"
            )
        elif _TIME_NAME.search(column) and kind in ("text", "integer", "float") and not _is_birthday(column):
            found[column] = f"{kind}, not times"
    return found


def notes_on_times(
    con: duckdb.DuckDBPyConnection,
    ordered: Mapping[str, OrderedTable],
    span: TimeSpan,
    *,
    val_timestamp: str,
    test_timestamp: str,
) -> list[str]:
    """Returns notes on marks for unknown, on renamed and on partly null time columns, and refuses timestamps that leave nothing to learn from.

    Raises:
        ImportRefused: All rows are later than `val_timestamp`.
    """
    notes = list(span.notes)
    for name, table in ordered.items():
        if table.time_col is None:
            continue
        column, relation = quoted(table.time_col), quoted(f"ordered_{name}")
        (nulls,) = first_row(con, f"SELECT count(*) - count({column}) FROM {relation}") or (0,)
        if nulls:
            notes.append(
                f"{name}: {nulls} rows have no {table.time_col}; they come last, and RelBench never shows them"
            )
        if table.time_col != table.time_out:
            notes.append(f"{name}: {table.time_col!r} is written as {table.time_out!r}; RelBench needs an identifier")
    if span.first is not None and datetime.fromisoformat(val_timestamp) < span.first:
        raise ImportRefused(f"--val-timestamp {val_timestamp}: all rows are later, the first at {span.first}")
    if span.last is not None and datetime.fromisoformat(test_timestamp) > span.last:
        notes.append(f"--test-timestamp {test_timestamp} is after the last row ({span.last}): nothing to test on")
    return notes


def times_after_rows(con: duckdb.DuckDBPyConnection, table: OrderedTable) -> dict[str, LaterTimes]:
    """Returns the attributes of a table that are times and lie, in some row, after the row's own; {} where rows have no time.

    Those that the schema file gives a `known_from`, and `valid_to`, are dealt with and not among them.

    One pass over the table. Whether such a column is a plan (a due date) or a leak (a return) is not in the data.
    """
    if table.time_col is None:
        return {}
    schema = table.plan.schema
    settled = {table.time_col, schema.valid_to, *schema.known_from, *schema.known_from.values(), *table.plan.key_cols}
    attributes = [c for c, kind in table.kinds.items() if kind == "timestamp" and c not in settled]
    if not attributes:
        return {}
    leads = [f"epoch_us({quoted(c)}) - epoch_us({quoted(table.time_col)})" for c in attributes]
    figures = ", ".join(f"count(*) FILTER ({lead} > 0), max({lead})" for lead in leads)
    found = first_row(con, f"SELECT {figures} FROM {quoted('ordered_' + table.plan.name)}") or ()
    pairs = zip(attributes, found[::2], found[1::2], strict=True)
    return {
        column: LaterTimes(num_later=num_later, largest_lead_s=lead_us / 1e6)
        for column, num_later, lead_us in pairs
        if num_later
    }
