"""A predictor with another head than the network: what it predicts, its intervals and calibration, and nothing of a row that is not past."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from relbench.load import RelBenchDataset

from rdl_core.config import ColumnsConfig, FinetuningConfig
from rdl_core.database import load_task
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.prediction import Predictor
from rdl_core.prediction.calibration import Calibration
from rdl_core.prediction.head_records import record_heads
from rdl_core.prediction.kept_heads import files_of_heads, keep_heads
from rdl_core.problems import InputError
from rdl_core.tasks.column_heads import ColumnHeads
from tests.nasty_database import TEST
from tests.nasty_tasks import POINTS, WINS
from tests.rdl_core.prediction.small_models import fine_tune
from tests.rdl_core.prediction.test_kept_heads import SMALL
from tests.rdl_core.prediction.test_predictor import PLANTED, TEAMS, planted

pytestmark = pytest.mark.usefixtures("one_thread")
HEADS = ("network", "linear", "lightgbm", "blend")
Made = tuple[Path, dict[str, np.ndarray]]


def with_heads(folder: Path, dataset: RelBenchDataset, store: Store, name: str) -> Made:
    """(a model folder with all heads, their predictions of test)"""
    task = load_task(dataset, name)
    model, network = fine_tune(folder, store, task)
    run = ColumnHeads(store, task, "rolling", FinetuningConfig(), SMALL, ColumnsConfig(hops=2))
    out_of_fold = np.random.default_rng(0).random(len(run.labels["train"]))
    result = run.run(HEADS, network=network | {"out_of_fold": out_of_fold})
    assert result.blend is not None
    weights = {"network": 0.25, "linear": 0.5, "lightgbm": 0.25}
    val = {head: scores.predictions["val"] for head, scores in result.heads.items()}
    metrics = {head: scores.val for head, scores in result.heads.items()}
    records = record_heads(task, run.labels["val"], metrics, val, columns=run.columns.config)
    keep_heads(model, records, files_of_heads(result.models, weights, run.columns))
    test = {head: scores.predictions["test"] for head, scores in result.heads.items()}
    return model, test | {"blend": sum(weight * test[head] for head, weight in weights.items())}


@pytest.fixture(scope="module")
def points(nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return with_heads(tmp_path_factory.mktemp("heads"), nasty_dataset, nasty_store, POINTS)


def load(made: Made, dataset: RelBenchDataset, store: Store, **options: Any) -> Predictor:
    return Predictor.load(made[0], dataset.dataset_dir, store=store.path, **options)


@pytest.mark.parametrize("head", HEADS)
def test_each_head_predicts_what_the_run_reported_alone_and_in_a_batch(
    points: Made, nasty_dataset: RelBenchDataset, nasty_store: Store, head: str
) -> None:
    predictor = load(points, nasty_dataset, nasty_store, head=head)
    task = load_task(nasty_dataset, POINTS)
    table = task.get_table("test", mask_input_cols=True).df
    known = table[task.entity_col].isin(TEAMS).to_numpy()
    keys, times = table[task.entity_col][known], table[task.time_col][known]
    got = predictor.predict(keys, times)
    np.testing.assert_allclose(got["prediction"], points[1][head][known], rtol=0, atol=1e-6)
    for row, (key, time) in enumerate(zip(keys, times, strict=True)):
        (alone,) = predictor.predict([key], time)["prediction"]
        assert alone == pytest.approx(got["prediction"][row], abs=1e-6)
    assert predictor.describe()["head"] == head


@pytest.mark.parametrize("table", ["order", "match", "goal", "ticket", "lineup"])
def test_a_row_added_at_or_after_the_time_changes_no_head(
    points: Made, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path, table: str
) -> None:
    changed = planted(nasty_dataset, tmp_path / "nasty", table, PLANTED[table])
    store = materialize(changed, tmp_path / "stores", model=nasty_store.schema)
    for head in ("linear", "lightgbm", "blend"):
        before, after = (load(points, *data, head=head) for data in ((nasty_dataset, nasty_store), (changed, store)))
        pd.testing.assert_frame_equal(after.predict(TEAMS, TEST), before.predict(TEAMS, TEST), rtol=0, atol=1e-6)


def test_the_default_head_is_the_best_on_validation(
    points: Made, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    predictor = load(points, nasty_dataset, nasty_store)
    assert predictor.head == predictor.heads.default
    assert predictor.predict(TEAMS).equals(load(points, nasty_dataset, nasty_store, head=predictor.head).predict(TEAMS))


def test_a_regression_has_an_interval_of_the_coverage_that_is_asked_for(
    points: Made, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    narrow, wide = (
        load(points, nasty_dataset, nasty_store, head="linear", coverage=c).predict(TEAMS) for c in (0.5, 0.99)
    )
    assert list(narrow) == ["team_id", "time", "prediction", "lower", "upper"]
    assert (wide["upper"] - wide["lower"] > narrow["upper"] - narrow["lower"]).all()
    assert np.isinf(wide["upper"]).all(), "validation has too few labels for that"
    with pytest.raises(InputError, match="coverage: expected a share"):
        load(points, nasty_dataset, nasty_store, coverage=90)


def test_a_calibrated_model_predicts_calibrated_probabilities(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    made = with_heads(tmp_path, nasty_dataset, nasty_store, WINS)
    plain = load(made, nasty_dataset, nasty_store, head="linear")
    values = plain.predict(TEAMS)
    assert list(values) == ["team_id", "time", "prediction"] and not plain.describe()["calibrated"]
    rng = np.random.default_rng(0)
    target = (rng.random(50) < 0.3).astype(np.float64)
    calibration = Calibration.fit("platt", rng.random(50), target)
    records = plain.heads.records
    linear = dataclasses.replace(records.heads["linear"], calibration=calibration)
    changed = dataclasses.replace(records, heads={**records.heads, "linear": linear})
    files = {name: content for name, content in from_pretrained(made[0]).extras.items() if name.startswith("heads/")}
    keep_heads(made[0], changed, files)
    predictor = load(made, nasty_dataset, nasty_store, head="linear")
    np.testing.assert_array_equal(predictor.predict(TEAMS)["prediction"], calibration(values["prediction"].to_numpy()))
    assert predictor.describe()["calibrated"]


def test_a_head_that_is_not_kept_is_refused_at_loading(
    points: Made, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    with pytest.raises(InputError, match="keeps no head 'forest'"):
        load(points, nasty_dataset, nasty_store, head="forest")
