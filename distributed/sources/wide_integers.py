"""Integers that may not fit 64 bits (NUMERIC(20), unsigned BIGINT): read as integers if all values fit, else as text, digit by digit.

Cost: one query for the smallest and the largest value.
"""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from distributed.sources.catalogue import SqlColumn, sql_name

MAX_EXACT_DIGITS = 18
INT64 = range(-(2**63), 2**63)


def wide_integer(
    connection: sa.Connection, table: sa.TableClause, column: SqlColumn, text_type: str, *, is_read: bool
) -> SqlColumn:
    """Returns the column as integer, or as text and why.

    Args:
        table: The table that has it.
        text_type: The dialect's type to cast to.
        is_read: Whether the rows will be read; a table that is left out is not looked through.
    """
    if not is_read:
        return replace(column, kind="integer")
    select = column.select or "{}"
    value: sa.ColumnElement[int] = sa.literal_column(select.replace("{}", sql_name(connection, column.name)))
    extremes = connection.execute(sa.select(sa.func.min(value), sa.func.max(value)).select_from(table)).one()
    if all(value is None or int(value) in INT64 for value in extremes):
        return replace(column, kind="integer")
    largest = max(extremes, key=abs)
    note = f"{column.sql_type} is read as text, since values such as {largest} do not fit 64 bits and a float would round them"
    return replace(column, kind="text", select=f"CAST({select} AS {text_type})", note=note)
