"""What SQL databases deliver and what imports of them make: the rows of each table, and what was said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from distributed.schema.table_plan import TablePlan, plan_tables
from distributed.sources.catalogue import Wanted
from distributed.sources.duckdb_source import DuckdbSource, is_duckdb
from distributed.sources.sql_source import SqlSource


def config(source: str, out: Path, **options: Any) -> ImportConfig:
    cutoffs = {"val_timestamp": "2020-01-15", "test_timestamp": "2020-02-15"}
    return ImportConfig(source=source, out=out, name="server", **{**cutoffs, **options})


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Args:
        rows: Columns of each table.
        lines: All that it said.
    """

    rows: dict[str, dict[str, list[Any]]]
    lines: list[str]

    def said(self, *words: str) -> bool:
        """Whether one line has all these words."""
        return any(all(word in line for word in words) for line in self.lines)


def delivered(source: str, **options: Any) -> Imported:
    """What a database delivers for the import to work on: keys as they are, times of SQLite as text; far quicker than an import."""
    kind = DuckdbSource if is_duckdb(source) else SqlSource
    with kind(source, 1_000, Wanted(**options)) as opened:
        plans = plan_tables(opened.schemas(), tables=None, exclude=())
        tables = {
            name: pa.Table.from_batches([*opened.batches(plan)] or [_empty(plan)]) for name, plan in plans.items()
        }
        left_out = [f"{name}.{c}: left out, {why}" for name, plan in plans.items() for c, why in plan.left_out.items()]
        return Imported({name: table.to_pydict() for name, table in tables.items()}, [*opened.notes(), *left_out])


def _empty(plan: TablePlan) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({column: [] for column in plan.columns})


def imported(source: str, out: Path, **options: Any) -> Imported:
    lines: list[str] = []
    report = import_database(config(source, out, **options), lines.append)
    rows = {name: pq.read_table(out / "db" / f"{name}.parquet").to_pydict() for name in report.tables}
    return Imported(rows, lines)
