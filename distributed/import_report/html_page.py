"""report.html: everything that an import found, on one page that opens offline.

In: an `ImportReport`. Out: one file with its style and pictures in it, without a script or anything from elsewhere. Every text of the data is escaped
by Jinja and ElementTree: a table called <script> is a name. The page is a function of the report and the manifest, so the same import gives the same
bytes. A hundred tables of twenty columns give about 0.4 MB; of more than 5,000 columns only those are listed that have something to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from relbench.manifest import DatasetManifest

from distributed.import_report.leakage_check import leak_lines
from distributed.import_report.report import ColumnReport, ImportReport
from distributed.import_report.rows_over_time import axis_dates, draw_rows_over_time, duration
from distributed.import_report.schema_diagram import draw_schema
from rdl_core.database.label_checks import SplitLabels

MAX_COLUMNS = 5_000
MAX_LINES = 1_000
MAX_CLASSES = 8


def write_page(path: Path, report: ImportReport, manifest: DatasetManifest) -> None:
    """Writes the page of an import."""
    environment = Environment(
        loader=PackageLoader("distributed.import_report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    path.write_text(environment.get_template("page.html").render(**_values(report, manifest)), encoding="utf-8")


def _values(report: ImportReport, manifest: DatasetManifest) -> dict[str, Any]:
    rows = report.rows_over_time
    columns = _listed_columns(report)
    return {
        "report": report,
        "manifest": manifest,
        "num_rows": sum(table.num_rows for table in report.tables.values()),
        "num_keys": sum(len(table.fkey_col_to_pkey_table) for table in report.tables.values()),
        "schema": Markup(draw_schema(report.tables, {finding.table for finding in report.leaks})),
        "rows_over_time": {name: Markup(draw_rows_over_time(rows, name)) for name in rows.counts} if rows else {},
        "outside": rows.num_outside if rows else {},
        "axis": axis_dates(rows) if rows else ("", ""),
        "bar": duration(rows.bin_s) if rows else "",
        "columns": columns,
        "hidden_columns": {name: len(table.columns) - len(columns[name]) for name, table in report.tables.items()},
        "keys": [key for key in report.keys if key.origin != "declared" or not key.is_accepted],
        "other_warnings": _other_warnings(report),
        "limit": MAX_LINES,
        "more": _more,
        "balance": _balance,
    }


def _listed_columns(report: ImportReport) -> dict[str, list[tuple[str, ColumnReport]]]:
    """Returns all columns; where they are too many, those with evidence, nulls or another name, as far as there is place."""
    num_columns = sum(len(table.columns) for table in report.tables.values())
    place, listed = MAX_COLUMNS, {}
    for name, table in report.tables.items():
        found = [(c, r) for c, r in table.columns.items() if num_columns <= MAX_COLUMNS or _has_something_to_tell(r)]
        listed[name] = found[:place]
        place -= len(listed[name])
    return listed


def _other_warnings(report: ImportReport) -> list[str]:
    """Returns the warnings that are neither of a leak nor of labels: those have tables of their own."""
    shown = {*leak_lines(report.leaks), *(finding.line for finding in report.label_findings)}
    return [line for line in report.warnings if line not in shown]


def _has_something_to_tell(column: ColumnReport) -> bool:
    return bool(column.num_null or column.evidence or column.null_spellings or column.renamed_from)


def _more(lines: Sequence[object]) -> Markup:
    more = len(lines) - MAX_LINES
    return Markup("<p>{:,} more, of which import.json tells.</p>").format(more) if more > 0 else Markup()


def _balance(labels: SplitLabels) -> str:
    known = labels.num_rows - labels.num_null
    if labels.classes:
        shown = list(labels.classes.items())[:MAX_CLASSES]
        more = labels.num_distinct - len(shown)
        text = ", ".join(f"{name}: {number:,} ({number / known:.1%})" for name, number in shown)
        return text + (f", and {more:,} more classes" if more > 0 else "")
    if labels.mean is None:
        return ""
    return f"{labels.lowest:.4g} to {labels.highest:.4g}, median {labels.median:.4g}, mean {labels.mean:.4g}, {labels.num_distinct:,} distinct"
