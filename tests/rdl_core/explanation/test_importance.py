"""Importance of groups to a task's metric: a planted column ranks first at every level, and a model of shuffled labels owes nothing to any."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset
from sklearn.metrics import roc_auc_score

from rdl_core.config import BackboneConfig, ColumnsConfig, StatisticsConfig, TemporalSamplingConfig
from rdl_core.database import load_task, open_dataset
from rdl_core.explanation import LEVELS, TaskExplanation, explain_task
from rdl_core.explanation.importance import drawn_labels
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.tasks.labels import read_split
from tests.nasty_database import write_database
from tests.rdl_core.explanation.small_explanations import explainer
from tests.rdl_core.prediction.small_models import fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")
START, DAY, TASK = datetime.datetime(2020, 1, 1), datetime.timedelta(days=1), "big-spender"
CUSTOMERS, ORDERS = 120, 12
SEEDS = {"train": (120, 150, 180), "val": (210,), "test": (240,)}
FEW = StatisticsConfig(num_last=(4,), window_shares=(1 / 4,))
BACKBONE = BackboneConfig(
    channels=16,
    num_layers=0,
    seed_cells=False,
    statistics=FEW,
    columns=ColumnsConfig(hops=2, statistics=FEW, further=FEW),
)


def write_planted(folder: Path, *, shuffled_by: int | None = None) -> Path:
    """Writes customers, orders and visits, and labels: whether the past mean of orders.amount is above 50, or this shuffled in each split."""
    generator = np.random.default_rng(0)
    level = generator.normal(size=CUSTOMERS)
    customer = np.repeat(np.arange(CUSTOMERS), ORDERS)
    day = np.sort(generator.integers(0, 270, size=len(customer)))
    customer = generator.permutation(customer)
    amount = 50 + 10 * level[customer] + generator.normal(size=len(customer))

    def times(days: np.ndarray) -> pa.Array:
        return pa.array([START + int(d) * DAY for d in days], pa.timestamp("us"))

    number = np.arange(len(customer))
    tables = {
        "customers": pa.table({"customer_id": np.arange(CUSTOMERS), "age": generator.normal(40, 9, CUSTOMERS)}),
        "orders": pa.table(
            {
                "order_id": number,
                "customer_id": customer,
                "placed_at": times(day),
                "amount": amount,
                "weight": generator.normal(size=len(customer)),
            }
        ),
        "visits": pa.table(
            {
                "visit_id": number,
                "customer_id": generator.permutation(customer),
                "seen_at": times(day),
                "pages": generator.normal(size=len(customer)),
            }
        ),
    }
    labels = {}
    for split, seeds in SEEDS.items():
        before = [(d, c, amount[(customer == c) & (day < d)]) for d in seeds for c in range(CUSTOMERS)]
        known = [(d, c, float(past.mean() > 50)) for d, c, past in before if len(past)]
        target = np.array([label for _, _, label in known])
        if shuffled_by is not None:
            target = np.random.default_rng(shuffled_by).permutation(target)
        labels[split] = pa.table(
            {"at": times(np.array([d for d, _, _ in known])), "customer_id": [c for _, c, _ in known], "big": target}
        )
    manifest = {
        "kind": "external",
        "task_type": "binary_classification",
        "entity_table": "customers",
        "entity_col": "customer_id",
        "time_col": "at",
        "target_col": "big",
        "timedelta": "30 days",
    }
    keyed = {"customer_id": "customers"}
    specs: dict[str, dict[str, Any]] = {
        "customers": {"pkey": "customer_id"},
        "orders": {"pkey": "order_id", "time_col": "placed_at", "fkeys": keyed},
        "visits": {"pkey": "visit_id", "time_col": "seen_at", "fkeys": keyed},
    }
    stamps = {
        name: str(START + SEEDS[split][0] * DAY)
        for name, split in (("val_timestamp", "val"), ("test_timestamp", "test"))
    }
    return write_database(folder, tables, specs, tasks={TASK: {"manifest": manifest, **labels}}, **stamps)


def importance(folder: Path, dataset: RelBenchDataset, store: Store, seed: int = 0) -> TaskExplanation:
    """Trains on a dataset's labels and explains test."""
    task = load_task(dataset, TASK)
    model, _ = fine_tune(
        folder,
        store,
        task,
        BACKBONE,
        sampling=TemporalSamplingConfig(num_neighbors=()),
        batch_size=64,
        max_steps=60,
        validation_interval_steps=10,
        learning_rate=1e-2,
        head_channels=0,
        seed=seed,
    )
    return explain_task(explainer(model, dataset, store), task, "test", rows=None)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RelBenchDataset, Store]:
    folder = tmp_path_factory.mktemp("planted")
    dataset = open_dataset(write_planted(folder / "planted"))
    return dataset, materialize(dataset, folder / "stores")


