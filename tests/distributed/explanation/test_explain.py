"""`rdl explain` as people use it, on the nasty database whose teams have keys of their own: a file, a picture, lines, refusals."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distributed.__main__ import main
from distributed.explanation.picture import draw_importance
from distributed.explanation.words import task_lines
from rdl_core.database import load_task, open_dataset
from rdl_core.explanation import GroupImportance, TaskExplanation
from rdl_core.explanation.groups import Group, Inputs
from rdl_core.graph.materialization import materialize
from rdl_core.prediction import Predictor
from tests.nasty_database import NUM_TEAMS, write_nasty_database
from tests.nasty_tasks import WINS
from tests.rdl_core.explanation.small_explanations import ALONE
from tests.rdl_core.prediction.small_models import fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]
NOTHING = np.zeros(0, bool)
KEYS = [f"T-{row:03d}" for row in range(NUM_TEAMS)]


@dataclass
class Work:
    """A dataset, its model, and a folder of runs."""

    data: Path
    runs_dir: Path
    models: dict[str, Path]

    def words(self, task: str, *more: object) -> list[str]:
        common = ("--checkpoint", self.models[task], "--data", self.data, "--runs-dir", self.runs_dir)
        return ["explain", *map(str, (*common, *more)), "--json"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("explain")
    data = write_nasty_database(folder / "nasty")
    (data / "keys").mkdir()
    rows = list(range(NUM_TEAMS))[::-1]
    pq.write_table(pa.table({"source_key": [KEYS[r] for r in rows], "row_number": rows}), data / "keys/teams.parquet")
    dataset = open_dataset(data)
    store = materialize(dataset, folder / "runs" / "stores")
    model, _ = fine_tune(folder / WINS, store, load_task(dataset, WINS), ALONE)
    return Work(data, folder / "runs", {WINS: model})


def ran(capsys: Captured, words: list[str]) -> tuple[int, str, str]:
    """(exit status, stdout, stderr with single spaces)."""
    capsys.readouterr()
    try:
        status = main(words)
    except SystemExit as left:
        status = int(left.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def explained(capsys: Captured, words: list[str]) -> tuple[dict[str, Any], str]:
    """(result, what people see) of a command that must succeed."""
    status, out, err = ran(capsys, words)
    assert status == 0, err
    return json.loads(out.splitlines()[-1]), err


@dataclass
class Explained:
    """An entity's explanation: where it is, what the command returned, and what people saw."""

    out: Path
    result: dict[str, Any]
    shown: str


def explain_one(work: Work, capsys: Captured, folder: Path) -> Explained:
    out = folder / "explanation.json"
    words = work.words(WINS, "--entity", "T-002", "--at", "2020-09-01", "--out", out)
    return Explained(out, *explained(capsys, words))


def test_one_entity_is_explained_in_a_file_on_the_terminal_and_in_a_picture_the_same_bytes_each_time(
    work: Work, capsys: Captured, tmp_path: Path
) -> None:
    one = explain_one(work, capsys, tmp_path / "one")
    (prediction,) = json.loads(one.out.read_text())["predictions"]
    predictor = Predictor.load(work.models[WINS], work.data, stores_dir=work.runs_dir / "stores")
    expected = predictor.predict(["T-002"], "2020-09-01")["prediction"][0]
    assert prediction["prediction"] == pytest.approx(expected, abs=1e-6)
    assert prediction["key"] == {"team_id": "T-002"}
    assert prediction["time"] == "2020-09-01T00:00:00+00:00"
    assert {group["level"] for group in prediction["contributions"]} == {"table", "key", "column"}
    first = next(group for group in prediction["contributions"] if group["level"] == "column")
    assert f"{first['input']} is {first['value']:.6g}" in one.shown
    assert f"{first['contribution']:+.4g}  {first['name']}" in one.shown
    assert (one.result["path"], one.result["predictions"], one.result["task"]) == (str(one.out), 1, WINS)
    picture = ElementTree.parse(one.out.with_suffix(".svg")).getroot()
    words = " ".join(text for element in picture.iter() if (text := (element.text or "").strip()))
    assert picture.tag.endswith("svg") and first["name"] in words and "T-002" in words
    assert sorted(p.name for p in one.out.parent.iterdir()) == ["explanation.json", "explanation.svg"]
    again = explain_one(work, capsys, tmp_path / "again")
    for suffix in (".json", ".svg"):
        assert again.out.with_suffix(suffix).read_bytes() == one.out.with_suffix(suffix).read_bytes()


