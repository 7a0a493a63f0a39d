"""`finetune` keeps its heads with the model, intervals of a regression, and a calibration where one is asked for, on the nasty database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from distributed.__main__ import main
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.prediction.kept_heads import kept_heads
from rdl_core.tasks.labels import read_split
from tests.distributed.commands.test_heads import SMALL
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import POINTS, WINS

pytestmark = pytest.mark.usefixtures("one_thread")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def work(nasty_dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    runs_dir = tmp_path_factory.mktemp("work") / "runs"
    return ["--data", str(nasty_dataset.dataset_dir), "--runs-dir", str(runs_dir), "--arm", "scratch", *SMALL, "--json"]


def finetuned(capsys: Captured, *arguments: str) -> tuple[dict[str, Any], str]:
    """(result, what people see) of a command that must succeed."""
    capsys.readouterr()
    status = main(["finetune", *arguments])
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out.splitlines()[-1]), " ".join(err.split())


def test_heads_that_read_cohorts_are_reported_and_the_network_predicts(
    work: list[str], capsys: Captured, nasty_store: Store
) -> None:
    arguments = [*work, "--task", POINTS, "--heads", "network", "linear", "--column-heads.cohort-columns"]
    result, shown = finetuned(capsys, *arguments)
    assert set(result["heads"]) == {"network", "linear"}
    assert result["default_head"] == "network"
    assert set(kept_heads(from_pretrained(result["checkpoint"]), nasty_store).records.heads) == {"network"}
    assert "a single prediction has no cohort" in shown


def test_heads_of_a_run_are_in_the_models_folder_and_predict_what_it_has_written(
    work: list[str], capsys: Captured, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    arguments = [*work, "--task", POINTS, "--heads", "network", "linear", "lightgbm", "blend", "--refit"]
    result, shown = finetuned(capsys, *arguments)
    heads = kept_heads(from_pretrained(result["checkpoint"]), nasty_store)
    figures = {name: head["val"] for name, head in result["heads"].items()}
    assert result["default_head"] == heads.default == min(figures, key=lambda name: figures[name])
    assert f"predictions are the {heads.default}'s" in shown
    written = pq.read_table(result["head_predictions"]).to_pandas()
    network = pq.read_table(result["predictions"]).to_pandas()
    seeds = read_split(load_task(nasty_dataset, POINTS), "test", "rolling", nasty_store.test_timestamp_s)
    of_network = network[network["split"] == "test_refit"]["prediction"].to_numpy()
    for name in ("linear", "lightgbm", "blend"):
        mine = written[(written["head"] == name) & (written["split"] == "test_refit")]["prediction"].to_numpy()
        np.testing.assert_array_equal(heads.predict(name, seeds.entities, seeds.before_s, of_network), mine)
    for name, found in result["intervals"].items():
        predicted = of_network if name == "network" else heads.predict(name, seeds.entities, seeds.before_s, of_network)
        lower, upper = heads.records.heads[name].intervals(predicted, 0.9)  # type: ignore[misc]
        assert found["test"] == np.mean((lower <= seeds.target) & (seeds.target <= upper))
    out = Path(result["run"]) / "tomorrow.parquet"
    options = ["--data", str(nasty_dataset.dataset_dir), "--runs-dir", str(Path(result["run"]).parent), "--no-drift"]
    asked = ["predict", *options, "--checkpoint", result["checkpoint"], "--all", "--head", "linear", "--out", str(out)]
    assert main(asked) == 0
    predicted = pq.read_table(out).to_pandas()
    assert {"lower", "upper"} < set(predicted) and (predicted["lower"] < predicted["upper"]).all()
    rows = predicted["team_id"].to_numpy()
    alone = heads.predict("linear", rows, np.full(len(rows), nasty_store.graph.after_last_row_s))
    np.testing.assert_array_equal(predicted["prediction"], alone)
    assert f"hold {result['intervals'][heads.default]['test']:.3f} of the test labels" in shown


def test_a_network_alone_has_intervals_too_and_its_weights_are_as_they_were(
    work: list[str], capsys: Captured, nasty_store: Store
) -> None:
    result, shown = finetuned(capsys, *work, "--task", POINTS)
    heads = kept_heads(from_pretrained(result["checkpoint"]), nasty_store)
    assert (heads.names, heads.default, result["default_head"]) == (("network",), "network", "network")
    assert heads.interval("network", np.zeros(1), 0.5) is not None
    assert "calibration" not in result and list(result["intervals"]) == ["network"]
    again = finetuned(capsys, *work, "--task", POINTS)[0]
    assert again == result


def test_a_calibration_is_kept_reported_and_drawn(
    work: list[str], capsys: Captured, nasty_store: Store, tmp_path: Path
) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    labels = folder / "tasks" / WINS / "val.parquet"
    table = pq.read_table(labels)
    pq.write_table(pa.concat_tables([table] * 6), labels)  # enough labels of both classes
    once = [*work, "--data", str(folder), "--task", WINS, "--heads", "network", "linear"]
    result, shown = finetuned(capsys, *once, "--calibrate", "platt")
    heads = kept_heads(from_pretrained(result["checkpoint"]), nasty_store)
    for name in ("network", "linear"):
        assert heads.records.heads[name].calibration is not None
        for split in ("val", "test"):
            assert set(result["calibration"][name][split]) == {"brier", "ece", "brier_calibrated", "ece_calibrated"}
    values = np.array([0.2, 0.8])
    assert not np.array_equal(heads.calibrated("network", values), values)
    assert Path(result["reliability"]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert Path(result["reliability"]).parent == Path(result["checkpoint"]).parent
    assert "calibration, test, by the map that is kept: Brier" in shown
    asked = [
        "--data",
        str(folder),
        "--runs-dir",
        str(tmp_path / "runs"),
        "--checkpoint",
        result["checkpoint"],
        "--json",
    ]
    assert main(["evaluate", *asked]) == 0
    out, err = capsys.readouterr()
    evaluated = json.loads(out.splitlines()[-1])
    assert evaluated["calibration"]["network"]["test"] == pytest.approx(result["calibration"]["network"]["test"])
    assert "calibration, test, by the map that is kept: Brier" in " ".join(err.split())
    plain, _ = finetuned(capsys, *once)
    assert plain["run"] != result["run"] and plain["val"] == result["val"]


@pytest.mark.parametrize(
    ("task", "message"), [(POINTS, "this one is regression"), (WINS, "at least 10 positive labels in four fifths")]
)
def test_a_calibration_that_cannot_be_is_refused_before_the_work(
    work: list[str], capsys: Captured, task: str, message: str
) -> None:
    assert main(["finetune", *work, "--task", task, "--seed", "5", "--calibrate", "isotonic"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
