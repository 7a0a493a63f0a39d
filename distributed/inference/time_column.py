"""The column that says from when on a row is there: certain if it is the only one, or the earliest in every row and named like a beginning.

In: typed rows. Out: one proposal a table that has columns of times. The earliest column is not always the right one (a planned start lies before the
order), so that a name must say it, too; what is doubtful stays for the user to name. Cost: one scan of each table with times.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from distributed.inference.column_profile import ColumnProfile, TypedRows
from distributed.inference.evidence import TimeColumnProposal, Verdict
from distributed.inference.name_match import column_name, word_set, words_of
from distributed.schema.duckdb_sql import first_row, quoted

_BIRTH = ("birth", "dob")
_BEGINNINGS = word_set(
    "created create creation inserted added placed ordered registered registration signup signed joined opened booked issued received "
    "occurred happened recorded logged sent posted submitted published"
)
_LATER = word_set(
    "updated update modified changed deleted removed closed ended end finished completed due expected expires expiry valid until "
    "last shipped delivered returned paid cancelled canceled resolved approved scheduled planned estimated promised next"
)
_PLAIN = word_set("date time timestamp datetime at on dt ts utc day when moment")


def propose_time_column(
    con: duckdb.DuckDBPyConnection,
    table: TypedRows,
    profiles: Mapping[str, ColumnProfile],
    entity: tuple[str, ...],
    keys: set[str],
) -> TimeColumnProposal | None:
    """Returns the table's time column, or the likeliest of several; None where there is no column of times that is at least half filled.

    Args:
        con: Connection to the work database.
        table: The table.
        profiles: Its columns.
        entity: What a row is, in words: `order_date` is the time of an order.
        keys: Columns that are keys.
    """
    declared = table.schema.time_col
    columns = [
        column
        for column, profile in profiles.items()
        if profile.kind == "timestamp"
        and profile.num_values
        and 2 * profile.num_values >= profile.num_rows
        and column not in keys
        and not any(word in column.casefold() for word in _BIRTH)
    ]
    if declared is not None and declared in profiles:
        return _proposal(profiles[declared], "declared", 1.0, None, "declared")
    if not columns or table.schema.time_col_is_declared:
        return None
    shares = _earliest_shares(con, table.relation, columns)
    ranks = {column: _rank(column, entity) for column in columns}
    first, *others = sorted(columns, key=lambda c: (-ranks[c], -shares[c]))
    verdict, why = _verdict(ranks[first], shares[first], profiles[first], [ranks[c] for c in others])
    return _proposal(profiles[first], verdict, shares[first], others[0] if others else None, why)


def _verdict(rank: int, share: float, profile: ColumnProfile, others: list[int]) -> tuple[Verdict, str]:
    if rank == 0:
        return "likely", "named like something that happens to a row later"
    if not others:
        return "certain", "the only column of times"
    num_null = profile.num_rows - profile.num_values
    if rank < 2:
        return "likely", "one of several columns of times, and no name says which begins a row"
    if num_null or share < 1:
        return "likely", "named like the beginning of a row, but in some rows null or later than another time"
    if others.count(rank):
        return "likely", "several columns are named like the beginning of a row"
    return "certain", "named like the beginning of a row, and the earliest in every row"


def _rank(column: str, entity: tuple[str, ...]) -> int:
    """Returns 2 for the name of a beginning, 1 for one that says nothing, 0 for something later."""
    words = set(words_of(column)) | set(column.casefold().replace("_", " ").split())
    if words & _LATER:
        return 0
    stem = tuple(word for word in column_name(column).words if word not in _PLAIN)
    return 2 if words & _BEGINNINGS or not stem or stem in (entity, entity[-1:]) else 1


def _earliest_shares(con: duckdb.DuckDBPyConnection, relation: str, columns: list[str]) -> dict[str, float]:
    if len(columns) == 1:
        return {columns[0]: 1.0}
    least = f"least({', '.join(quoted(column) for column in columns)})"
    figures = ", ".join(f"count(*) FILTER ({quoted(column)} <= {least})" for column in columns)
    found = first_row(con, f"SELECT count(*), {figures} FROM {relation}") or (0,)
    return {column: number / max(found[0], 1) for column, number in zip(columns, found[1:], strict=True)}


def _proposal(
    profile: ColumnProfile, verdict: Verdict, share: float, runner_up: str | None, why: str
) -> TimeColumnProposal:
    return TimeColumnProposal(
        table=profile.table,
        column=profile.column,
        verdict=verdict,
        num_rows=profile.num_rows,
        num_null=profile.num_rows - profile.num_values,
        first=profile.least,
        last=profile.most,
        earliest_share=round(share, 6),
        runner_up=runner_up,
        why=why,
    )
