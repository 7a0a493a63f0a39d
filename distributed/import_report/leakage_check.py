"""The leakage check of an import: every doubt that the written folder itself raises, each with rows, evidence and remedy.

    later_time        a time after the time of its row               (found at import, in distributed/importing/times.py)
    filled_in_later   null in recent rows, filled in old ones         recent_rows.py
    changes_later     a state that only recent rows have              recent_rows.py
    overwritten       a name that tells of an update in place         overwritten_columns.py
    key_to_later_row  a parent dated after its child                  key_order.py
    label_in_column   a column that determines a task's label         label_columns.py

Columns that the schema file settles (`known_from`, `valid_to`, `filled_later`, `known_with_row`) raise no doubt. What no check can see stays a leak:
a cell that is filled in at once in all rows that were copied. Cost: a few passes over each table, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from relbench.manifest import TaskManifest

from distributed.import_report.folder_tables import FolderTables
from distributed.import_report.key_order import keys_to_later_rows
from distributed.import_report.label_columns import columns_that_tell_labels
from distributed.import_report.overwritten_columns import overwritten_columns
from distributed.import_report.recent_rows import columns_of_recent_rows
from distributed.import_report.report import Finding, Growth, TableReport
from distributed.schema.refusals import exclude_option
from rdl_core.database.table_settings import read_table_settings


def check_leakage(
    opened: FolderTables,
    tables: Mapping[str, TableReport],
    tasks: Iterable[TaskManifest] = (),
    growth: Mapping[str, Growth] | None = None,
) -> tuple[Finding, ...]:
    """Returns the findings of a written folder, one per kind and column.

    Args:
        opened: The folder's tables; label files of `tasks` and settings.yaml lie beside them.
        tables: Their reports, which hold the later times.
        tasks: Tasks whose train labels columns are tried on.
        growth: What --append found: cells that have changed since an earlier import are overwritten in place, for certain.
    """
    findings = [_later_time(name, column, table) for name, table in tables.items() for column in table.later_times]
    findings += [
        _changed(name, column, number, is_key=column in tables[name].fkey_col_to_pkey_table)
        for name, grown in (growth or {}).items()
        for column, number in grown.changed_columns.items()
    ]
    for name in opened.manifest.tables:
        findings += columns_of_recent_rows(opened, name)
        findings += overwritten_columns(opened, name)
    findings += keys_to_later_rows(opened)
    for task in tasks:
        findings += columns_that_tell_labels(opened, task)
    settled = {
        (name, column)
        for name, table in read_table_settings(opened.folder, opened.manifest).items()
        for column in (
            *table.known_from,
            *table.known_from.values(),
            *table.filled_later,
            *table.known_with_row,
            table.valid_to,
        )
    }
    return tuple(finding for finding in findings if (finding.table, finding.column) not in settled)


def leak_lines(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Returns a line per finding, then how to tell a leak from a plan; () where there is none."""
    findings = list(findings)
    if not findings:
        return ()
    columns = exclude_option(*dict.fromkeys(finding.place for finding in findings))
    return (
        *(finding.line for finding in findings),
        "A row's cells count as known from the time of the row on. So, of each of these columns:\n"
        "  - planned or promised at the row's time (a due date, a delivery date): it is known by then, keep it;\n"
        "  - filled in later (a return, a payment, a closing): it tells the future, and so does what is filled in with it "
        "(a status, a fine), which no check can see in full. Say from when on it is known (known_from in the schema file), "
        "or leave these out, here if it is all of them:\n"
        f"      {columns}\n"
        "    or date the row by it (--time-cols), or put them into a table of their own that has this time and a key to the row.",
    )


def _later_time(name: str, column: str, table: TableReport) -> Finding:
    later = table.later_times[column]
    return Finding(
        kind="later_time",
        table=name,
        column=column,
        num_rows=later.num_later,
        text=f"lies after {table.time_col}, the time of its row, in {later.num_later:,} of {table.num_rows:,} rows, "
        f"by up to {timedelta(seconds=later.largest_lead_s)}",
        remedy="if it is a plan (a due date), keep it; if it is filled in later, say so in the schema file "
        f"(columns: {{{column}: {{known_from: {column}}}}}) or leave it out: {exclude_option(f'{name}.{column}')}",
    )


def _changed(name: str, column: str, num_rows: int, *, is_key: bool) -> Finding:
    setting = f"filled_later: [{column}]" if is_key else f"columns: {{{column}: {{known_from: TIME_COLUMN}}}}"
    return Finding(
        kind="overwritten",
        table=name,
        column=column,
        num_rows=num_rows,
        text=f"has changed in {num_rows:,} rows since the earlier import: it is overwritten in place",
        remedy=f"say so in the schema file ({setting}), keep its versions in a table of their own (valid_from, valid_to), "
        f"or leave it out: {exclude_option(f'{name}.{column}')}",
    )
