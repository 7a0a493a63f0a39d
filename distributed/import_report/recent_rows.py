"""Columns whose recent rows differ from old ones, as those do that are filled in or changed after the row's time.

A parcel's `delivered_on` is null until it is delivered, its `status` is 'pending'; in a copy of the database, only the latest rows are still so. The
model is trained on old rows, whose cells tell what came after them.

How: the rows of a table are cut at the last half, quarter, eighth ... of its rows in time, down to 50 rows, since nobody knows how long filling in
takes. For each cut, the share of nulls after it is compared with the share before it, and likewise the share of the value that is most frequent
among the newest 50, where that value or the column's name tells of a state. A column is reported where the share is a quarter higher and the
other cells (or these) at least halve (or double), or where three quarters of the other cells that one would expect are missing; over at least five
distinct times, and by more than six standard errors. A column that a system has ceased to fill looks just the same, which the report says.
Cost: one pass over each table, counts only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distributed.import_report.folder_tables import FolderTables, view
from distributed.import_report.report import Finding, FindingKind
from distributed.schema.duckdb_sql import quoted
from distributed.schema.refusals import exclude_option

MIN_ROWS = 50
MIN_TIMES = 5
MIN_DIFFERENCE = 0.25
MIN_STANDARD_ERRORS = 6.0
MAX_OLD_SHARE = 0.05
COLUMNS_AT_A_TIME = 50

_STATE_NAME = re.compile(
    r"(^|_)(status|state|stage|phase|outcome|result|resolution|resolved|paid|shipped|delivered|closed|returned|cancel[a-z]*|"
    r"completed?|refunded|settled|approved|processed|finished|fulfilled|converted|churned|open|active)(_|$)"
)
_PLACEHOLDERS = (
    "", "0", "false", "no", "none", "null", "n/a", "na", "-", "unknown", "pending", "open", "new", "created", "submitted",
    "placed", "processing", "in progress", "in_progress", "waiting", "queued", "draft", "scheduled", "active", "unpaid",
    "not paid", "not started", "undecided", "tbd", "todo", "in transit", "awaiting",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Window:
    """The rows after one cut, and those before it; `share` and `share_before` of them are alike."""

    num_rows: int
    num_alike: int
    share: float
    share_before: float
    since: Any


def columns_of_recent_rows(tables: FolderTables, table: str) -> Iterator[Finding]:
    """Yields a finding per column of a dated table whose recent rows are null, or hold a placeholder, as old rows are not and do not."""
    time = tables.time(table)
    spec = tables.specs[table]
    columns = [field.name for field in tables.schemas[table] if field.name not in (spec.pkey, spec.time_col)]
    if time is None or not columns:
        return
    (num_rows,) = tables.one(f"SELECT count({time}) FROM {view(table)}")
    num_cuts = int(math.log2(num_rows / MIN_ROWS)) if num_rows >= 2 * MIN_ROWS else 0
    if not num_cuts:
        return
    quantiles = ", ".join(str(1 - 0.5**k) for k in range(1, num_cuts + 1))
    (cuts,) = tables.one(f"SELECT quantile_disc({time}, [{quantiles}]) FROM {view(table)} WHERE {time} IS NOT NULL")
    for start in range(0, len(columns), COLUMNS_AT_A_TIME):
        yield from _of_columns(tables, table, time, columns[start : start + COLUMNS_AT_A_TIME], cuts)


def _of_columns(
    tables: FolderTables, table: str, time: str, columns: Sequence[str], cuts: Sequence[Any]
) -> Iterator[Finding]:
    spec = tables.specs[table]
    newest = ", ".join(f"mode({quoted(column)}) AS {quoted(column)}" for column in columns)
    # One thread's order of rows: a tie between two most frequent values must not depend on the machine.
    tables.con.execute(
        f"CREATE OR REPLACE TEMP TABLE newest AS SELECT {newest} FROM (SELECT * FROM {view(table)} "
        f"WHERE {time} IS NOT NULL ORDER BY {time} DESC, {tables.row} DESC LIMIT {MIN_ROWS})"
    )
    values = dict(zip(columns, tables.one("SELECT * FROM newest"), strict=True))
    bucket = " + ".join(f"CAST({time} > TIMESTAMP '{cut}' AS INTEGER)" for cut in cuts)
    counts = ", ".join(
        f"count(*) - count(t.{quoted(c)}), count(*) FILTER (t.{quoted(c)} = newest.{quoted(c)})" for c in columns
    )
    found = tables.rows(
        f"SELECT {bucket}, count(*), approx_count_distinct({time}), {counts} FROM {view(table)} t, newest "
        f"WHERE {time} IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    for number, column in enumerate(columns):
        buckets = [(row[0], row[1], row[2], row[3 + 2 * number]) for row in found]
        window = _clearest(buckets, cuts, MIN_DIFFERENCE)
        if window is not None:
            yield _finding("filled_in_later", table, column, "null", window, is_key=column in spec.fkeys)
            continue
        rule = None if column in spec.fkeys else _rule(column, values[column])
        if rule is None:
            continue
        window = _clearest([(row[0], row[1], row[2], row[4 + 2 * number]) for row in found], cuts, *rule)
        if window is not None:
            yield _finding("changes_later", table, column, repr(values[column]), window)


def snake_case(name: str) -> str:
    """Returns a column's name in lower case, its words parted by underscores."""
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def _rule(column: str, value: Any) -> tuple[float, float] | None:
    """Returns (least difference of shares, largest share among old rows) for a value to be reported; None where nothing tells of a state."""
    is_placeholder = value is not None and (value == 0 or str(value).strip().lower() in _PLACEHOLDERS)
    if _STATE_NAME.search(snake_case(column)):
        # A state that is no placeholder (shipped, in review) is passed through: hardly an old row is left in it.
        return (MIN_DIFFERENCE, 1.0) if is_placeholder else (MIN_DIFFERENCE, MAX_OLD_SHARE)
    return (2 * MIN_DIFFERENCE, 1.0) if is_placeholder else None


