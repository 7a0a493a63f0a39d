"""Foreign keys that were filled in, or changed, after their row came to be: `customers.last_order_id`, `questions.accepted_answer_id`.

Such a key tells the future twice. It must not date its row: a customer would exist from his last order on only. And its link must not be shown, at
any time: a seed between the first and the last order would see no link yet, so a link that is seen means that no order follows. Hence the key dates
no row and its links are left out of the graph; the line says so.

A key is found by the times of a table without a time of its own: its parents lie after rows that refer to the table's own rows, in more than
LATE_SHARE of the rows where both are known (fewer are taken for errors in times, and said). Times of whole days reach to the end of their day. A key
that settings.yaml names as `filled_later` is one, whatever the times say, and one that it names as `known_with_row` is none.

Promise: what is found depends neither on the order of tables and keys nor on any row's place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.database.table_settings import TableSettings
from rdl_core.graph.existence import Parents, Times, date_by_parents, date_by_reference
from rdl_core.graph.reg import EdgeType
from rdl_core.timestamps import NO_TIME, SECONDS_PER_DAY

LATE_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class LateKey:
    """A foreign key with rows that are referred to before their parent is there.

    Args:
        edge_type: The key.
        num_later: Rows whose parent lies after a row that refers to them.
        num_compared: Rows of which both are known.
        is_left_out: Whether the key dates no row and shows no link.
        is_declared: Whether settings.yaml says so; the figures are 0 then.
    """

    edge_type: EdgeType
    num_later: int = 0
    num_compared: int = 0
    is_left_out: bool = True
    is_declared: bool = False

    @property
    def name(self) -> str:
        """table.column"""
        return f"{self.edge_type[0]}.{self.edge_type[1]}"

    def __str__(self) -> str:
        table, column, parent = self.edge_type
        left_out = "it dates no row, and its links are left out of the graph, since they would tell the future"
        if self.is_declared:
            return f"{self.name}: a key that is filled in later, as settings.yaml says: {left_out}"
        found = (
            f"{self.name}: in {self.num_later:,} of {self.num_compared:,} rows of {table} the row of {parent} that it refers to lies "
            f"after rows that refer to them"
        )
        if not self.is_left_out:
            return f"{found}; so few are taken for errors in times, and the key is kept"
        return (
            f"{found}: the key is filled in later, so {left_out} "
            f"(if it is known with its row all the same: known_with_row: [{column}] of {table} in the schema file or settings.yaml)"
        )


def may_be_filled_later(edge_types: Collection[EdgeType], dated: Collection[str]) -> bool:
    """Returns whether a table without a time of its own has both keys and rows that refer to it; if none has, no row need be read."""
    children = {e[0] for e in edge_types if e[0] != e[2]} - set(dated)
    return any(e[2] in children and e[0] != e[2] for e in edge_types)


def declared_late_keys(edge_types: Collection[EdgeType], settings: Mapping[str, TableSettings]) -> list[LateKey]:
    """Returns the keys that settings.yaml names as `filled_later`."""
    return [LateKey(edge_type=e, is_declared=True) for e in edge_types if e[1] in settings[e[0]].filled_later]


def late_keys(
    num_rows: Mapping[str, int], parents: Parents, own_times: Times, settings: Mapping[str, TableSettings]
) -> list[LateKey]:
    """Returns the keys that are filled in later, and those that a few rows say it of, in the order of `parents`.

    Args:
        num_rows, parents, own_times: As `existence_times` takes them.
        settings: Settings per table.
    """
    left_out = {key.edge_type: key for key in declared_late_keys(parents, settings)}
    found: dict[EdgeType, LateKey] = {}
    while True:
        rest = {e: p for e, p in parents.items() if e not in left_out}
        found = {}
        if not may_be_filled_later(rest, own_times):
            break
        for table in sorted({e[0] for e in rest} & {e[2] for e in rest} - set(own_times)):
            found |= {k.edge_type: k for k in _of_table(table, num_rows, rest, own_times, settings[table])}
        new = {e: k for e, k in found.items() if k.is_left_out}
        left_out |= _rarest(new, num_rows, rest)
        if not new:  # without those keys, other rows have other dates, by which more may be found
            break
    keys = found | left_out
    return [keys[e] for e in parents if e in keys]


def _rarest(found: dict[EdgeType, LateKey], num_rows: Mapping[str, int], parents: Parents) -> dict[EdgeType, LateKey]:
    """Returns the keys that refer to the smallest share of their parent's rows; the others are looked at again without these.

    One late key dates rows too late, by which others seem late: a card's customer, if he exists from his last order on. Which of the two it is
    is in no time; but each customer has a card, while few orders are the last.
    """
    shares = {e: len(np.unique(parents[e][parents[e] >= 0])) / max(num_rows[e[2]], 1) for e in found}
    return {e: key for e, key in found.items() if shares[e] == min(shares.values())}


def _of_table(
    table: str, num_rows: Mapping[str, int], parents: Parents, own_times: Times, settings: TableSettings
) -> list[LateKey]:
    """Compares the parents of a table's rows with the rows that refer to them, which are dated without the table."""
    times = dict(own_times)
    date_by_parents(num_rows, {e: p for e, p in parents.items() if e[0] != table}, times)
    # A card that neither has a time nor a dated parent is there by its first order, and so is its customer. That is no sooner than it came to be,
    # so it tells when a row was there by, and never that a parent came later.
    there_by = dict(times)
    date_by_reference(num_rows, {e: p for e, p in parents.items() if table not in (e[0], e[2])}, there_by)
    keys = [e for e in parents if e[0] == table and e[2] in times and e[1] not in settings.known_with_row]
    if not keys:
        return []
    first = np.full(num_rows[table], NO_TIME, dtype=np.int64)
    for edge_type, parent in parents.items():
        if edge_type[2] == table and edge_type[0] in there_by:
            known = parent >= 0
            np.minimum.at(first, parent[known], _end_of_day(there_by[edge_type[0]])[known])
    late = []
    for edge_type in keys:
        parent = parents[edge_type]
        time = np.where(
            parent >= 0, times[edge_type[2]][np.maximum(parent, 0)] if len(times[edge_type[2]]) else NO_TIME, NO_TIME
        )
        compared = (time < NO_TIME) & (first < NO_TIME)
        num_compared, num_later = int(compared.sum()), int((time[compared] > first[compared]).sum())
        if num_later:
            is_late = num_later > LATE_SHARE * num_compared
            late.append(
                LateKey(edge_type=edge_type, num_later=num_later, num_compared=num_compared, is_left_out=is_late)
            )
    return late


def _end_of_day(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns times of whole days as the last second of their day, and other times as they are."""
    dated = times < NO_TIME
    if not (times[dated] % SECONDS_PER_DAY == 0).all():
        return times
    return np.where(dated, times + (SECONDS_PER_DAY - 1) * dated, times)
