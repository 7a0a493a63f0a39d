"""A made-up lending library as a RelBench folder: 400 readers, 4,000 loans over three years, to which tests add columns that leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from distributed.import_report.folder_tables import opened_tables
from distributed.import_report.leakage_check import check_leakage
from distributed.import_report.report import Finding

NUM_READERS, NUM_LOANS, NUM_TOWNS = 400, 4000, 20
END = pd.Timestamp("2023-01-01")
SPECS = {
    "towns": TableSpec(pkey="id"),
    "readers": TableSpec(pkey="id", time_col="joined", fkeys={"town": "towns"}),
    "loans": TableSpec(pkey="id", time_col="at", fkeys={"reader": "readers"}),
    "profiles": TableSpec(fkeys={"reader": "readers"}),
}
Tables = dict[str, pd.DataFrame]


def library(seed: int = 0) -> Tables:
    """Returns the tables without a leak: rows in time order, keys as row numbers."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2020-01-01")
    towns = pd.DataFrame({"id": range(NUM_TOWNS), "name": [f"town {i}" for i in range(NUM_TOWNS)]})
    joined = start - pd.to_timedelta(np.sort(rng.uniform(1, 365, NUM_READERS))[::-1], unit="D")
    readers = pd.DataFrame(
        {
            "id": range(NUM_READERS),
            "joined": joined,
            "town": rng.integers(0, NUM_TOWNS, NUM_READERS),
            "name": [f"reader {i}" for i in range(NUM_READERS)],
            "score": rng.normal(size=NUM_READERS),
        }
    )
    at = start + pd.to_timedelta(np.sort(rng.uniform(0, 3 * 365, NUM_LOANS)), unit="D").round("s")
    loans = pd.DataFrame(
        {
            "id": range(NUM_LOANS),
            "reader": rng.integers(0, NUM_READERS, NUM_LOANS),
            "at": at,
            "pages": rng.integers(50, 900, NUM_LOANS),
            "genre": rng.choice(["crime", "poetry", "history"], NUM_LOANS),
            "remark": np.where(rng.random(NUM_LOANS) < 0.3, "kept", None),
        }
    )
    profiles = pd.DataFrame({"reader": range(NUM_READERS), "motto": rng.choice(list("abcdef"), NUM_READERS)})
    return {"towns": towns, "readers": readers, "loans": loans, "profiles": profiles}


def labels(target: Sequence[Any] | np.ndarray, times: Sequence[str] = ("2021-01-01", "2021-07-01")) -> pd.DataFrame:
    """Returns train labels: every reader at every time, `target` per reader."""
    parts = [pd.DataFrame({"timestamp": pd.Timestamp(t), "reader": range(NUM_READERS), "y": target}) for t in times]
    return pd.concat(parts, ignore_index=True)


def task(task_type: str = "binary_classification", **changes: Any) -> TaskManifest:
    """Returns a task about readers."""
    known: dict[str, Any] = {
        "name": "leaves",
        "kind": "forecast",
        "task_type": task_type,
        "entity_table": "readers",
        "entity_col": "reader",
        "target_col": "y",
        "time_col": "timestamp",
        "timedelta": "30 days",
    }
    return TaskManifest(**known | changes)


def write(
    folder: Path, tables: Tables, train: pd.DataFrame | None = None, specs: Mapping[str, TableSpec] = SPECS
) -> DatasetManifest:
    """Writes a dataset folder, and the train labels of the task."""
    (folder / "db").mkdir(parents=True)
    for name, frame in tables.items():
        frame.to_parquet(folder / "db" / f"{name}.parquet")
    if train is not None:
        (folder / "tasks" / "leaves").mkdir(parents=True)
        train.to_parquet(folder / "tasks" / "leaves" / "train.parquet")
    manifest = DatasetManifest(
        name="library",
        val_timestamp="2022-01-01",
        test_timestamp="2022-07-01",
        tables={name: specs[name] for name in tables},
    )
    manifest.save(folder / "manifest.yaml")
    return manifest


def findings(
    folder: Path,
    tables: Tables,
    train: pd.DataFrame | None = None,
    about: TaskManifest | None = None,
    specs: Mapping[str, TableSpec] = SPECS,
) -> list[Finding]:
    """Returns what the leakage check finds."""
    manifest = write(folder, tables, train, specs)
    with opened_tables(folder, manifest) as opened:
        return list(check_leakage(opened, {}, [about or task()] if train is not None else ()))


def places(found: Sequence[Finding]) -> list[tuple[str, str]]:
    """Returns (kind, table.column) of findings."""
    return [(finding.kind, finding.place) for finding in found]