@pytest.fixture(scope="module")
def found(planted: tuple[RelBenchDataset, Store], tmp_path_factory: pytest.TempPathFactory) -> TaskExplanation:
    return importance(tmp_path_factory.mktemp("model"), *planted)


FIRST = {"table": "orders", "key": "orders.customer_id -> customers", "column": "orders.amount"}


@pytest.mark.parametrize("level", LEVELS)
def test_a_planted_column_its_table_and_its_key_rank_first_and_are_told_from_nothing(
    found: TaskExplanation, level: str
) -> None:
    first, *others = [one for one in found.groups if one.group.level == level]
    assert first.group.name == FIRST[level]
    assert first.interval is not None and first.interval[0] > 0.2
    assert first.loss > 5 * max(abs(one.loss) for one in others)
    assert first.change == max(one.change for one in found.groups if one.group.level == level)


def test_the_metric_is_that_of_the_labels_and_neutral_inputs_tell_nobody_from_others(found: TaskExplanation) -> None:
    assert found.metric == "roc_auc" and found.value > 0.9
    assert found.neutral_value == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_shuffled_labels_owes_nothing_to_any_group(
    planted: tuple[RelBenchDataset, Store], tmp_path: Path, seed: int
) -> None:
    shuffled = open_dataset(write_planted(tmp_path / "planted", shuffled_by=seed))
    found = importance(tmp_path / "model", shuffled, planted[1], seed)
    assert any(one.change > 1e-3 for one in found.groups), "the model predicts something"
    for one in found.groups:
        assert one.interval is not None
        assert one.interval[0] <= 0 <= one.interval[1], (one.group.name, one.loss, one.interval)


def test_labels_are_read_for_the_metric_alone_and_hidden_ones_leave_the_change(
    planted: tuple[RelBenchDataset, Store], tmp_path: Path, found: TaskExplanation
) -> None:
    dataset, store = planted
    task = load_task(dataset, TASK)
    model, _ = fine_tune(tmp_path / "m", store, task, BACKBONE, sampling=TemporalSamplingConfig(num_neighbors=()))
    shutil.copytree(dataset.dataset_dir, tmp_path / "hidden")
    path = tmp_path / "hidden" / "tasks" / TASK / "test.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(2, "big", pa.nulls(len(rows), pa.float64())), path)
    hidden = open_dataset(tmp_path / "hidden")
    seen = explain_task(explainer(model, dataset, store), task, "test", rows=40)
    unseen = explain_task(explainer(model, hidden, store), load_task(hidden, TASK), "test", rows=40)
    assert {one.group.name: one.change for one in unseen.groups} == {o.group.name: o.change for o in seen.groups}
    assert all(np.isnan(one.loss) and one.interval is None for one in unseen.groups)
    assert np.isnan(unseen.value) and (unseen.rows, unseen.labels) == (40, len(rows))


def test_a_loss_is_the_metric_less_that_of_predictions_without_the_group(
    planted: tuple[RelBenchDataset, Store], tmp_path: Path
) -> None:
    dataset, store = planted
    task = load_task(dataset, TASK)
    model, _ = fine_tune(tmp_path / "m", store, task, BACKBONE, sampling=TemporalSamplingConfig(num_neighbors=()))
    of = explainer(model, dataset, store)
    found = {one.group.name: one for one in explain_task(of, task, "val", rows=50).groups}
    seeds = drawn_labels(read_split(task, "val", "rolling", store.test_timestamp_s), 50)
    left_out = of.leave_out(seeds.entities, seeds.time_s)
    assert len(np.unique(seeds.numbers)) == 50 and (np.diff(seeds.numbers) > 0).all()
    whole = roc_auc_score(seeds.target, left_out.prediction)
    for group, without in zip(of.groups, left_out.without, strict=True):
        assert found[group.name].loss == pytest.approx(whole - roc_auc_score(seeds.target, without), abs=1e-12)
        expected = np.abs(left_out.prediction - without).mean()
        assert found[group.name].change == pytest.approx(expected, abs=1e-12)
