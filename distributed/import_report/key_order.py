"""Keys to later rows: children that are dated before the parent that they refer to.

Such a key was filled in after its row, or the parent's time is not the time from which it was there (an update time, say). Where one side holds dates
without a time of day, days are compared. Cost: one hash join per foreign key between two dated tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from distributed.import_report.folder_tables import FolderTables, view
from distributed.import_report.report import Finding
from distributed.schema.duckdb_sql import quoted
from distributed.schema.refusals import exclude_option


def keys_to_later_rows(tables: FolderTables) -> Iterator[Finding]:
    """Yields a finding per foreign key some of whose rows lie before their parent."""
    whole_days = {name: _whole_days(tables, name) for name, spec in tables.specs.items() if spec.time_col}
    for name, spec in tables.specs.items():
        for column, parent in spec.fkeys.items():
            if name in whole_days and parent in whole_days:
                found = _finding(tables, name, column, parent, by_day=whole_days[name] or whole_days[parent])
                if found is not None:
                    yield found


def _whole_days(tables: FolderTables, table: str) -> bool:
    time = tables.time(table)
    return bool(
        tables.one(f"SELECT coalesce(bool_and({time} = date_trunc('day', {time})), true) FROM {view(table)}")[0]
    )


def _finding(tables: FolderTables, child: str, column: str, parent: str, *, by_day: bool) -> Finding | None:
    child_time, parent_time = str(tables.time(child, "c")), str(tables.time(parent, "p"))
    if by_day:
        child_time, parent_time = f"date_trunc('day', {child_time})", f"date_trunc('day', {parent_time})"
    lead = f"epoch_us(CAST({parent_time} AS TIMESTAMP)) - epoch_us(CAST({child_time} AS TIMESTAMP))"
    num_later, num_linked, largest_us = tables.one(
        f"SELECT count(*) FILTER ({lead} > 0), count(*), max({lead}) FROM {view(child)} c "
        f"JOIN {view(parent)} p ON c.{quoted(column)} = p.{tables.row}"
    )
    if not num_later:
        return None
    return Finding(
        kind="key_to_later_row",
        table=child,
        column=column,
        num_rows=num_later,
        text=f"refers to a row of {parent} that is dated later than its own row, in {num_later:,} of {num_linked:,} "
        f"rows with this key, by up to {timedelta(microseconds=largest_us)}",
        remedy=f"if the key was filled in later, say so in the schema file (filled_later: [{column}]) or leave it out: "
        f"{exclude_option(f'{child}.{column}')}; if not, {parent}.{tables.specs[parent].time_col} is not the time from which "
        f"the rows of {parent} are there (name another: --time-cols), or say known_with_row: [{column}]",
    )
