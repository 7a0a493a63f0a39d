"""The two tasks of the nasty database, one more of several classes, one of links, and a task that watches who reads its labels."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.base import EntityTask
from relbench.manifest import TaskManifest

from tests.nasty_database import TEST, TRAIN_SEEDS, VAL

WINS, POINTS = "team-wins", "team-points"  # binary classification, regression
TOWNS = "team-towns"  # of three classes, which `add_class_task` adds
VISITS = "team-visits"  # of links, which `add_link_task` adds


def add_class_task(folder: Path, label: Callable[[str, int], Any] = lambda split, team: f"town {team % 3}") -> None:
    """Adds TOWNS to a nasty database: the seeds of WINS, and labels of (split, team), by default what the team's "home town" says."""
    manifest = TaskManifest.load(folder / "tasks" / WINS / "manifest.yaml")
    changes = {"name": TOWNS, "task_type": "multiclass_classification", "target_col": "town"}
    dataclasses.replace(manifest, **changes).save(folder / "tasks" / TOWNS / "manifest.yaml")
    for split in ("train", "val", "test"):
        rows = pq.read_table(folder / "tasks" / WINS / f"{split}.parquet")
        towns = pa.array([label(split, team) for team in rows["team_id"].to_pylist()])
        rows = rows.drop_columns(["wins"]).append_column("town", towns)
        pq.write_table(rows, folder / "tasks" / TOWNS / f"{split}.parquet")


class WatchedTask:
    """A task that passes everything on, counts reads of labels, and keeps those of test closed until `is_open`."""

    def __init__(self, task: EntityTask, **changes: Any) -> None:
        self._task, self._changes, self.is_open, self.reads = task, changes, False, 0

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else getattr(self._task, name)

    def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
        if split == "test":
            assert self.is_open, "test labels were read before training was over"
            self.reads += 1
        return self._task.get_table(split, *args, **kwargs)


def labels(task: EntityTask, split: str) -> np.ndarray:
    return task.get_table(split, mask_input_cols=False).df[task.target_col].to_numpy()


def add_link_task(folder: Path) -> None:
    """Adds VISITS to a nasty database: whom a team receives in the next 30 days, both of one table; also a row of nobody, and one without guest."""
    window = datetime.timedelta(days=30)
    manifest = {
        "name": VISITS,
        "kind": "external",
        "task_type": "recommendation",
        "target_col": "guest_id",
        "time_col": "seed_time",
        "src_entity_table": "teams",
        "src_entity_col": "host_id",
        "dst_entity_table": "teams",
        "dst_entity_col": "guest_id",
        "eval_k": 3,
        "timedelta": "30 days",
    }
    TaskManifest.from_dict(manifest).save(folder / "tasks" / VISITS / "manifest.yaml")
    matches = pq.read_table(folder / "db" / "match.parquet").select(["home_id", "away_id", "played_at"])
    for split, seeds in (("train", TRAIN_SEEDS), ("val", [VAL]), ("test", [TEST])):
        rows: list[tuple[datetime.datetime, int | None, list[int]]] = []
        for seed in seeds:
            guests: dict[int, set[int]] = {}
            for home, away, played in zip(*(column.to_pylist() for column in matches.columns), strict=True):
                if away is not None and played is not None and seed < played.replace(tzinfo=None) <= seed + window:
                    guests.setdefault(home, set()).add(away)
            rows += [(seed, home, sorted(them)) for home, them in sorted(guests.items())]
            rows += [(seed, None, [1, 2]), (seed, 9, [])] if split != "test" else []
        times, homes, lists = zip(*rows, strict=True)
        columns = {
            "seed_time": pa.array(times, pa.timestamp("us")),
            "host_id": pa.array(homes, pa.int64()),
            "guest_id": pa.array(lists, pa.list_(pa.int64())),
        }
        pq.write_table(pa.table(columns), folder / "tasks" / VISITS / f"{split}.parquet")