def test_entities_of_a_file_are_explained_in_its_order_and_summed_up(
    work: Work, capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "asked.csv").write_text("team_id\nT-003\nT-001\nT-003\n")
    out = tmp_path / "out.json"
    result, shown = explained(capsys, work.words(WINS, "--entities", tmp_path / "asked.csv", "--out", out))
    found = json.loads(out.read_text())["predictions"]
    assert [one["key"]["team_id"] for one in found] == ["T-003", "T-001", "T-003"]
    assert found[0] == found[2] and result["predictions"] == 3
    assert "3 predictions of wins; mean absolute contributions" in shown


def test_a_splits_metric_is_explained_with_intervals(work: Work, capsys: Captured, tmp_path: Path) -> None:
    out = tmp_path / "importance.json"
    result, shown = explained(capsys, work.words(WINS, "--split", "val", "--rows", 15, "--out", out))
    document = json.loads(out.read_text())
    assert (result["split"], result["rows"], document["labels"], document["metric"]) == ("val", 15, 22, "roc_auc")
    for one in document["groups"]:
        assert one["interval"][0] <= one["loss"] <= one["interval"][1]
    assert f"roc_auc {document['value']:.4f} of 15 of 22 labels of val" in shown
    assert ElementTree.parse(out.with_suffix(".svg")).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--out o.json", "give one of --entity KEY, --entities FILE and --split; got none of them"),
        ("--entity T-001 --split val --out o.json", "got --entity and --split"),
        ("--split val --at 2020-09-01 --out o.json", "it goes without --at"),
        ("--entity T-001 --rows 3 --out o.json", "--rows 3 goes with --split"),
        ("--split val --rows 0 --out o.json", "--rows must be at least 1"),
        ("--entity T-001 --out o.txt", "expected a file whose name ends in .json"),
        ("--entities nowhere.csv --out o.json", "--entities nowhere.csv: no such file"),
        ("--entity T-999 --out o.json", "1 of 1 keys are of no row of teams: 'T-999'"),
        ("--entity T-001 T-002 --out o.json", "expected a value for team_id, the key of teams; got 2 values"),
        ("--entity T-001 --at 1850-01-01 --out o.json", "lie before all data"),
        ("--entity T-001 --head forest --out o.json", "the model keeps no head 'forest'"),
    ],
)
def test_what_cannot_be_explained_is_refused_and_nothing_is_written(
    work: Work, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = ran(capsys, work.words(WINS, *more.split()))
    assert status == 2
    assert said in " ".join(err.split())
    assert not list(tmp_path.iterdir())


def test_an_empty_file_of_entities_is_refused_as_by_predict(work: Work, capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("team_id\n")
    words = work.words(WINS, "--entities", tmp_path / "none.csv", "--out", tmp_path / "o.json")
    status, _, err = ran(capsys, words)
    assert status == 2 and "the list of keys (teams.team_id) is empty" in " ".join(err.split())
    assert not (tmp_path / "o.json").exists()


def test_without_a_metric_lines_and_picture_have_the_changes_alone(tmp_path: Path) -> None:
    none = Inputs(columns=NOTHING, head_columns=NOTHING, statistics={}, cells={}, ages=frozenset(), edges=frozenset())
    group = Group(level="table", name="$goal_$", table="goal", inputs=none)
    hidden = TaskExplanation(
        task=WINS,
        split="test",
        rows=22,
        labels=22,
        metric="roc_auc",
        value=math.nan,
        neutral_value=math.nan,
        groups=(GroupImportance(group=group, change=0.25, loss=math.nan, interval=None),),
    )
    lines = "\n".join(task_lines(hidden))
    assert "no roc_auc of 22 labels of test: they are hidden" in lines and "nan" not in lines
    assert "0.25  $goal_$" in lines
    picture = draw_importance(hidden, tmp_path / "p.svg").read_text()
    assert "$goal_$" in picture and "mean absolute change of the prediction" in picture
