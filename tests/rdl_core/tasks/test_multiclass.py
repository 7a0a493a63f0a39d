"""Tasks of several classes: learned, scored, written and saved; classes that train lacks; what is not for them is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from relbench.base import EntityTask
from relbench.load import RelBenchDataset
from sklearn.metrics import accuracy_score, f1_score

from distributed.training.evaluate import evaluate
from rdl_core.config import (
    BackboneConfig,
    ColumnsConfig,
    FinetuningConfig,
    HeadsConfig,
    LinearRows,
    TemporalSamplingConfig,
)
from rdl_core.database import load_task, open_dataset
from rdl_core.database.column_checks import DatabaseError
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.tasks.column_heads import ColumnHeads
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.finetuning_result import FinetuningResult, predictions_path, save_finetuned
from rdl_core.tasks.labels import classes_of, read_closed, read_split, read_train
from rdl_core.tasks.model import task_model_of
from rdl_core.tasks.prediction_file import read_predictions
from rdl_core.tasks.scoring import task_metrics
from rdl_core.tasks.trivial import Trivial
from tests.nasty_database import TRAIN_SEEDS, write_nasty_database
from tests.nasty_tasks import TOWNS, add_class_task, labels

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("town 0", "town 1", "town 2")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RelBenchDataset:
    folder = write_nasty_database(tmp_path_factory.mktemp("classes") / "nasty")
    add_class_task(folder)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def store(dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return materialize(dataset, tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def task(dataset: RelBenchDataset) -> EntityTask:
    return load_task(dataset, TOWNS)


def make(store: Store, task: EntityTask, **changes: Any) -> Finetuning:
    small: dict[str, Any] = {
        "sampling": TemporalSamplingConfig(num_neighbors=(2,), strategy="recent"),
        "batch_size": 20,
        "max_steps": 6,
        "validation_interval_steps": 3,
        "head_channels": 8,
        "learning_rate": 1e-2,
    }
    config = FinetuningConfig(**small | changes)
    torch.manual_seed(config.seed)
    backbone = BackboneConfig(channels=8, rows=LinearRows(), num_layers=1)
    encoder = RelationalEncoder(store.schema, store.graph.edge_types, backbone)
    return Finetuning(store, task, encoder, "scratch", "rolling", config)


@pytest.fixture(scope="module")
def outcome(store: Store, task: EntityTask) -> tuple[Finetuning, FinetuningResult]:
    run = make(store, task, max_steps=60, validation_interval_steps=20, patience=10)
    return run, run.run()


@pytest.fixture(scope="module")
def trained(outcome: tuple[Finetuning, FinetuningResult]) -> Finetuning:
    return outcome[0]


def test_a_planted_signal_is_learned_far_beyond_the_most_frequent_class(trained: Finetuning, task: EntityTask) -> None:
    train, val = (trained.inputs.split(split) for split in ("train", "val"))
    trivial = Trivial.of(train, uses_last=False, is_binary=False, classes=CLASSES)
    constant = task_metrics(task, "val", trivial.predict(train, val, horizon_s=0))["accuracy"]
    assert constant == np.mean(labels(task, "val") == "town 0") < 0.5
    assert trained.evaluate(trained.model, "val")["accuracy"] > 0.9 and trained.metric == "accuracy"


def test_predictions_are_probabilities_and_figures_are_scikit_learns(trained: Finetuning, task: EntityTask) -> None:
    for split in ("val", "test"):
        probabilities = trained.predictions[split]
        assert probabilities.shape == (len(labels(task, split)), 3) and (probabilities >= 0).all()
        np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-6)
        guess = np.array(CLASSES)[probabilities.argmax(1)]
        assert task_metrics(task, split, probabilities) == {
            "accuracy": accuracy_score(labels(task, split), guess),
            "macro_f1": f1_score(labels(task, split), guess, average="macro", zero_division=0.0),
        }


def test_the_loss_at_the_start_is_that_of_equally_likely_classes(store: Store, task: EntityTask) -> None:
    losses: list[float] = []
    make(store, task, head_channels=0, max_steps=1).run(on_step=lambda step, loss: losses.append(loss))
    assert losses == [pytest.approx(np.log(3), rel=1e-6)]


def test_a_prediction_file_has_the_most_likely_class_and_all_probabilities(
    outcome: tuple[Finetuning, FinetuningResult], store: Store, dataset: RelBenchDataset, tmp_path: Path
) -> None:
    trained, result = outcome
    save_finetuned(tmp_path / "model", trained, result)
    file = pq.read_table(predictions_path(tmp_path / "model"))
    assert file.column_names == ["split", "entity", "time", "prediction", *(f"probability_{name}" for name in CLASSES)]
    for split, probabilities in read_predictions(predictions_path(tmp_path / "model")).items():
        np.testing.assert_array_equal(probabilities, trained.predictions[split])
        rows = file.filter(np.array(file["split"].to_pylist()) == split)
        assert rows["prediction"].to_pylist() == [CLASSES[place] for place in probabilities.argmax(1)]

    checkpoint = from_pretrained(tmp_path / "model", kind="finetuned")
    again = task_model_of(checkpoint)
    for name, weight in trained.model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=0, atol=0)
    scored = evaluate(str(dataset.dataset_dir), store.place, str(tmp_path / "model"))
    assert scored["test"] == result.metrics["test"] and scored["metric"] == "accuracy"


def test_a_class_that_train_lacks_is_predicted_wrongly_and_no_refit_learns_from_it(tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    add_class_task(folder, lambda split, team: "new" if split != "train" and team == 4 else f"town {team % 3}")
    task = load_task(open_dataset(folder), TOWNS)
    assert classes_of(task) == CLASSES
    val = read_split(task, "val", "rolling", 1 << 40)
    assert set(val.target[val.entities == 4]) == {-1.0} and (val.target[val.entities != 4] >= 0).all()
    closed = read_closed(task, "rolling", 1 << 40, FinetuningConfig())
    train = read_train(task, "rolling", 1 << 40, FinetuningConfig())
    assert len(closed) == len(train) + (val.target >= 0).sum() and (closed.target >= 0).all()
    perfect = np.eye(3)[np.maximum(val.target, 0).astype(int)]
    assert task_metrics(task, "val", perfect)["accuracy"] == pytest.approx(np.mean(val.target >= 0))


def test_whole_numbers_are_classes_in_their_order_whatever_their_type(tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    add_class_task(folder, lambda split, team: [10.0, 9.0, -1.0][team % 3] if split == "val" else [10, 9, -1][team % 3])
    task = load_task(open_dataset(folder), TOWNS)
    assert classes_of(task) == ("-1", "9", "10")
    for split in ("train", "val"):
        found = read_split(task, split, "rolling", 1 << 40)
        assert [[2, 1, 0][team % 3] for team in found.entities] == found.target.tolist()


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    add_class_task(folder, lambda split, team: team + 0.5)
    with pytest.raises(DatabaseError, match=r"(?s)a target that is a class.*got 0\.5"):
        load_task(open_dataset(folder), TOWNS)


def test_the_last_label_of_an_entity_is_one_of_its_classes(task: EntityTask) -> None:
    train, val = (read_split(task, split, "rolling", 1 << 40) for split in ("train", "val"))
    trivial = Trivial.of(train, uses_last=True, is_binary=False, classes=CLASSES)
    predicted = trivial.predict(train, val, horizon_s=0)
    assert predicted.shape == (len(val), 3) and (predicted.sum(1) == 1).all()
    seen = val.entities < 10  # team 11 has no label yet
    assert (predicted.argmax(1)[seen] == val.target[seen]).all()
    assert len(train) == 10 * len(TRAIN_SEEDS)


def test_heads_on_columns_refuse_several_classes(store: Store, task: EntityTask) -> None:
    with pytest.raises(ValueError, match="has several classes; linear, lightgbm, blend and --baseline are for"):
        ColumnHeads(store, task, "rolling", FinetuningConfig(), HeadsConfig(), ColumnsConfig())
