"""Folders of CSV files that declare nothing, and what is proposed for them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from distributed.importing.config import ImportConfig
from distributed.importing.importer import propose_schema
from distributed.inference.evidence import Proposal, Verdict

Table = tuple[str, Iterable[Sequence[Any]]]
"""The names of the columns, parted by spaces, and the rows."""


def write_csv(folder: Path, tables: Mapping[str, Table]) -> Path:
    """Writes `<table>.csv` each; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header.split(), *rows])
    return folder


def to_csv(dataset: Path, folder: Path) -> Path:
    """Writes a RelBench folder's tables as CSV, which declares no keys; returns the folder."""
    folder.mkdir(parents=True)
    for path in (dataset / "db").glob("*.parquet"):
        pa_csv.write_csv(pq.read_table(path), folder / f"{path.stem}.csv")
    return folder


def proposed(source: Path | str, **options: Any) -> Proposal:
    """Returns what is proposed; the schema file is `proposed.yaml` beside a folder."""
    target = options.pop("propose", None) or Path(source).with_name("proposed.yaml")
    return propose_schema(ImportConfig(source=str(source), propose=target, **options), None)


def pkeys(proposal: Proposal, *verdicts: Verdict) -> dict[str, str]:
    """Returns {table: columns joined by +} of the primary keys with one of these verdicts."""
    return {key.table: "+".join(key.columns) for key in proposal.primary_keys if key.verdict in verdicts}


def fkeys(proposal: Proposal, *verdicts: Verdict) -> set[str]:
    """Returns `table.column -> parent.column` of the foreign keys with one of these verdicts."""
    return {
        f"{key.table}.{key.column} -> {key.parent}.{key.parent_column}"
        for key in proposal.foreign_keys
        if key.verdict in verdicts
    }


def time_cols(proposal: Proposal, *verdicts: Verdict) -> dict[str, str]:
    """Returns {table: column} of the time columns with one of these verdicts."""
    return {time.table: time.column for time in proposal.time_columns if time.verdict in verdicts}
