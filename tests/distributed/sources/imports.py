"""Imports of SQL databases in tests: the rows of each imported table, and what the import said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database


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


def imported(source: str, out: Path, **options: Any) -> Imported:
    lines: list[str] = []
    report = import_database(config(source, out, **options), lines.append)
    rows = {name: pq.read_table(out / "db" / f"{name}.parquet").to_pydict() for name in report.tables}
    return Imported(rows, lines)
