"""Tasks: labels made by SQL."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import relbench

from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import config, run, sqlite_file

TASK = """name: busy
kind: forecast
task_type: binary_classification
entity_table: a
entity_col: a
target_col: busy
time_col: timestamp
timedelta: 5 days
sql: |-
  SELECT t.timestamp, b.a, CAST(count(*) > 1 AS BIGINT) AS busy FROM timestamps t JOIN b
  ON b.at > t.timestamp AND b.at <= t.timestamp + INTERVAL '{timedelta}' GROUP BY t.timestamp, b.a
"""


DAILY = """CREATE TABLE a (id TEXT PRIMARY KEY); CREATE TABLE b (no INTEGER PRIMARY KEY, a TEXT REFERENCES a, at DATE);
INSERT INTO a VALUES ('x'), ('y');
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 59)
INSERT INTO b SELECT 3 * i, CASE WHEN i % 7 < 4 THEN 'x' ELSE 'y' END,
    date('2020-01-01', '+' || i || ' days') FROM n;"""


def test_task_labels_are_relbenchs_own(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK)
    source = sqlite_file(tmp_path / "daily.db", DAILY)
    options = {"tasks": tmp_path / "tasks", "val_timestamp": "2020-02-01", "test_timestamp": "2020-02-10"}
    report = import_database(config(source, tmp_path / "out", **options), None)
    folder = tmp_path / "out" / "tasks" / "busy"
    assert (folder / "manifest.yaml").read_text() == TASK
    task = relbench.load_dataset(tmp_path / "out").load_task("busy", regenerate=True)
    for split, num_rows in report.tasks["busy"].items():
        found = pq.read_table(folder / f"{split}.parquet")
        expected = task.get_table(split, mask_input_cols=False).df
        assert found.to_pandas().astype({"timestamp": "M8[ns]"}).equals(expected.astype({"timestamp": "M8[ns]"}))
        assert found.num_rows == num_rows > 0
        assert found.schema.field("timestamp").type == pa.timestamp("ns")
    # By hand: the seed is 1 February, day 31; x buys on days 0 to 3 of 7.
    val = pq.read_table(folder / "val.parquet").to_pydict()
    days = [(31 + i) % 7 for i in range(1, 6)]
    assert val["busy"] == [int(sum(d < 4 for d in days) > 1), int(sum(d >= 4 for d in days) > 1)] and val["a"] == [0, 1]


def test_a_test_timestamp_too_late_for_its_labels_is_refused_with_the_latest_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK)
    source = sqlite_file(tmp_path / "daily.db", DAILY)
    options = {"tasks": tmp_path / "tasks", "val_timestamp": "2020-02-01"}
    with pytest.raises(ImportRefused, match=r"--test-timestamp at most '[^']+' for 5 days") as refused:
        run(source, tmp_path / "out", test_timestamp="2020-12-30", **options)
    latest = str(refused.value).split("at most '")[1].split("'")[0]
    run(source, tmp_path / "out", test_timestamp=latest, **options)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("GROUP BY t.timestamp, b.a", "GROUPED BY x", r"task file busy.yaml: DuckDB refuses the SQL:(.|\n)*GROUPED"),
        ("count(*) > 1", "NULL", "busy.yaml, train, column 'busy', row 0: null"),
        ("AS busy", "AS bussy", "no column 'busy'"),
        ("entity_table: a", "entity_table: c", "no table 'c'; expected one of"),
        ("JOIN b\n", "JOIN (SELECT * FROM b WHERE no < 0) b\n", "the SQL gives no row for a split"),
        ("5 days", "20 days", "RelBench refuses the task: timedelta cannot be larger"),
        ("5 days", "five", "task file busy.yaml"),
        ("kind: forecast", "kind: guess", "kind must be one of"),
        ("kind: forecast", "kind: external", "kind 'external'"),
    ],
)
def test_bad_tasks_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "tasks").mkdir()
    assert old in TASK
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK.replace(old, new))
    source = sqlite_file(tmp_path / "daily.db", DAILY)
    options = {"tasks": tmp_path / "tasks", "val_timestamp": "2020-02-01", "test_timestamp": "2020-02-10"}
    with pytest.raises(ImportRefused, match=message):
        run(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("select", "named"),
    [
        ("SELECT t.timestamp + INTERVAL '20 days' AS timestamp", "train, row .*looks to .*2020-02-01"),
        ("SELECT t.timestamp - INTERVAL '9 days' AS timestamp", "val, row 0: .*expected times from 2020-02-01"),
    ],
)
def test_sql_that_moves_labels_into_another_split_is_refused(tmp_path: Path, select: str, named: str) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK.replace("SELECT t.timestamp", select))
    source = sqlite_file(tmp_path / "daily.db", DAILY)
    options = {"tasks": tmp_path / "tasks", "val_timestamp": "2020-02-01", "test_timestamp": "2020-02-10"}
    with pytest.raises(ImportRefused, match=named):
        import_database(config(source, tmp_path / "out", **options), None)


def test_several_labels_of_one_entity_at_one_time_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "busy.yaml").write_text(
        TASK.replace("GROUP BY t.timestamp, b.a", "GROUP BY t.timestamp, b.a, b.no")
    )
    source = sqlite_file(tmp_path / "daily.db", DAILY)
    options = {"tasks": tmp_path / "tasks", "val_timestamp": "2020-02-01", "test_timestamp": "2020-02-10"}
    with pytest.raises(ImportRefused, match="train, row 0: a 0 has several labels at .*GROUP BY both"):
        import_database(config(source, tmp_path / "out", **options), None)
