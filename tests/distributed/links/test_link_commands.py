"""`rdl finetune` and `rdl predict` on a link task, as people use them: files, JSON, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distributed.__main__ import main
from rdl_core.database import open_dataset
from rdl_core.database.column_checks import DatabaseError
from rdl_core.database.link_tasks import is_link_task, load_link_task
from rdl_core.graph.materialization import materialize
from tests.nasty_database import NUM_TEAMS, write_nasty_database
from tests.nasty_tasks import VISITS, WINS, add_link_task

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]
SMALL = (
    "--max-steps",
    "4",
    "--validation-interval-steps",
    "2",
    "--config.batch-size",
    "16",
    "--backbone.channels",
    "8",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_nasty_database(tmp_path_factory.mktemp("links") / "nasty")
    add_link_task(folder)
    (folder / "keys").mkdir()
    keys = pa.table({"source_key": [f"T-{row}" for row in range(NUM_TEAMS)], "row_number": range(NUM_TEAMS)})
    pq.write_table(keys, folder / "keys" / "teams.parquet")
    materialize(open_dataset(folder), folder.parent / "runs" / "stores")
    return folder


def told(capsys: Captured, data: Path, *words: object, status: int = 0) -> tuple[dict[str, Any], str]:
    """(result, what people see) of a command with this status."""
    capsys.readouterr()
    common = ("--data", data, "--runs-dir", data.parent / "runs", "--json")
    try:
        found = main([*map(str, (*words, *common))])
    except SystemExit as left:
        found = int(left.code or 0)
    out, err = capsys.readouterr()
    assert found == status, err
    return (json.loads(out.splitlines()[-1]) if status == 0 else {}), " ".join(err.split())


@pytest.fixture(scope="module")
def finetuned(data: Path) -> dict[str, Any]:
    words = ("finetune", "--task", VISITS, "--arm", "scratch", *SMALL, "--run-name", "visits")
    assert main([*words, "--data", str(data), "--runs-dir", str(data.parent / "runs")]) == 0
    return json.loads((data.parent / "runs" / "visits" / "result.json").read_text())


def test_finetune_leaves_figures_baselines_and_predictions_in_relbenchs_format(
    data: Path, finetuned: dict[str, Any]
) -> None:
    assert finetuned["metric"] == "map" and finetuned["task"] == VISITS
    assert {name: set(figures) for name, figures in finetuned["baselines"].items()} == {
        "popularity": {"val", "test"},
        "past_links": {"val", "test"},
    }
    task = load_link_task(open_dataset(data), VISITS)
    for split in ("val", "test"):
        rows = pd.read_csv(Path(finetuned["run"]) / f"{split}.csv")
        ranked = pd.DataFrame(rows["guest_id"].map(json.loads).tolist()).to_numpy()
        labels = task.get_table(split, mask_input_cols=False)
        assert task.evaluate(ranked, labels)["map"] == pytest.approx(finetuned[split])


def test_a_finished_run_is_not_trained_again(data: Path, finetuned: dict[str, Any], capsys: Captured) -> None:
    words = ("finetune", "--task", VISITS, "--arm", "scratch", *SMALL, "--run-name", "visits")
    result, shown = told(capsys, data, *words)
    assert result == finetuned and "nothing to do" in shown


def test_options_that_say_nothing_of_links_are_refused_together(data: Path, capsys: Captured) -> None:
    words = ("finetune", "--task", VISITS, "--arm", "scratch", "--baseline", "--refit", "--label-share", "0.5")
    _, shown = told(capsys, data, *words, status=2)
    assert f"--baseline, --refit, --label-share are of no use to '{VISITS}', a link task" in shown


def test_predict_names_destinations_for_tomorrow_by_the_sources_own_keys(
    data: Path, finetuned: dict[str, Any], capsys: Captured, tmp_path: Path
) -> None:
    out = tmp_path / "tomorrow.csv"
    result, _ = told(capsys, data, "predict", "--checkpoint", finetuned["checkpoint"], "--all", "--out", out)
    rows = pd.read_csv(out)
    assert list(rows) == ["team_id", "time", "rank", "destination_team_id", "score"]
    assert result["rows"] == len(rows) == 3 * result["sources"] == 3 * rows["team_id"].nunique()
    assert set(rows["destination_team_id"]) <= {f"T-{row}" for row in range(NUM_TEAMS)} and set(rows["rank"]) == {
        1,
        2,
        3,
    }
    assert all((-of_one["score"]).is_monotonic_increasing for _, of_one in rows.groupby("team_id"))


def test_predict_and_evaluate_refuse_what_a_link_model_has_not(
    data: Path, finetuned: dict[str, Any], capsys: Captured, tmp_path: Path
) -> None:
    model = ("--checkpoint", finetuned["checkpoint"])
    _, shown = told(capsys, data, "predict", *model, "--split", "test", "--out", tmp_path / "t.csv", status=2)
    assert "is a model of a link task" in shown and "test.csv" in shown
    _, shown = told(capsys, data, "evaluate", *model, status=2)
    assert "is link, expected one that is finetuned" in shown
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("guest_id", [[99]], "guest_id"),
        ("guest_id", [1], "lists of row numbers"),
        ("host_id", [99], "host_id"),
        ("seed_time", [None], "seed_time"),
    ],
)
def test_broken_labels_are_refused_by_column(tmp_path: Path, column: str, value: list[Any], expected: str) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    add_link_task(folder)
    path = folder / "tasks" / VISITS / "val.parquet"
    rows = pq.read_table(path).slice(0, 1)
    kind = pa.int64() if value == [1] else rows.schema.field(column).type
    pq.write_table(rows.set_column(rows.column_names.index(column), column, pa.array(value, kind)), path)
    dataset = open_dataset(folder)
    assert is_link_task(dataset, VISITS) and not is_link_task(dataset, WINS)
    with pytest.raises(DatabaseError, match=expected):
        load_link_task(dataset, VISITS)
