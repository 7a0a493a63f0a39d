"""A look at the whole of a written dataset folder: leaks, labels, rows over time, nulls per column.

In: the folder of an import before it takes its name. Out: the parts of an `ImportReport` that do not depend on how the rows came there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from relbench.manifest import DatasetManifest, TaskManifest

from distributed.import_report.folder_tables import opened_tables
from distributed.import_report.labels import label_findings, label_lines, labels_of_tasks
from distributed.import_report.leakage_check import check_leakage, leak_lines
from distributed.import_report.report import Finding, Growth, RowsOverTime, TableReport, TaskLabels
from distributed.import_report.rows_over_time import count_rows_over_time


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The parts of an `ImportReport` of the same names, and the lines about labels."""

    leaks: tuple[Finding, ...]
    labels: dict[str, TaskLabels]
    label_findings: tuple[Finding, ...]
    rows_over_time: RowsOverTime | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The lines of all findings."""
        return (*leak_lines(self.leaks), *(finding.line for finding in self.label_findings))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that a user sees: labels, then warnings."""
        return (*label_lines(self.labels), *self.warnings)


def inspect_folder(
    folder: Path,
    manifest: DatasetManifest,
    tables: Mapping[str, TableReport],
    tasks: Iterable[TaskManifest],
    growth: Mapping[str, Growth],
) -> Inspection:
    """Looks at a folder whose tables and label files are written; `growth` is what --append did."""
    tasks = list(tasks)
    labels = labels_of_tasks(tasks, folder)
    with opened_tables(folder, manifest) as opened:
        return Inspection(
            leaks=check_leakage(opened, tables, tasks, growth),
            labels=labels,
            label_findings=tuple(label_findings(labels)),
            rows_over_time=count_rows_over_time(opened),
        )


def nulls_per_column(path: Path) -> dict[str, int]:
    """Returns the nulls of each column of a Parquet file, from its row groups' statistics; a column without them is read."""
    nulls: dict[str, int] = {}
    with pq.ParquetFile(path) as file:
        for position, name in enumerate(file.schema_arrow.names):
            if file.metadata.num_columns == len(file.schema_arrow.names):
                groups = [file.metadata.row_group(g).column(position).statistics for g in range(file.num_row_groups)]
                if all(group is not None and group.has_null_count for group in groups):
                    nulls[name] = sum(group.null_count for group in groups)
                    continue
            nulls[name] = sum(batch.column(0).null_count for batch in file.iter_batches(columns=[name]))
    return nulls
