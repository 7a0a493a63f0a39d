"""`finetune --heads ... --baseline` as people use it, on the nasty database."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from distributed.__main__ import main
from distributed.commands.report import show_heads
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import POINTS, WINS

pytestmark = pytest.mark.usefixtures("one_thread")

HEADS = ("network", "linear", "lightgbm", "blend")
SMALL = (
    *("--max-steps", "4", "--validation-interval-steps", "2", "--rows", "linear", "--columns.hops", "2"),
    *("--column-heads.boosting.max-rounds", "10", "--column-heads.boosting.num-leaves", "4"),
    *("--column-heads.linear.num-columns", "10"),
)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def work(nasty_dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of all commands here: the data, and one folder of runs whose store is made once."""
    runs_dir = tmp_path_factory.mktemp("work") / "runs"
    return ["--data", str(nasty_dataset.dataset_dir), "--runs-dir", str(runs_dir), "--arm", "scratch", *SMALL, "--json"]


def finetuned(capsys: Captured, *arguments: str) -> tuple[dict[str, Any], str]:
    """(result, what people see) of a command that must succeed."""
    capsys.readouterr()
    status = main(["finetune", *arguments])
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out.splitlines()[-1]), err


@pytest.mark.parametrize("task", [WINS, POINTS])
def test_every_head_and_baseline_is_reported_with_validation_and_test(
    work: list[str], capsys: Captured, task: str
) -> None:
    result, shown = finetuned(capsys, *work, "--task", task, "--heads", *HEADS, "--baseline")
    assert list(result["heads"]) == list(HEADS)
    assert list(result["baselines"]) == ["trivial", "lightgbm"]
    for figures in (*result["heads"].values(), *result["baselines"].values()):
        assert list(figures) == ["val", "test"]
        assert all(isinstance(figure, float) for figure in figures.values())
    assert result["heads"]["network"] == {split: result[split] for split in ("val", "test")}
    assert sum(result["blend"]["weights"].values()) == pytest.approx(1)
    lines = [line.split() for line in shown.splitlines()]
    for name in (*HEADS, "trivial", "lightgbm"):
        rows = [line for line in lines if name in line[:2] or ["baseline", name] == line[:2]]
        assert any(f"{result['heads' if name in HEADS else 'baselines'][name]['test']:.4f}" in row for row in rows), (
            name
        )


def test_predictions_of_heads_lie_in_the_run_and_give_its_figures(work: list[str], capsys: Captured) -> None:
    result, _ = finetuned(capsys, *work, "--task", POINTS, "--heads", "network", "linear", "--baseline", "--refit")
    rows = pq.read_table(result["head_predictions"]).to_pandas()
    assert set(rows["head"]) == {"linear", "baseline trivial", "baseline lightgbm"}
    assert set(rows["split"]) == {"val", "test", "test_refit"}
    assert set(result["heads"]["linear"]) == {"val", "test", "test_refit"}
    assert result["heads"]["network"]["test_refit"] == result["test_refit"]
    assert not rows["prediction"].isna().any()
    network = pq.read_table(result["predictions"]).to_pandas()
    keys = ["split", "entity", "time"]
    mine = rows[rows["head"] == "linear"][keys].reset_index(drop=True)
    assert mine.equals(network[network["split"] != "out_of_fold"][keys].reset_index(drop=True))


def test_without_heads_a_run_is_what_it_was_and_a_baseline_alone_needs_no_folds(
    work: list[str], capsys: Captured, tmp_path: Path
) -> None:
    plain, shown = finetuned(capsys, *work, "--task", WINS)
    assert "heads" not in plain and "heads beside" not in shown
    folder = write_nasty_database(tmp_path / "nasty")
    labels = folder / "tasks" / WINS / "train.parquet"
    pq.write_table(pq.read_table(labels).slice(0, 10), labels)  # one seed time
    once = [*work, "--data", str(folder)]
    alone, _ = finetuned(capsys, *once, "--task", WINS, "--baseline")
    assert (list(alone["heads"]), list(alone["baselines"])) == (["network"], ["trivial", "lightgbm"])
    before = set(Path(alone["run"]).parent.iterdir())
    assert main(["finetune", *once, "--task", WINS, "--heads", "network", "blend"]) == 2
    assert "10 labels at 1 seed times" in " ".join(capsys.readouterr().err.split())
    assert set(Path(alone["run"]).parent.iterdir()) == before, "refused before the network is trained"


def test_several_seeds_are_run_and_a_finished_head_is_not_fitted_again(work: list[str], capsys: Captured) -> None:
    arguments = [*work, "--task", POINTS, "--heads", "network", "lightgbm", "--seeds", "2"]
    result, shown = finetuned(capsys, *arguments)
    values = [run["heads"]["lightgbm"]["test"] for run in result["runs"]]
    assert values[0] != values[1]
    error = statistics.stdev(values) / 2**0.5
    assert result["summary"]["heads"]["lightgbm"]["test"] == pytest.approx(
        {"mean": statistics.mean(values), "standard_error": error}
    )
    assert f"{statistics.mean(values):.4f} ± {error:.4f}" in shown
    (Path(result["run"]) / "result.json").unlink()
    times = {path: path.stat().st_mtime_ns for path in Path(result["run"]).glob("seed-*/*.parquet")}
    assert len(times) == 4
    assert finetuned(capsys, *arguments)[0] == result
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize(
    ("heads", "message"),
    [("linear", "lacks network"), ("network network", "names a head twice"), ("network forest", "'forest'")],
)
def test_heads_that_make_no_sense_are_refused(heads: str, message: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["finetune", "--task", WINS, "--arm", "scratch", "--heads", *heads.split()])
    out, err = capsys.readouterr()
    assert message in " ".join((out + err).split())


@pytest.mark.parametrize(("metric", "best"), [("roc_auc", "linear"), ("mae", "network")])
def test_the_table_marks_the_best_head_on_validation(capsys: Captured, metric: str, best: str) -> None:
    heads = {"network": {"val": 0.5, "test": 0.9}, "linear": {"val": 0.6, "test": 0.1}}
    about = {"network": "", "linear": "", "baseline trivial": "0.5 always"}
    baselines = {"trivial": {"val": 0.99, "test": 0.99}}
    run = {"task": "wins", "regime": "rolling", "metric": metric, "heads": heads, "baselines": baselines}
    show_heads([run | {"about": about}])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "◀" in line]
    assert line.split()[0] == best
