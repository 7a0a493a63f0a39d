"""Tasks with SQL on the nasty database, their labels made by RelBench itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from relbench.base import EntityTask
from relbench.load import RelBenchDataset
from relbench.manifest import TaskManifest

from rdl_core.database import load_task, open_dataset
from tests.nasty_database import write_nasty_database

WINDOW_DAYS = 30
GOALS = """
SELECT t.timestamp AS seed_time, CAST(x.team_id AS BIGINT) AS team_id, coalesce(avg(m.score), -1.0) AS score
FROM timestamps t CROSS JOIN teams x LEFT JOIN "match" m
ON (m.home_id = x.team_id OR m.away_id = x.team_id)
AND m.played_at > t.timestamp AND m.played_at <= t.timestamp + INTERVAL '{timedelta}'
GROUP BY ALL
"""
"""Mean score of a team's matches in the window: scores are NaN at times, away_id null."""
PLAYS = """
SELECT t.timestamp AS seed_time, CAST(m.home_id AS BIGINT) AS team_id, 1 - count(*) % 2 AS plays
FROM timestamps t JOIN "match" m
ON m.played_at > t.timestamp - INTERVAL '90 days' AND m.played_at <= t.timestamp + INTERVAL '{timedelta}'
GROUP BY ALL
"""
"""Whether a number of matches is even, of home teams that have any: not every team at every time."""
SOLD = """
SELECT t.timestamp AS seed_time, CAST(k.match_id AS BIGINT) AS match_id, CAST(count(*) + day(t.timestamp) AS DOUBLE) AS sold
FROM timestamps t, ticket k WHERE k.match_id IS NOT NULL GROUP BY t.timestamp, k.match_id
"""
"""Tickets are sold before their match: the SQL names matches after the test timestamp, which RelBench drops."""
REGRESSION, BINARY = "regression", "binary_classification"


def write_sql_task(dataset_dir: Path, name: str, sql: str, **changes: Any) -> EntityTask:
    """Writes a task and the labels that RelBench makes, each split from rows up to the test timestamp; returns it, opened."""
    fields: dict[str, Any] = {
        "kind": "forecast",
        "task_type": REGRESSION,
        "entity_table": "teams",
        "entity_col": "team_id",
        "time_col": "seed_time",
        "target_col": "score",
        "timedelta": f"{WINDOW_DAYS} days",
        "num_eval_timestamps": 3,
        "sql": sql,
    }
    folder = dataset_dir / "tasks" / name
    TaskManifest.from_dict({"name": name, **fields, **changes}).save(folder / "manifest.yaml")
    dataset = open_dataset(dataset_dir)
    task = dataset.load_task(folder, regenerate=True)
    db = task.get_db(upto_test_timestamp=False)
    for split in ("train", "val", "test"):
        frame = task.get_table(split, mask_input_cols=False, db=db).df
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / f"{split}.parquet")
    return load_task(dataset, name)


def with_sql_tasks(folder: Path) -> tuple[RelBenchDataset, Mapping[str, EntityTask]]:
    """Returns the nasty database, written to a folder, and its three tasks with SQL."""
    write_nasty_database(folder)
    tasks = {
        "goals": write_sql_task(folder, "goals", GOALS),
        "plays": write_sql_task(folder, "plays", PLAYS, target_col="plays", task_type=BINARY),
        "sold": write_sql_task(folder, "sold", SOLD, target_col="sold", entity_table="match", entity_col="match_id"),
    }
    return open_dataset(folder), tasks
