"""The refusal of foreign keys whose parent is missing: a few rows are orphans, most rows are a notation.

In: an ordered table, a foreign key, the rows that lost their parent. Promises: where more than half of the keys given are lost, the two columns' ways
of writing are compared, and the remedy is that; setting them all to null is offered nowhere, and is done only where some are left and no way of
writing explains the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import duckdb

from distributed.inference.key_notation import KeyNotation, compare_notations
from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, exclude_option
from distributed.schema.table_plan import Link

if TYPE_CHECKING:
    from distributed.importing.keys import OrderedTable


@dataclass(frozen=True, kw_only=True)
class Orphans:
    """The rows of one foreign key that have no parent.

    Args:
        lost: The query of these rows from FROM on; `o` is the child.
        num_lost: Their number.
        num_given: Rows whose key is not null.
    """

    lost: str
    num_lost: int
    num_given: int


def refuse_orphans(
    con: duckdb.DuckDBPyConnection,
    table: OrderedTable,
    parent: OrderedTable,
    link: Link,
    orphans: Orphans,
    *,
    dangling: Literal["error", "null"],
) -> None:
    """Refuses orphans that are to be refused; returns where there are none, or they are to become null.

    Raises:
        ImportRefused: It names table, column, row, value, what differs and the remedy.
    """
    are_most = 2 * orphans.num_lost > orphans.num_given
    if not orphans.num_lost or (dangling == "null" and not are_most):
        return
    notation = _notation(con, table, parent, link) if are_most else None
    if dangling == "null" and notation is None and orphans.num_lost < orphans.num_given:
        return
    notation = notation or _notation(con, table, parent, link)
    plan = table.plan
    key = [name for name in plan.order_cols if plan.schema.pkey][:3]
    columns = [quoted(column) for column in link.columns]
    row_col = f"o.{quoted(plan.row_source_col)}"
    shown = ", ".join([row_col, *(f"o.{name}" for name in [*columns, *map(quoted, key)])])
    row = first_row(con, f"SELECT {shown} {orphans.lost} ORDER BY {row_col} LIMIT 1")
    assert row is not None  # num_lost > 0
    value, of_row = row[1 : 1 + len(columns)], dict(zip(key, row[1 + len(columns) :], strict=True))
    raise ImportRefused(
        f"table {plan.name!r}, column {link.shown!r}, row {row[0]} of the source ({of_row}): value "
        f"{value[0] if len(value) == 1 else value!r} is no {link.parent}.{'+'.join(link.parent_columns)}; {orphans.num_lost} of "
        f"{table.num_rows} rows refer to a missing parent. {_remedy(con, table, parent, link, notation, are_most=are_most)}"
    )


def _remedy(
    con: duckdb.DuckDBPyConnection,
    table: OrderedTable,
    parent: OrderedTable,
    link: Link,
    notation: KeyNotation | None,
    *,
    are_most: bool,
) -> str:
    if not are_most and notation is None:
        return "Add the parents, or pass --dangling null to import these keys as null"
    leave_out = f"leave the key out: {exclude_option(f'{table.plan.name}.{link.shown}')}"
    odd = _first_odd_value(con, table, parent, link)
    if notation is not None:
        return (
            f"They are hardly orphans: {notation.text}.{odd} Remedy: at the source, {notation.remedy}; or {leave_out}"
        )
    return (
        f"These are more than half of all keys, however they are written.{odd} Is {link.parent!r} the right parent, and whole? "
        f"Declare another one, add the parents, or {leave_out}"
    )


def _notation(
    con: duckdb.DuckDBPyConnection, table: OrderedTable, parent: OrderedTable, link: Link
) -> KeyNotation | None:
    """Returns what differs in the first column of a key in which something does."""
    for column, parent_column in zip(link.columns, link.parent_columns, strict=True):
        found = compare_notations(
            con,
            f"SELECT {quoted(column)} AS value FROM {quoted(f'ordered_{table.plan.name}')}",
            f"SELECT {quoted(parent_column)} AS value FROM {quoted(f'ordered_{parent.plan.name}')}",
        )
        if found is not None:
            return found
    return None


def _first_odd_value(con: duckdb.DuckDBPyConnection, table: OrderedTable, parent: OrderedTable, link: Link) -> str:
    """Returns the sentence on what turned a column of whole numbers into text; "" where it is none."""
    for column, parent_column in zip(link.columns, link.parent_columns, strict=True):
        if (table.kinds[column], parent.kinds[parent_column]) != ("text", "integer"):
            continue
        name, row_col = quoted(column), quoted(table.plan.row_source_col)
        is_odd = f"NOT regexp_full_match(trim({name}), '[+-]?\\d+([.]0*)?')"
        relation = quoted(f"ordered_{table.plan.name}")
        found = first_row(con, f"SELECT count(*) FILTER ({is_odd}), count({name}) FROM {relation}")
        row = first_row(con, f"SELECT {row_col}, {name} FROM {relation} WHERE {is_odd} ORDER BY {row_col} LIMIT 1")
        if found and row and 2 * found[0] < found[1]:
            return (
                f" Column {column!r} is text because of {found[0]:,} of its values, the first in row {row[0]} of the source: {row[1]!r:.80}, "
                "which is no whole number (`null_values` in the schema file takes further spellings of null)."
            )
    return ""