def _clearest(
    buckets: Sequence[tuple[int, int, int, int]], cuts: Sequence[Any], min_difference: float, max_before: float = 1.0
) -> Window | None:
    """Returns the cut that is clearest among those that pass; `buckets` are (number, rows, distinct times, rows alike)."""
    best: Window | None = None
    clearest = 0.0
    for k in range(1, len(cuts) + 1):
        new, old = [b for b in buckets if b[0] >= k], [b for b in buckets if b[0] < k]
        num_new, num_old = sum(b[1] for b in new), sum(b[1] for b in old)
        if num_new < MIN_ROWS or num_old < MIN_ROWS or sum(b[2] for b in new) < MIN_TIMES:
            continue
        alike_new, alike_old = sum(b[3] for b in new), sum(b[3] for b in old)
        share, before = alike_new / num_new, alike_old / num_old
        pooled = (alike_new + alike_old) / (num_new + num_old)
        error = math.sqrt(pooled * (1 - pooled) * (1 / num_new + 1 / num_old))
        certainty = (share - before) / error if error else 0.0
        halves = share >= 2 * before or 1 - share <= (1 - before) / 2
        is_large = share - before >= min_difference and halves and certainty >= MIN_STANDARD_ERRORS
        is_missing = 1 - share <= (1 - before) / 4 and certainty >= MIN_STANDARD_ERRORS
        if (is_large or is_missing) and before <= max_before and certainty > clearest:
            clearest = certainty
            best = Window(num_rows=num_new, num_alike=alike_new, share=share, share_before=before, since=cuts[k - 1])
    return best


def _finding(
    kind: FindingKind, table: str, column: str, value: str, window: Window, *, is_key: bool = False
) -> Finding:
    setting = f"filled_later: [{column}]" if is_key else f"columns: {{{column}: {{known_from: TIME_COLUMN}}}}"
    return Finding(
        kind=kind,
        table=table,
        column=column,
        num_rows=window.num_alike,
        text=f"is {value} in {window.share:.0%} of the {window.num_rows:,} rows after {window.since}, and in "
        f"{window.share_before:.1%} of those before: as if it were {'filled in' if value == 'null' else 'changed'} after the row's time",
        remedy=f"say in the schema file {'that it is filled in later' if is_key else 'from when on it is known'} ({setting}), or "
        f"leave it out: {exclude_option(f'{table}.{column}')}; if it is only no longer recorded, keep it",
    )
