"""`rdl predict` as people use it, on the nasty database whose teams have keys of their own: files, tables, submissions, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from distributed.__main__ import main
from distributed.prediction import parts
from rdl_core.database import load_task, open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.sharing.publication import copy_to_send
from tests.nasty_database import NUM_TEAMS, write_nasty_database
from tests.nasty_tasks import POINTS, TOWNS, WINS, add_class_task
from tests.rdl_core.prediction.small_models import READING, fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]
KEYS = [f"T-{row:03d}" for row in range(NUM_TEAMS)]


@dataclass
class Work:
    """A dataset, its models by task, and a folder of runs."""

    data: Path
    runs_dir: Path
    models: dict[str, Path]

    def words(self, task: str, *more: object) -> list[str]:
        common = ("--checkpoint", self.models[task], "--data", self.data, "--runs-dir", self.runs_dir)
        return ["predict", *map(str, (*common, *more)), "--json"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("predict")
    data = write_nasty_database(folder / "nasty")
    add_class_task(data)
    (data / "keys").mkdir()
    rows = list(range(NUM_TEAMS))[::-1]
    pq.write_table(pa.table({"source_key": [KEYS[r] for r in rows], "row_number": rows}), data / "keys/teams.parquet")
    dataset = open_dataset(data)
    store = materialize(dataset, folder / "runs" / "stores")
    models = {name: fine_tune(folder / name, store, load_task(dataset, name))[0] for name in (WINS, POINTS, TOWNS)}
    return Work(data, folder / "runs", models)


def predicted(capsys: Captured, words: list[str]) -> tuple[dict[str, Any], str]:
    """(result, what people see) of a command that must succeed."""
    capsys.readouterr()
    status = main(words)
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out.splitlines()[-1]), err


def refused(capsys: Captured, words: list[str]) -> str:
    """What people see of a command that must be refused as bad input."""
    capsys.readouterr()
    try:
        status = main(words)
    except SystemExit as left:
        status = left.code
    assert status == 2
    return " ".join(capsys.readouterr().err.split())


def test_all_entities_of_tomorrow_are_predicted_by_their_own_keys(work: Work, capsys: Captured, tmp_path: Path) -> None:
    out = tmp_path / "tomorrow.parquet"
    result, shown = predicted(capsys, work.words(WINS, "--all", "--out", out))
    rows = pq.read_table(out).to_pandas()
    assert list(rows) == ["team_id", "time", "prediction", "model", "data"]
    assert rows["team_id"].tolist() == [key for row, key in enumerate(KEYS) if row != 10], (
        "team 10 is referred to by nothing"
    )
    assert rows["prediction"].between(0, 1).all()
    assert (result["rows"], result["path"]) == (len(rows), str(out))
    assert {(result["model"], result["data"])} == set(zip(rows["model"], rows["data"], strict=True))
    assert "not refitted" in shown and not result["refitted"]
    assert "older than the time asked for" not in shown
    assert not list(Path(result["run"]).glob("parts*")), "parts are gone once the file is whole"


def test_a_time_more_than_a_window_after_the_last_row_is_warned_of(
    work: Work, capsys: Captured, tmp_path: Path
) -> None:
    shown = predicted(capsys, work.words(WINS, "--all", "--at", "2031-01-01", "--out", tmp_path / "far.csv"))[1]
    assert "to the model nothing has happened since" in " ".join(shown.split())


def test_several_classes_have_a_probability_each_and_neither_intervals_nor_a_submission(
    work: Work, capsys: Captured, tmp_path: Path
) -> None:
    out = tmp_path / "towns.parquet"
    _, shown = predicted(capsys, work.words(TOWNS, "--all", "--out", out))
    rows = pq.read_table(out).to_pandas()
    probabilities = rows.filter(like="probability_")
    assert list(probabilities) == [f"probability_town {number}" for number in range(3)]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert rows["prediction"].tolist() == [n.removeprefix("probability_") for n in probabilities.idxmax(axis=1)]
    assert "lower" not in rows and "interval" not in shown
    said = refused(capsys, work.words(TOWNS, "--split", "test", "--out", tmp_path / "towns.csv"))
    assert "has several classes, of which RelBench has neither metric nor submission" in said


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_entities_of_a_file_come_back_in_its_order_whatever_its_format(
    work: Work, capsys: Captured, tmp_path: Path, suffix: str
) -> None:
    asked = pd.DataFrame({"note": ["a", "b", "c"], "team_id": [KEYS[3], KEYS[1], KEYS[3]]})
    path, out = tmp_path / f"asked.{suffix}", tmp_path / f"out.{suffix}"
    asked.to_csv(path, index=False) if suffix == "csv" else asked.to_parquet(path)
    predicted(capsys, work.words(POINTS, "--entities", path, "--at", "2020-09-01", "--out", out))
    rows = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert rows["team_id"].tolist() == asked["team_id"].tolist()
    assert rows["prediction"][0] == rows["prediction"][2]
    assert set(pd.to_datetime(rows["time"])) == {pd.Timestamp("2020-09-01", tz="UTC")}


def test_a_stopped_run_goes_on_with_the_parts_that_are_there(
    work: Work, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 4)
    words = work.words(WINS, "--all", "--at", "2020-08-01", "--out", tmp_path / "a.csv")
    write_part, written = parts.write_part, []

    def stopping(predictor: Any, job: Any, part: int) -> int:
        if part == 2 and 2 not in written:
            written.append(part)
            raise KeyboardInterrupt
        written.append(part)
        return write_part(predictor, job, part)

    monkeypatch.setattr(parts, "write_part", stopping)
    assert main(words) == 130
    assert not (tmp_path / "a.csv").exists()
    _, shown = predicted(capsys, words)
    assert written == [0, 1, 2, 2] and "2 of 3 parts are there already" in shown
    monkeypatch.setattr(parts, "write_part", write_part)
    predicted(
        capsys, [*work.words(WINS, "--all", "--at", "2020-08-01", "--out", tmp_path / "b.csv"), "--run-name", "again"]
    )
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.ray
def test_several_workers_write_the_same_file(
    work: Work, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: None
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 4)
    for workers in (1, 2):
        words = work.words(POINTS, "--all", "--out", tmp_path / f"{workers}.parquet", "--workers", workers)
        predicted(capsys, [*words, "--run-name", f"by-{workers}"])
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


@pytest.mark.parametrize("name", [WINS, POINTS])
def test_a_split_is_a_submission_that_relbench_accepts_and_scores_as_we_do(
    work: Work, capsys: Captured, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "nasty__task.csv"
    result, shown = predicted(capsys, work.words(name, "--split", "test", "--out", out))
    trained = json.loads((work.models[name] / "config.json").read_text())["about"]["result"]["metrics"]["test"]
    assert result["metrics"] == pytest.approx(trained, abs=1e-6)
    assert "accepted by RelBench's validator" in shown
    assert f"call it nasty__{name}.csv" in shown
    assert len(pd.read_csv(out)) == result["rows"]


def test_a_table_of_a_database_is_written_refused_and_replaced(work: Work, capsys: Captured, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    words = work.words(POINTS, "--all", "--to", url, "--table", "points")
    result, _ = predicted(capsys, words)
    rows = pd.read_sql("SELECT * FROM points", url)
    assert len(rows) == result["rows"] and list(rows)[:3] == ["team_id", "time", "prediction"]
    assert "has a table 'points' already" in refused(capsys, words)
    predicted(capsys, [*words, "--replace", "--at", "2020-08-01", "--run-name", "august"])
    assert set(pd.read_sql("SELECT * FROM points", url)["time"]) == {"2020-08-01 00:00:00.000000"}
    assert sa.inspect(sa.create_engine(url)).get_table_names() == ["points"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--out o.csv", "give one of --entities FILE, --all and --split; got none of them"),
        ("--all --split test --out o.csv", "got --all and --split"),
        ("--all", "where to? give --out FILE"),
        ("--all --out o.txt", "expected a file whose name ends in .parquet or .csv"),
        ("--split test --out o.parquet", "whose name ends in .csv"),
        ("--all --to sqlite:///x.db", "--to URL and --table NAME go together"),
        ("--all --out o.csv --replace", "without --to there is none"),
        ("--all --to nonsense --table t", "no URL"),
        ("--entities nowhere.csv --out o.csv", "--entities nowhere.csv: no such file"),
        ("--all --out o.csv --at 1850-01-01", "no teams exist before 1850-01-01"),
        ("--all --out o.csv --at soon", "the time to predict at"),
        ("--all --out o.csv --head forest", "the model keeps no head 'forest'"),
        ("--all --out o.csv --coverage 2", "--coverage 2.0: expected a share above 0"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    work: Work, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, work.words(POINTS, *more.split()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("team_id\n", "the list of keys (teams.team_id) is empty"),
        ("team_id\nT-000\nX\nY\n", "2 of 3 keys are of no row of teams: 'X', 'Y'"),
        ("team_id,n\nT-000,1\n,2\n", "1 of 2 keys of teams.team_id are null"),
        ("team_id\nT-000\n\nT-001\n", "1 of 3 keys of teams.team_id are null (NaN), first at position 1"),
        ("", "expected the column team_id, the key of teams; the file is empty. Remedy: a first line"),
        ("name\nT-000\n", "expected the column team_id, the key of teams; got the columns name"),
    ],
)
def test_a_wrong_file_of_entities_is_refused_by_name(
    work: Work, capsys: Captured, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "keys.csv").write_text(content)
    words = work.words(WINS, "--entities", tmp_path / "keys.csv", "--out", tmp_path / "out.csv")
    assert said in refused(capsys, words)
    assert not (tmp_path / "out.csv").exists()


def test_next_months_data_is_predicted_on_and_a_column_that_has_drifted_is_named(
    work: Work, capsys: Captured, tmp_path: Path
) -> None:
    shutil.copytree(work.data, tmp_path / "nasty")
    path = tmp_path / "nasty" / "db" / "ticket.parquet"
    rows = pq.read_table(path)
    before = rows.take(np.zeros(80, np.int64)).set_column(1, "sold_at", _times(rows, "2020-05-01"))
    after = rows.take(np.zeros(80, np.int64)).set_column(1, "sold_at", _times(rows, "2020-10-01"))
    dearer = after.set_column(2, "price", pa.array(np.linspace(500.0, 600.0, 80)))
    pq.write_table(pa.concat_tables([rows, before, after]), path)
    old = open_dataset(tmp_path / "nasty")
    store = materialize(old, tmp_path / "stores")
    model, _ = fine_tune(tmp_path / "model", store, load_task(old, WINS))
    common = ("--checkpoint", model, "--all", "--runs-dir", tmp_path / "runs", "--data", tmp_path / "nasty")
    words = ["predict", *map(str, common), "--json"]
    same, shown = predicted(capsys, [*words, "--out", str(tmp_path / "same.csv")])
    assert "has drifted" not in shown and same["drift"][0]["psi"] < 0.2
    pq.write_table(pa.concat_tables([rows, before, dearer]), path)
    moved, shown = predicted(capsys, [*words, "--out", str(tmp_path / "moved.csv")])
    assert "ticket.price has drifted" in shown
    assert (moved["drift"][0]["column"], moved["drift"][0]["rows"]) == ("price", 80 + 7)
    earlier, shown = predicted(capsys, [*words, "--at", "2020-10-01", "--out", str(tmp_path / "earlier.csv")])
    assert "has drifted" not in shown and "price" not in [column["column"] for column in earlier["drift"]], "not yet"


@pytest.mark.parametrize("name", [WINS, POINTS])
def test_a_model_whose_vocabularies_were_hashed_predicts_the_same_bits(
    work: Work, capsys: Captured, tmp_path: Path, name: str
) -> None:
    dataset = open_dataset(work.data)
    store = materialize(dataset, work.runs_dir / "stores")
    model, _ = fine_tune(tmp_path / "model", store, load_task(dataset, name), READING)
    hashed = copy_to_send(model, tmp_path / "hashed", hash_vocabularies=True)
    assert b"derby" in (model / "schema.json").read_bytes() and b"derby" not in (hashed / "schema.json").read_bytes()
    rows = []
    for folder in (model, hashed):
        own = tmp_path / "runs" / folder.name  # so that the hashed one finds no store that was fitted on the values
        common = ("--checkpoint", folder, "--data", work.data, "--runs-dir", own, "--all", "--out", own / "all.parquet")
        predicted(capsys, ["predict", *map(str, common), "--json"])
        rows.append(pq.read_table(own / "all.parquet").drop_columns(["model", "data"]))
    assert rows[0].equals(rows[1])
    assert len(rows[0]["prediction"].unique()) > 1


def _times(rows: pa.Table, day: str) -> pa.Array:
    return pa.array(pd.date_range(day, periods=80, freq="h").astype("datetime64[us]")).cast(rows["sold_at"].type)
