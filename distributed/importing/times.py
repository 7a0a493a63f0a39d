"""Finds the column that is the time of a row: the one that the user names, the one that the source declares, or the one that the rule finds.

The rule: the only column of dates or timestamps whose name contains neither "birth" nor "dob" (a birthday is not when a row came to be) and that
is at most half null. Where several columns pass, the import is refused and says what to set.

In: plans and the staged or ordered rows in DuckDB. Out: column names, the notes that the report repeats, and the attributes that lie after the time
of their row. A row counts as known from its time on, so what was filled in later tells its future; such columns are imported with a warning, since
they may be plans as well as leaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb

from distributed.import_report.report import LaterTimes
from distributed.importing.keys import OrderedTable
from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan


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
        if column not in plan.columns or column in plan.key_cols or plan.columns[column] in ("float", "boolean"):
            fitting = [
                c for c, kind in plan.columns.items() if c not in plan.key_cols and kind not in ("float", "boolean")
            ]
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
    staged: str,
    expressions: Mapping[str, str],
    kinds: Mapping[str, Kind],
) -> list[str]:
    """Returns the columns that can be a row's time, by the rule at the top of this file; a table without rows has none."""
    later = plan.key_cols | {plan.schema.valid_to, *plan.schema.known_from}
    columns = [
        column
        for column, kind in kinds.items()
        if kind == "timestamp" and column not in later and not _is_birthday(column)
    ]
    if not columns:
        return []
    sums = ", ".join(f"2 * count({expressions[column]}) >= greatest(count(*), 1)" for column in columns)
    keep = first_row(con, f"SELECT {sums} FROM {staged}") or ()
    return [column for column, is_filled in zip(columns, keep, strict=True) if is_filled]


def _is_birthday(column: str) -> bool:
    return any(word in column.casefold() for word in ("birth", "dob"))


def notes_on_times(
    con: duckdb.DuckDBPyConnection, ordered: Mapping[str, OrderedTable], *, val_timestamp: str, test_timestamp: str
) -> list[str]:
    """Returns notes on renamed and partly null time columns, and refuses timestamps that leave nothing to learn from.

    Raises:
        ImportRefused: All rows are later than `val_timestamp`.
    """
    notes: list[str] = []
    firsts: list[datetime] = []
    lasts: list[datetime] = []
    for name, table in ordered.items():
        if table.time_col is None:
            continue
        column, relation = quoted(table.time_col), quoted(f"ordered_{name}")
        found = first_row(con, f"SELECT min({column}), max({column}), count(*) - count({column}) FROM {relation}")
        first, last, nulls = found or (None, None, 0)
        firsts, lasts = firsts + [first] * (first is not None), lasts + [last] * (last is not None)
        if nulls:
            notes.append(
                f"{name}: {nulls} rows have no {table.time_col}; they come last, and RelBench never shows them"
            )
        if table.time_col != table.time_out:
            notes.append(f"{name}: {table.time_col!r} is written as {table.time_out!r}; RelBench needs an identifier")
    if firsts and datetime.fromisoformat(val_timestamp) < min(firsts):
        raise ImportRefused(f"--val-timestamp {val_timestamp}: all rows are later, the first at {min(firsts)}")
    if lasts and datetime.fromisoformat(test_timestamp) > max(lasts):
        notes.append(f"--test-timestamp {test_timestamp} is after the last row ({max(lasts)}): nothing to test on")
    return notes


def times_after_rows(con: duckdb.DuckDBPyConnection, table: OrderedTable) -> dict[str, LaterTimes]:
    """Returns the attributes of a table that are times and lie, in some row, after the row's own; {} where rows have no time.

    Those that the schema file gives a `known_from`, and `valid_to`, are dealt with and not among them.

    One pass over the table. Whether such a column is a plan (a due date) or a leak (a return) is not in the data.
    """
    if table.time_col is None:
        return {}
    schema = table.plan.schema
    settled = {table.time_col, schema.valid_to, *schema.known_from, *table.plan.key_cols}
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
