"""The time from which each row exists, for rows that have no time of their own.

Promises: that a row is there tells nothing of the future, neither that it will be referred to nor that its parents will come; the dates do not
depend on the order of tables and keys; self references and cycles end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import ALWAYS, EdgeType
from rdl_core.timestamps import NO_TIME

Parents = Mapping[EdgeType, NDArray[np.int32]]
Times = dict[str, NDArray[np.int64]]


def existence_times(
    num_rows: Mapping[str, int],
    parents: Mapping[EdgeType, NDArray[np.int32]],
    own_times: Mapping[str, NDArray[np.int64]],
    *,
    timeless: str = "first_reference",
) -> dict[str, NDArray[np.int64]]:
    """Returns the time from which every row exists, per table: int64 [rows], UNIX seconds.

    Tables with a time column keep it (null: NO_TIME, never visible). With timeless="first_reference", the other tables are dated thus:
      - a table with a key to a dated table, directly or through such tables (an order line), exists from the latest of all those parents,
        since it cannot be older (and whenever it is referred to: were it hidden until then, its being there would tell that nothing will
        refer to it); never if such a parent has a null time; with every such parent null, from its first referencing row;
      - another table, one that these or dated tables refer to (a driver, a product) exists from its first referencing row, transitively;
        a row that nothing refers to never does;
      - a table that is left, with a key to any of those (which customers are in which club) exists from the latest of its parents: the
        number of its rows must not tell of a parent still to come;
      - a table that no key leads to or from any of these is there ALWAYS.
    With timeless="always" every row of a table without time is always there, which is RelBench's rule (and leaks: an order line is then
    seen before its order).

    Keys that are filled in later (filled_later.py) say nothing of when a row came to be, and must not be among `parents`.

    Raises:
        ValueError: Another `timeless`.
    """
    if timeless not in ("first_reference", "always"):
        raise ValueError(f"timeless must be 'first_reference' or 'always', got {timeless!r}")
    times = {table: np.asarray(own_times[table]) for table in num_rows if table in own_times}
    if timeless == "first_reference":
        unknown = date_by_parents(num_rows, parents, times)
        _date_the_unknown(unknown, parents, times)
        date_by_reference(num_rows, parents, times)
        date_by_parents(num_rows, parents, times)
    return {t: times[t] if t in times else np.full(n, ALWAYS, dtype=np.int64) for t, n in num_rows.items()}


def existence_rules(
    node_types: Sequence[str], edge_types: Sequence[EdgeType], dated: Collection[str]
) -> dict[str, str]:
    """Returns, in a few words for people, the rule of `existence_times` (first_reference) by which each table's rows are dated."""
    rules = dict.fromkeys(dated, "its time column")

    def spread(rule: str, child_first: bool) -> None:
        while found := [
            (a, b)
            for child, _, parent in edge_types
            for a, b in [(child, parent) if child_first else (parent, child)]
            if a not in rules and b in rules
        ]:
            for table, source in found:
                rules.setdefault(table, f"{rule} {source}")

    spread("its", child_first=True)
    spread("first reference from", child_first=False)
    spread("its", child_first=True)
    return {t: rules.get(t, "always there") for t in node_types}


def date_by_parents(num_rows: Mapping[str, int], parents: Parents, times: Times) -> dict[str, NDArray[np.bool_]]:
    """Dates the tables that have a key to a dated table or to another such table, each row from the latest of those parents.

    This is a fixpoint: each pass carries the dates one key further down, whatever the order of the keys; self references and cycles end too.

    Returns:
        Per such table, bool [rows]: whether a row has no such parent.
    """
    lines: list[str] = []
    while (found := next((e[0] for e in parents if e[0] not in times and e[2] in times), None)) is not None:
        times[found] = np.full(num_rows[found], ALWAYS, dtype=np.int64)
        lines.append(found)
    changed = bool(lines)
    while changed:
        changed = False
        for edge_type, parent in parents.items():
            if edge_type[0] in lines and edge_type[2] in times:
                known, latest = parent >= 0, times[edge_type[0]].copy()
                latest[known] = np.maximum(latest[known], times[edge_type[2]][parent[known]])
                changed |= bool((latest != times[edge_type[0]]).any())
                times[edge_type[0]] = latest
    unknown = {table: times[table] == ALWAYS for table in lines}
    for table in lines:
        times[table][unknown[table]] = NO_TIME
    return unknown


def _date_the_unknown(unknown: Mapping[str, NDArray[np.bool_]], parents: Parents, times: Times) -> None:
    """Dates these rows from their first referencing row, transitively; each pass of this fixpoint carries the dates one key further up."""
    changed = bool(unknown)
    while changed:
        changed = False
        for table, rows in unknown.items():
            first = _first_reference(table, len(rows), parents, times)
            earlier = rows & (first < times[table])
            changed |= bool(earlier.any())
            times[table] = np.where(earlier, first, times[table])


def _first_reference(table: str, num_rows: int, parents: Parents, times: Times) -> NDArray[np.int64]:
    first = np.full(num_rows, NO_TIME, dtype=np.int64)
    for edge_type, parent in parents.items():
        if edge_type[2] == table and edge_type[0] in times:
            known = parent >= 0
            np.minimum.at(first, parent[known], times[edge_type[0]][known])
    return first


def date_by_reference(num_rows: Mapping[str, int], parents: Parents, times: Times) -> None:
    """Dates the tables that dated tables refer to, transitively."""
    reached: set[str] = set()
    while True:
        new = {e[2] for e in parents if e[2] not in times and (e[0] in times or e[0] in reached)} - reached
        if not new:
            break
        reached |= new
    times.update({table: np.full(num_rows[table], NO_TIME, dtype=np.int64) for table in reached})
    _date_the_unknown({table: np.ones(num_rows[table], dtype=bool) for table in reached}, parents, times)
