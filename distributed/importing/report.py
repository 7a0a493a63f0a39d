"""The report of an import, its lines, and `import.json`, which tells a repeated import from another one.

In: ordered tables and their key counts. Out: `ImportReport`; JSON without passwords; with --strict, a refusal of all that was counted and said.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from distributed.import_report.inspection import nulls_per_column
from distributed.import_report.report import ColumnReport, ImportReport, LaterTimes, TableReport
from distributed.importing.keys import KeyCounts, OrderedTable
from distributed.schema.refusals import ImportRefused
from rdl_core.config import decode
from rdl_core.problems import numbered


def table_report(
    table: OrderedTable, counts: KeyCounts, later_times: dict[str, LaterTimes], folder: Path
) -> TableReport:
    """Returns the report of a table whose files are written."""
    plan = table.plan
    return TableReport(
        num_rows=table.num_rows,
        num_columns=len(pq.read_schema(folder / "db" / f"{plan.name}.parquet")),
        pkey_col=plan.pkey_out,
        time_col=table.time_out,
        fkey_col_to_pkey_table={link.out_column: link.parent for link in plan.links},
        null_fkeys=counts.null,
        dangling_fkeys=counts.dangling,
        left_out=plan.left_out,
        later_times=later_times,
        unselected_fkeys=counts.unselected,
        columns=_column_reports(table, counts, folder / "db" / f"{plan.name}.parquet"),
    )


def _column_reports(table: OrderedTable, counts: KeyCounts, path: Path) -> dict[str, ColumnReport]:
    types, nulls = pq.read_schema(path), nulls_per_column(path)
    reports = {}
    for name in types.names:
        source = str(table.time_col) if name == table.time_out else name
        is_key = name == table.plan.pkey_out or name in {link.out_column for link in table.plan.links}
        reports[name] = ColumnReport(
            kind="row number" if is_key else str(types.field(name).type),
            num_null=nulls[name],
            evidence=_evidence(table, source, is_key=is_key),
            null_spellings=table.typed.nulls.get(source, {}) | counts.spelled.get(source, {}),
            renamed_from=source if source != name else None,
        )
    return reports


def _evidence(table: OrderedTable, column: str, *, is_key: bool) -> str:
    """Returns how a column's type was found; "" where it is as the source declares it."""
    if column not in table.plan.columns:
        return "" if is_key else "made at import"
    declared, kind, reading = table.plan.columns[column], table.kinds[column], table.typed.readings.get(column)
    written = f", written as {reading}" if reading else ""
    if kind == declared and not written:
        return ""
    return f"{declared} in the source, all values read as {kind}{written}"


def table_lines(tables: Mapping[str, TableReport]) -> list[str]:
    """Returns the lines that a user sees of the tables."""
    lines = []
    for name, table in tables.items():
        fkeys = ", ".join(f"{column} -> {parent}" for column, parent in table.fkey_col_to_pkey_table.items())
        lines.append(
            f"{name}: {table.num_rows:,} rows, {table.num_columns} columns, pkey {table.pkey_col}, "
            f"time_col {table.time_col}, fkeys {fkeys or None}"
        )
        lines += [f"{name}.{column}: left out, {reason}" for column, reason in table.left_out.items()]
        lines += [
            f"{name}.{column}: {n:,} dangling keys set to null" for column, n in table.dangling_fkeys.items() if n
        ]
        lines += [
            f"{name}.{column}: {n:,} keys set to null, since --where leaves the rows out that they refer to"
            for column, n in table.unselected_fkeys.items()
            if n
        ]
    return lines


def refuse_doubts(report: ImportReport) -> None:
    """Refuses an import of which anything is to be doubted.

    Raises:
        ImportRefused: It names all that was counted, by table and column, and every warning.
    """
    problems = []
    for name, table in report.tables.items():
        problems += [
            f"table {name!r}, key {column!r}: {n:,} rows are null" for column, n in table.null_fkeys.items() if n
        ]
        problems += [
            f"table {name!r}, key {column!r}: {n:,} rows have no parent"
            for column, n in table.dangling_fkeys.items()
            if n
        ]
        for column, found in table.columns.items():
            spelled = ", ".join(f"{n:,} {spelling!r}" for spelling, n in found.null_spellings.items())
            problems += [f"table {name!r}, column {column!r}: {spelled} would be read as null"] if spelled else []
    problems += report.warnings
    if problems:
        # One problem, so that its remedy stands above the list, which is cut after the first ten.
        headline = "--strict refuses what follows; correct the source, leave columns out by --exclude, or import without --strict"
        raise ImportRefused(numbered(problems, headline))


def read_report(out: Path, identity: Mapping[str, Any]) -> ImportReport:
    """Returns the report of the import that `out` holds.

    Raises:
        FileExistsError: It is no import, or another one.
    """
    path = out / "import.json"
    if not path.is_file():
        raise FileExistsError(f"{out} exists and is no import; remove it, or choose another --out")
    found = json.loads(path.read_text(encoding="utf-8"))
    for key, what in (
        ("config_hash", "with other options or task files"),
        ("source_hashes", "before the source changed"),
    ):
        if found[key] != identity[key]:
            raise FileExistsError(f"{out} was imported {what}; remove it, or choose another --out")
    report = {**found["report"], "manifest": out / "manifest.yaml", "is_reused": True}
    return decode(ImportReport, report, f"{path}: report")


def write_import_json(path: Path, identity: Mapping[str, Any], report: ImportReport, more: Mapping[str, Any]) -> None:
    """Writes import.json: identity and report, and with --append what the imports before this one were."""
    content = dataclasses.asdict(report)
    del content["manifest"], content["is_reused"]
    path.write_text(
        json.dumps(
            {**identity, **more, "report": content},
            indent=1,
            ensure_ascii=False,
        ),
        encoding="utf-8",
    )
