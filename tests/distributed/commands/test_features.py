"""`rdl features` as people use it, in this process: the file, its columns and labels, and refusals of one screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

import distributed.commands.features
from distributed.__main__ import main
from rdl_core.config import ColumnsConfig
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.statistics.columns import Columns
from rdl_core.tasks.labels import read_split

Captured = pytest.CaptureFixture[str]


def features(data: Path, folder: Path, *words: str) -> int:
    common = ["--data", str(data), "--runs-dir", str(folder / "runs"), "--out", str(folder / "out.parquet"), "--json"]
    return main(["features", *common, *words])


@pytest.fixture
def made(nasty_dataset: RelBenchDataset, tmp_path: Path, capsys: Captured) -> tuple[dict[str, Any], Path, str]:
    """The result, the file and what was said of team-points, in groups of few rows."""
    groups = distributed.commands.features.ROWS_PER_GROUP
    distributed.commands.features.ROWS_PER_GROUP = 7
    try:
        assert features(Path(nasty_dataset.dataset_dir), tmp_path, "--task", "team-points", "--columns.hops", "2") == 0
    finally:
        distributed.commands.features.ROWS_PER_GROUP = groups
    out, said = capsys.readouterr()
    (line,) = out.splitlines()
    return json.loads(line), tmp_path / "out.parquet", said


def test_the_file_has_labels_and_the_raw_columns_of_every_split_in_order(
    made: tuple[dict[str, Any], Path, str], nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    result, path, _ = made
    table, columns = pq.read_table(path), Columns(nasty_store, "teams", ColumnsConfig(hops=2))
    assert table.column_names == ["team_id", "seed_time", "split", "points", *columns.names]
    task = load_task(nasty_dataset, "team-points")
    for name in ("train", "val", "test"):
        split = read_split(task, name, "rolling", nasty_store.test_timestamp_s)
        rows = table.filter(np.array(table["split"].to_pylist()) == name)
        assert rows["team_id"].to_pylist() == split.entities.tolist()
        assert (rows["seed_time"].cast("int64").to_numpy() == split.time_s * 1000).all()
        np.testing.assert_array_equal(rows["points"].to_numpy(), split.target)
        found = np.stack([rows[column].to_numpy() for column in columns.names], axis=1)
        np.testing.assert_array_equal(found, columns(split.entities, split.before_s, raw=True))
        assert result["rows"][name] == len(split)


def test_what_was_made_is_said_and_in_the_result(made: tuple[dict[str, Any], Path, str]) -> None:
    result, path, said = made
    assert result["columns"] == len(pq.read_schema(path).names) - 4
    assert f"{result['columns']:,} columns of teams, over paths of up to 2 keys" in said
    assert f"{path}: 40 rows of train" in said
    assert json.loads((Path(result["run"]) / "result.json").read_text()) == result


def test_one_split_and_fewer_hops_can_be_asked_for(nasty_dataset: RelBenchDataset, tmp_path: Path) -> None:
    data = Path(nasty_dataset.dataset_dir)
    assert features(data, tmp_path, "--task", "team-wins", "--split", "val", "--columns.hops", "1") == 0
    table = pq.read_table(tmp_path / "out.parquet")
    assert set(table["split"].to_pylist()) == {"val"} and not any("latest" in name for name in table.column_names)


def test_a_task_that_is_not_there_is_refused_and_leaves_no_file(
    nasty_dataset: RelBenchDataset, tmp_path: Path, capsys: Captured
) -> None:
    assert features(Path(nasty_dataset.dataset_dir), tmp_path, "--task", "team-losses") == 2
    error = capsys.readouterr().err
    assert "team-points, team-wins" in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_the_help_teaches_what_a_column_is_called(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["features", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "mean of results.points over the last 4 via driverId" in text
    assert "--columns.num-children" in text


@pytest.mark.parametrize(("name", "why"), [("runs", "is a folder"), ("out.csv", "has another name")])
def test_what_is_no_parquet_file_is_refused_before_any_work(
    nasty_dataset: RelBenchDataset, tmp_path: Path, capsys: Captured, name: str, why: str
) -> None:
    (tmp_path / "runs").mkdir()
    words = ["--task", "team-points", "--out", str(tmp_path / name)]
    assert features(Path(nasty_dataset.dataset_dir), tmp_path, *words) == 2
    assert f"{name} {why}; expected a file to write whose name ends in .parquet" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not any((tmp_path / "runs").iterdir())
