"""Proposals for a table, with the numbers that speak for them, and how sure they are.

`declared`: the source says it, and nothing is proposed against it. `certain`: taken by `--accept`. `likely`: shown with how to declare it, never
taken. `unlikely`: shown so that nobody has to wonder why it is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["declared", "certain", "likely", "unlikely"]


@dataclass(frozen=True, kw_only=True)
class PrimaryKeyProposal:
    """One or several columns that tell a table's rows apart.

    Args:
        num_distinct: Distinct values (of several columns: combinations).
        name_similarity: How much the name says "key of this table", 0 to 1.
        runner_up: The next best column and its similarity.
        why: The reason for the verdict, for people.
    """

    table: str
    columns: tuple[str, ...]
    verdict: Verdict
    num_rows: int
    num_distinct: int
    name_similarity: float
    runner_up: str | None
    why: str
    is_accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class ForeignKeyProposal:
    """A column whose values are another table's key.

    Args:
        num_distinct: Distinct values of the column, nulls apart.
        num_found: Those among the parent's keys.
        inclusion: `num_found / num_distinct`, the first evidence.
        parent_coverage: Share of the parent's keys that occur.
        is_distinctive: Whether other numbers or words would hardly lie among the parent's keys by chance: codes, or numbers with gaps.
        name_similarity: How much the name says "key of that table", 0 to 1.
        score: What parents are ranked by, 0 to 1.
        runner_up: The next best parent and its score.
        why: The reason for the verdict, for people.
    """

    table: str
    column: str
    parent: str
    parent_column: str
    verdict: Verdict
    num_distinct: int
    num_found: int
    inclusion: float
    parent_coverage: float
    is_distinctive: bool
    name_similarity: float
    score: float
    runner_up: str | None
    why: str
    is_accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class TimeColumnProposal:
    """The column that says from when on a row is there.

    Args:
        earliest_share: Share of rows in which no other column of times is earlier.
        first, last: ISO 8601, UTC.
    """

    table: str
    column: str
    verdict: Verdict
    num_rows: int
    num_null: int
    first: str | None
    last: str | None
    earliest_share: float
    runner_up: str | None
    why: str
    is_accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class SplitTimestamps:
    """The train/val/test timestamps that follow from the rows' times.

    Args:
        num_rows: Rows that have a time.
        val_share, test_share: Shares of them up to the timestamps.
    """

    val_timestamp: str
    test_timestamp: str
    num_rows: int
    val_share: float
    test_share: float


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """All that is proposed for a source.

    Args:
        unlinked: Columns that are named like keys while no table has their values as its key, `table.column`.
    """

    primary_keys: tuple[PrimaryKeyProposal, ...]
    foreign_keys: tuple[ForeignKeyProposal, ...]
    time_columns: tuple[TimeColumnProposal, ...]
    timestamps: SplitTimestamps | None
    unlinked: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[PrimaryKeyProposal | ForeignKeyProposal | TimeColumnProposal, ...]:
        """Keys and times in one sequence."""
        return (*self.primary_keys, *self.foreign_keys, *self.time_columns)
