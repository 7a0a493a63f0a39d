"""The rows of a table that are embedded, and the time of each: all at one time, or each at a time of its own.

Promises: at one time, a row is asked about if it exists strictly before and is valid; at times of a column, if it exists by its own. All others are
left out and counted by reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.database.column_values import read_batches
from rdl_core.graph.reg import RelationalEntityGraph
from rdl_core.problems import InputError
from rdl_core.timestamps import NO_TIME, is_time, to_unix_seconds

REASONS = ("", "of unknown time", "later than asked", "not valid any more", "without a time to ask at")
"""The reasons for which a row is left out, by the codes below; 0 is not."""
UNKNOWN_TIME, LATER, ENDED, NO_QUESTION_TIME = range(1, len(REASONS))


@dataclass(frozen=True)
class Questions:
    """The rows that are embedded.

    Args:
        rows: int64 [questions], ascending rows of the table.
        time_s: int64 [questions], UNIX seconds, strictly before which is looked.
        left_out: Rows that are not asked about, by reason; no reason stands with 0.
    """

    rows: NDArray[np.int64]
    time_s: NDArray[np.int64]
    left_out: dict[str, int]

    def between(self, first: int, end: int) -> Questions:
        """Returns the questions about rows [first, end)."""
        part = slice(*np.searchsorted(self.rows, (first, end)))
        return Questions(self.rows[part], self.time_s[part], {})


def questions_at(graph: RelationalEntityGraph, table: str, at_s: int) -> Questions:
    """Returns all rows of a table that exist strictly before a time, UNIX seconds, asked about then.

    Raises:
        InputError: None does.
    """
    time_s = graph.table_time(table)
    asked_s = np.full(len(time_s), at_s)
    reasons = {UNKNOWN_TIME: time_s == NO_TIME, LATER: time_s >= at_s, ENDED: _is_over(graph, table, asked_s)}
    found = _asked(asked_s, reasons)
    if not len(found.rows):
        raise InputError(_nobody(graph, table, f"before {_shown(at_s)}", "a later --at", found))
    return found


def questions_at_own_times(
    dataset: RelBenchDataset, graph: RelationalEntityGraph, table: str, column: str
) -> Questions:
    """Returns the rows of a table, each asked about at the time in one of its columns, rounded down to seconds.

    A row may be of the very time that it is asked about: it is seen itself, and nothing else of that second.

    Raises:
        InputError: There is no such column, it holds no times, or no row exists by its time.
    """
    time_s = _column(dataset, table, column)
    row_time_s = graph.table_time(table)
    is_own = column == dataset.manifest.tables[table].time_col  # rounded up in the graph, and down here
    later = np.zeros(len(time_s), bool) if is_own else row_time_s > time_s
    reasons = {
        NO_QUESTION_TIME: time_s == NO_TIME,
        UNKNOWN_TIME: row_time_s == NO_TIME,
        LATER: later,
        ENDED: _is_over(graph, table, time_s),
    }
    found = _asked(time_s, reasons)
    if not len(found.rows):
        raise InputError(_nobody(graph, table, f"at its {column!r}", "another --each-row-at, or --at", found))
    return found


def _column(dataset: RelBenchDataset, table: str, column: str) -> NDArray[np.int64]:
    with pq.ParquetFile(dataset.db_dir / f"{table}.parquet") as file:
        kinds = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
        if column not in kinds or not is_time(kinds[column]):
            got = f"a column of {kinds[column]}" if column in kinds else "no such column"
            times = ", ".join(name for name, kind in kinds.items() if is_time(kind)) or "none; use --at"
            raise InputError(
                f"--each-row-at: table {table!r}, {column!r}: expected a column of times ({times}), got {got}"
            )
        parts = [to_unix_seconds(batch, round_up=False) for batch in read_batches(file, column)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _is_over(graph: RelationalEntityGraph, table: str, time_s: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which rows are not valid any more at these times: bool [rows]."""
    if not len(graph.expiry):
        return np.zeros(len(time_s), bool)
    begin = graph.row_offset[graph.node_types.index(table)]
    return graph.expiry[begin : begin + len(time_s)] < time_s


def _asked(time_s: NDArray[np.int64], reasons: Mapping[int, NDArray[np.bool_]]) -> Questions:
    """Returns the questions about the rows to which no reason applies; of several, the first counts."""
    code = np.select(list(reasons.values()), list(reasons), default=0)
    counts = np.bincount(code, minlength=len(REASONS))
    rows = np.flatnonzero(code == 0)
    return Questions(rows, time_s[rows], {REASONS[c]: int(counts[c]) for c in reasons if counts[c]})


def _nobody(graph: RelationalEntityGraph, table: str, when: str, remedy: str, found: Questions) -> str:
    if not found.left_out:
        return f"table {table!r} has no rows, so there is nothing to embed; name another --table"
    known = graph.table_time(table)[graph.table_time(table) != NO_TIME]
    first = f"; its first row is of {_shown(int(known.min()))}" if len(known) else ""
    counts = ", ".join(f"{number:,} {reason}" for reason, number in found.left_out.items())
    return f"no row of table {table!r} exists {when}: {counts}{first}.\nRemedy: {remedy}"


def _shown(time_s: int) -> str:
    return f"{np.datetime64(time_s, 's')} UTC"
