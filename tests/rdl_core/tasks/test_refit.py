"""Refit against plain training on train's and validation's labels together; weights of labels in the loss; the file of predictions."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from relbench.base import EntityTask
from relbench.load import RelBenchDataset

from rdl_core.config import TemporalSamplingConfig
from rdl_core.database import load_task, open_dataset
from rdl_core.graph.store import Store
from rdl_core.optimizer import make_optimizer
from rdl_core.tasks.prediction_file import write_predictions
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import POINTS, WINS, WatchedTask
from tests.rdl_core.tasks.test_finetuning import make, weights

pytestmark = pytest.mark.usefixtures("one_thread")

UNIFORM = TemporalSamplingConfig(num_neighbors=(3, 2), strategy="uniform")


@pytest.fixture(scope="module")
def tasks(nasty_dataset: RelBenchDataset) -> Mapping[str, EntityTask]:
    return {name: load_task(nasty_dataset, name) for name in (WINS, POINTS)}


class JoinedTask(WatchedTask):
    """A task whose train labels are those of train and validation, one behind the other."""

    def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
        table = self._task.get_table(split, *args, **kwargs)
        if split == "train":
            table.df = pd.concat([table.df, self._task.get_table("val").df], ignore_index=True)
        return table


@pytest.mark.parametrize(
    ("name", "arm", "changes"),
    [
        (POINTS, "scratch", {"ema_decay": 0.8}),
        (WINS, "scratch", {"sampling": UNIFORM, "weight_decay": 0.1, "gradient_clip_norm": 0.5}),
        (WINS, "frozen", {"sampling": UNIFORM}),
        (POINTS, "finetuned", {"regression_loss": "mse", "batch_size": 13}),
    ],
)
def test_a_refit_is_plain_training_on_the_labels_of_train_and_validation_for_as_many_epochs(
    nasty_store: Store, tasks: Mapping[str, EntityTask], name: str, arm: Any, changes: dict[str, Any]
) -> None:
    run = make(nasty_store, tasks[name], arm, refit=True, **changes)
    result = run.run()
    size, num_train, num_val = run.config.batch_size, 40, 22
    epochs = result.best_step / (num_train // size)
    assert result.refit_steps == max(1, round(epochs * ((num_train + num_val) // size))) > result.best_step
    assert set(result.metrics) == {"val", "test", "test_refit"}
    steps = {"max_steps": result.refit_steps, "validation_interval_steps": result.refit_steps}
    plain = make(nasty_store, JoinedTask(tasks[name]), arm, **changes | steps)
    expected = plain.train()
    assert expected.course == ((arm, result.refit_steps),)
    for parameter, value in weights(plain.model).items():
        assert torch.equal(run.model.state_dict()[parameter], value), parameter
    assert plain.scale == run.scale
    np.testing.assert_array_equal(run.predictions["test_refit"], run.predict(plain.model, "test"))


def test_a_refit_leaves_the_figures_of_the_chosen_model_as_they_are(
    nasty_store: Store, tasks: Mapping[str, EntityTask]
) -> None:
    plain, refitted = (make(nasty_store, tasks[WINS], refit=refit).run() for refit in (False, True))
    changed: dict[str, Any] = {"seconds": 0.0, "test_refit": None, "refit_steps": None}
    for field in ("metrics", "interval"):
        changed[field] = {split: getattr(refitted, field)[split] for split in ("val", "test")}
    changed["baselines"] = {name: {s: of[s] for s in ("val", "test")} for name, of in refitted.baselines.items()}
    assert dataclasses.replace(refitted, **changed) == dataclasses.replace(plain, seconds=0.0)
    assert refitted.test_refit == refitted.metrics["test_refit"]["roc_auc"]


def test_a_refit_that_has_no_label_is_refused_before_training(
    nasty_store: Store, tasks: Mapping[str, EntityTask]
) -> None:
    endless: Any = WatchedTask(tasks[POINTS], timedelta=pd.Timedelta(days=365))
    with pytest.raises(ValueError, match="no validation label's window of 365 days"):
        make(nasty_store, endless, refit=True)


def test_the_loss_of_a_step_is_the_weighted_mean(nasty_store: Store, tasks: Mapping[str, EntityTask]) -> None:
    losses: list[float] = []
    for weight in (np.ones(40), np.linspace(0.1, 3.0, 40), np.full(40, 0.25)):
        run = make(nasty_store, tasks[POINTS], dropout=0.0, batch_size=1000, max_steps=1)
        run.inputs._splits["train"] = dataclasses.replace(run.inputs.split("train"), weights=weight)
        output = run.model.train()(run.inputs.trees("train", np.arange(40), 0)).detach().double().numpy()
        gap = np.abs(output - (run.inputs.split("train").target - run.scale.centre) / run.scale.std)
        run = make(nasty_store, tasks[POINTS], dropout=0.0, batch_size=1000, max_steps=1)
        run.inputs._splits["train"] = dataclasses.replace(run.inputs.split("train"), weights=weight)
        run.run(on_step=lambda step, loss: losses.append(loss))
        assert losses[-1] == pytest.approx((gap * weight).sum() / weight.sum(), rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-6)
    assert abs(losses[1] - losses[0]) > 1e-3


def test_weight_decay_shrinks_what_gets_no_gradient_by_the_learning_rate_times_itself() -> None:
    for decay, kept in ((0.0, 1.0), (0.2, 1.0 - 0.01 * 0.2)):
        layer = torch.nn.Linear(3, 2)
        before = layer.weight.detach().clone()
        optimizer = make_optimizer(layer, 0.01, decay)
        (layer(torch.zeros(1, 3)).sum() * 0.0).backward()
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), before * kept, rtol=1e-6, atol=0.0)


def test_the_file_of_predictions_holds_every_seed_in_the_order_of_the_labels_and_the_key_of_its_source(
    nasty_store: Store, tmp_path: Path
) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    keys = {"source_key": [f"T-{9 * row}" for row in range(12)][::-1], "row_number": list(range(12))[::-1]}
    (folder / "keys").mkdir()
    pq.write_table(pa.table(keys), folder / "keys" / "teams.parquet")
    task = load_task(open_dataset(folder), POINTS)
    run = make(nasty_store, task, refit=True, max_steps=2)
    run.run()
    found = pq.read_table(write_predictions(tmp_path / "predictions.parquet", run.inputs, run.predictions)).to_pandas()
    assert list(found.columns) == ["split", "entity", "source_key", "time", "prediction"]
    for split in ("val", "test", "test_refit"):
        labels = task.get_table(split.removesuffix("_refit"), mask_input_cols=False).df
        mine = found[found["split"] == split]
        assert mine["entity"].tolist() == labels["team_id"].tolist()
        assert mine["source_key"].tolist() == [f"T-{9 * team}" for team in labels["team_id"]]
        assert [t.replace(tzinfo=None) for t in mine["time"]] == [
            datetime.datetime.fromisoformat(str(t)) for t in labels["seed_time"]
        ]
        np.testing.assert_array_equal(mine["prediction"], run.predictions[split])
