"""Turns staged text into typed columns, strictly: a value that its column's type cannot hold is named, never rounded.

In: staged rows (CSV, SQLite times). Out: a DuckDB expression per column, inferred over ALL rows, so that the type of a
column never depends on where a sample ended. Cost: one pass of vectorised code.
"""

from __future__ import annotations

import duckdb

from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, Refusals, exclude_option
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan

_ISO_TIME = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?(Z|[+-]\d{2}(:\d{2})?)?)?"
# A leading zero means a code (postcode, article number), not a quantity: such columns stay text.
_INTEGER = r"-?(0|[1-9]\d{0,17})"
_INTEGER_KEY = _INTEGER + "([.]0)?"  # pandas writes integer keys with nulls as 7.0
_FLOAT = r"[+-]?(0|[1-9]\d*)?([.]\d*)?([eE][+-]?\d+)?"
_LAST_SECOND = 9_223_372_036  # of timestamp[ns], year 2262


def type_expressions(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, staged: str, time_col: str | None
) -> tuple[dict[str, str], dict[str, Kind]]:
    """Returns the DuckDB expression and the resulting kind of every column.

    Args:
        con: Connection to the work database.
        plan: Plan of the table.
        staged: The DuckDB relation that holds the staged rows, numbered by `plan.row_source_col`.
        time_col: The time column that the user named, which must be one; None to judge by the values alone.

    Raises:
        ImportRefused: The time column, or SQLite date columns, hold a value that is not an ISO 8601 time.
    """
    expressions: dict[str, str] = {}
    kinds: dict[str, Kind] = {}
    refusals = Refusals()
    for column, declared in plan.columns.items():
        with refusals.each():
            kind = _inferred(con, plan, staged, column, declared)
            if column == time_col and kind in ("text", "integer"):
                kind = "text_time" if kind == "text" else _refuse_odd_seconds(con, plan, staged, column)
            expressions[column], kinds[column] = _expression(column, declared, kind, is_time_col=column == time_col)
            if kind == "text_time":
                kinds[column] = "timestamp"
                _refuse_bad_times(con, plan, staged, column, expressions[column])
    refusals.refuse()
    return expressions, kinds


def _expression(column: str, declared: Kind, kind: Kind, *, is_time_col: bool) -> tuple[str, Kind]:
    name = quoted(column)
    if kind == "integer" and is_time_col:
        return f"make_timestamp(CAST({name} AS BIGINT) * 1000000)", "timestamp"
    if kind == declared != "text_time":
        return name, kind
    if kind in ("timestamp", "text_time"):
        # Through TIMESTAMPTZ, because DuckDB's cast to TIMESTAMP drops an offset such as +02:00 without a word.
        iso = f"regexp_full_match({name}, '{_ISO_TIME}')"
        return f"CASE WHEN {iso} THEN make_timestamp(epoch_us(TRY_CAST({name} AS TIMESTAMPTZ))) END", "timestamp"
    sql_type = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "text": "VARCHAR"}[kind]
    return f"CAST({name} AS {sql_type})", kind


def _inferred(con: duckdb.DuckDBPyConnection, plan: TablePlan, staged: str, column: str, declared: Kind) -> Kind:
    """Returns the type that every non-null value of a text column has; keys are integers or text."""
    text_types, is_key = plan.schema.text_types, column in plan.key_cols
    may_be_key = is_key or column in plan.key_part_cols
    if declared != "text" or text_types == "declared" or (is_key and text_types == "time"):
        return declared
    name = quoted(column)
    time_sql, _ = _expression(column, "text", "timestamp", is_time_col=False)
    counts = first_row(
        con,
        f"SELECT count({name}), count(*) FILTER (regexp_full_match({name}, '{_INTEGER_KEY if may_be_key else _INTEGER}')), "
        f"count(*) FILTER (regexp_full_match({name}, '{_FLOAT}') AND TRY_CAST({name} AS DOUBLE) IS NOT NULL), "
        f"count(*) FILTER (lower({name}) IN ('true', 'false')), count({time_sql}) FROM {staged}",
    )
    assert counts is not None  # an aggregate without GROUP BY has one row
    total, integers, floats, booleans, times = counts
    if total == 0:
        return declared
    if text_types == "time":
        return "timestamp" if times == total else "text"
    found: list[tuple[int, Kind]] = [(integers, "integer")]
    if not is_key:
        found += [(floats, "float"), (booleans, "boolean"), (times, "timestamp")]
    return next((kind for count, kind in found if count == total), "text")


def _refuse_bad_times(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, staged: str, column: str, expression: str
) -> None:
    row = quoted(plan.row_source_col)
    bad = first_row(
        con,
        f"SELECT {row}, {quoted(column)} FROM {staged} "
        f"WHERE {quoted(column)} IS NOT NULL AND ({expression}) IS NULL ORDER BY {row} LIMIT 1",
    )
    if bad:
        raise ImportRefused(
            f"table {plan.name!r}, column {column!r}, row {bad[0]} of the source: expected an ISO 8601 time such as "
            f"2024-03-01 12:30:00, got {bad[1]!r}; correct the value, or leave the column out by "
            f"{exclude_option(f'{plan.name}.{column}')}"
        )


def _refuse_odd_seconds(con: duckdb.DuckDBPyConnection, plan: TablePlan, staged: str, column: str) -> Kind:
    """Refuses a time column of integers that are no UNIX seconds: milliseconds would land millennia away, so a range check tells."""
    row = quoted(plan.row_source_col)
    bad = first_row(
        con,
        f"SELECT {row}, {quoted(column)} FROM {staged} WHERE CAST({quoted(column)} AS BIGINT) "
        f"NOT BETWEEN 0 AND {_LAST_SECOND} ORDER BY {row} LIMIT 1",
    )
    if bad:
        raise ImportRefused(
            f"table {plan.name!r}, time column {column!r}, row {bad[0]} of the source: expected UNIX seconds (integers "
            f"between 0 and {_LAST_SECOND}), got {bad[1]}; store seconds or timestamps, or name another column by --time-cols"
        )
    return "integer"
