"""Fine-tuning on the nasty database's two tasks: arms, regimes, what is read when, losses, averages, figures."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from relbench.base import EntityTask
from relbench.load import RelBenchDataset
from sklearn.metrics import mean_absolute_error, roc_auc_score

from rdl_core.batches.tree_batch import collate_trees
from rdl_core.config import (
    Arm,
    BackboneConfig,
    ColumnsConfig,
    FinetuningConfig,
    HeadsConfig,
    Regime,
    ResNetRows,
    StoreConfig,
    TemporalSamplingConfig,
)
from rdl_core.database import load_task, open_dataset
from rdl_core.evidence import bootstrap_interval
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.heads import Fold
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.column_heads import ColumnHeads
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.finetuning_result import FinetuningResult
from rdl_core.tasks.inputs import EVALUATION_EPOCH
from rdl_core.tasks.labels import read_split
from rdl_core.tasks.prediction_file import read_predictions, write_predictions
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import POINTS, WINS, WatchedTask, labels

pytestmark = pytest.mark.usefixtures("one_thread")

ARMS: tuple[Arm, ...] = ("scratch", "frozen", "finetuned")


@pytest.fixture(scope="module")
def tasks(nasty_dataset: RelBenchDataset) -> dict[str, EntityTask]:
    return {name: load_task(nasty_dataset, name) for name in (WINS, POINTS)}


def make(
    store: Store, task: Any, arm: Arm = "scratch", regime: Regime = "rolling", *, dropout: float = 0.2, **changes: Any
) -> Finetuning:
    """A run of a tiny model; every backbone is drawn from the seed."""
    small: dict[str, Any] = {
        "sampling": TemporalSamplingConfig(num_neighbors=(4, 3), strategy="recent"),
        "batch_size": 10,
        "max_steps": 6,
        "validation_interval_steps": 2,
        "head_channels": 8,
        "learning_rate": 5e-3,
        "ema_decay": None,
    }
    config = FinetuningConfig(**small | changes)
    torch.manual_seed(config.seed)
    rows = ResNetRows(num_layers=1, dropout=dropout)
    encoder = RelationalEncoder(store.schema, store.graph.edge_types, BackboneConfig(channels=8, rows=rows))
    return Finetuning(store, task, encoder, arm, regime, config)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: w.clone() for name, w in model.state_dict().items()}


def moved(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, w in model.state_dict().items() if not torch.equal(w, before[name])}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", [WINS, POINTS])
def test_every_arm_runs_on_every_task(nasty_store: Store, tasks: dict[str, EntityTask], arm: Arm, name: str) -> None:
    seen: list[tuple[int, float]] = []
    run = make(nasty_store, tasks[name], arm)
    result = run.run(on_validation=lambda step, metric: seen.append((step, metric)))
    assert (result.task, result.arm, result.regime, result.steps) == (name, arm, "rolling", 6)
    assert [step for step, _ in seen] == [2, 4, 6]
    best = max(seen, key=lambda s: s[1] if name == WINS else -s[1])
    assert (result.best_step, result.val) == best
    assert result.metric == {WINS: "roc_auc", POINTS: "mae"}[name]
    assert result.test == result.metrics["test"][result.metric]
    assert result.val == result.metrics["val"][result.metric]


@pytest.mark.parametrize("arm", ARMS)
def test_only_the_frozen_arm_keeps_every_weight_of_the_backbone(
    nasty_store: Store, tasks: dict[str, EntityTask], arm: Arm
) -> None:
    run = make(nasty_store, tasks[WINS], arm)
    backbone, head = weights(run.model.encoder), weights(run.model.head)
    run.run()
    assert bool(moved(run.model.encoder, backbone)) == (arm != "frozen")
    assert len(moved(run.model.head, head)) == len(head)


@pytest.mark.parametrize("arm", ARMS)
def test_the_same_seed_gives_the_same_bits(nasty_store: Store, tasks: dict[str, EntityTask], arm: Arm) -> None:
    def outcome(seed: int) -> tuple[FinetuningResult, dict[str, torch.Tensor]]:
        run = make(nasty_store, tasks[WINS], arm, seed=seed)
        return dataclasses.replace(run.run(), seconds=0.0), weights(run.model)

    one, again, other = outcome(0), outcome(0), outcome(1)
    assert one[0] == again[0]
    assert all(torch.equal(w, again[1][n]) for n, w in one[1].items())
    assert any(not torch.equal(w, other[1][n]) for n, w in one[1].items())


def test_a_frozen_backbone_sees_each_seed_once_in_trees_of_evaluation(
    nasty_store: Store, tasks: dict[str, EntityTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, drawn = make(nasty_store, tasks[WINS], "frozen", max_steps=20), []
    sample = run.inputs.sampling.sample

    def watched(*args: Any, epoch: int, numbers: np.ndarray, **kwargs: Any) -> Any:
        drawn.extend((epoch, int(number)) for number in numbers)
        return sample(*args, epoch=epoch, numbers=numbers, **kwargs)

    monkeypatch.setattr(run.inputs.sampling, "sample", watched)
    run.run()
    assert {epoch for epoch, _ in drawn} == {EVALUATION_EPOCH}
    assert len(set(drawn)) == len(drawn) == sum(len(labels(tasks[WINS], split)) for split in ("train", "val", "test"))


def test_what_is_drawn_before_a_run_does_not_change_it(nasty_store: Store, tasks: dict[str, EntityTask]) -> None:
    runs = [make(nasty_store, tasks[POINTS], dropout=0.5) for _ in range(2)]
    assert runs[0].run().metrics == runs[1].run().metrics  # the first has moved the global generator


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", [WINS, POINTS])
def test_test_labels_stay_closed_until_training_is_over(
    nasty_store: Store, tasks: dict[str, EntityTask], arm: Arm, name: str
) -> None:
    task = WatchedTask(tasks[name])
    run = make(nasty_store, task, arm)

    def open_at_the_end(step: int, metric: float) -> None:
        task.is_open = step == 6

    run.run(on_validation=open_at_the_end)
    assert task.reads > 0


def test_the_regimes_agree_up_to_the_test_timestamp_and_differ_after(
    nasty_store: Store, tasks: dict[str, EntityTask]
) -> None:
    runs = [make(nasty_store, tasks[POINTS], "scratch", regime) for regime in ("rolling", "snapshot")]
    results = [run.run() for run in runs]
    assert [r.regime for r in results] == ["rolling", "snapshot"]
    assert results[0].val == results[1].val
    predictions = [run.predict(run.model, "test") for run in runs]
    time_s = read_split(tasks[POINTS], "test", "rolling", nasty_store.test_timestamp_s).time_s
    early = time_s <= nasty_store.test_timestamp_s
    np.testing.assert_allclose(predictions[0][early], predictions[1][early], rtol=1e-5)
    assert early.any()
    assert not np.allclose(predictions[0][~early], predictions[1][~early], rtol=1e-3)


@pytest.mark.parametrize("name", [WINS, POINTS])
@pytest.mark.parametrize("arm", ["scratch", "frozen"])
def test_predictions_are_in_the_order_of_the_table(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str, arm: Arm
) -> None:
    """Seed by seed, from trees drawn here, whatever the size of the batches in which the run predicts."""
    run = make(nasty_store, tasks[name], arm, batch_size=7)
    run.run()
    split = read_split(tasks[name], "val", "rolling", nasty_store.test_timestamp_s)
    sampling = TemporalSampling(nasty_store.graph, run.config.sampling, seed=99)
    run.model.eval()
    out = []
    for i in range(len(split)):
        trees = sampling.sample("teams", split.entities[i : i + 1], split.before_s[i : i + 1], epoch=0)
        batch = collate_trees(trees, split.time_s[i : i + 1], nasty_store.graph, nasty_store.features)
        with torch.no_grad():
            out.append(run.model(batch).double())
    logits = torch.cat(out)
    expected = logits.sigmoid() if name == WINS else logits * run.scale.std + run.scale.centre
    expected = expected if name == WINS else expected.clamp(run.scale.lowest, run.scale.highest)
    np.testing.assert_allclose(run.predict(run.model, "val"), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert expected.std() > 0


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_predictions_stay_in_range(nasty_store: Store, tasks: dict[str, EntityTask], split: str) -> None:
    for name, (low, high) in ((WINS, (0.0, 1.0)), (POINTS, tuple(np.quantile(labels(tasks[POINTS], "train"), [0, 1])))):
        run = make(nasty_store, tasks[name])
        run.run()
        with torch.no_grad():
            run.model.head[-1].weight.mul_(100.0)
        predicted = run.predict(run.model, split)
        assert predicted.shape == labels(tasks[name], split).shape
        assert low <= predicted.min()
        assert predicted.max() <= high


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", [WINS, POINTS])
def test_figures_are_scikit_learns_on_the_predictions(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str, split: str
) -> None:
    run = make(nasty_store, tasks[name])
    result = run.run()
    score = roc_auc_score if name == WINS else mean_absolute_error
    expected = score(labels(tasks[name], split), run.predict(run.model, split))
    assert result.metrics[split][result.metric] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_the_loss_of_a_step_is_the_mean_over_its_rows(
    nasty_store: Store, tasks: dict[str, EntityTask], loss: str
) -> None:
    run = make(nasty_store, tasks[POINTS], dropout=0.0, regression_loss=loss, batch_size=1000, max_steps=1)
    before, losses = copy.deepcopy(run.model).train(), []
    run.run(on_step=lambda step, value: losses.append(value))
    split = read_split(tasks[POINTS], "train", "rolling", nasty_store.test_timestamp_s)
    sampling = TemporalSampling(nasty_store.graph, run.config.sampling, seed=99)
    trees = sampling.sample("teams", split.entities, split.before_s, epoch=0)
    z = before(collate_trees(trees, split.time_s, nasty_store.graph, nasty_store.features)).detach().double().numpy()
    centre = np.median(split.target) if loss == "l1" else np.mean(split.target)
    gap = z - (split.target - centre) / split.target.std()
    assert losses == [pytest.approx(np.abs(gap).mean() if loss == "l1" else np.square(gap).mean(), rel=1e-4)]


def test_a_step_of_classification_has_the_mean_cross_entropy(nasty_store: Store, tasks: dict[str, EntityTask]) -> None:
    run = make(nasty_store, tasks[WINS], "frozen", batch_size=1000, max_steps=1)
    before, losses = copy.deepcopy(run.model).train(), []
    before.encoder.eval()
    run.run(on_step=lambda step, value: losses.append(value))
    split = read_split(tasks[WINS], "train", "rolling", nasty_store.test_timestamp_s)
    trees = TemporalSampling(nasty_store.graph, run.config.sampling, seed=99).sample(
        "teams", split.entities, split.before_s, epoch=0
    )
    logit = before(collate_trees(trees, split.time_s, nasty_store.graph, nasty_store.features)).detach().double()
    p = logit.sigmoid().numpy()
    expected = -np.where(split.target == 1, np.log(p), np.log(1 - p)).mean()
    assert losses == [pytest.approx(expected, rel=1e-4)]


def test_the_average_of_the_weights_is_what_is_kept(nasty_store: Store, tasks: dict[str, EntityTask]) -> None:
    run = make(nasty_store, tasks[POINTS], ema_decay=0.6, max_steps=4, validation_interval_steps=4)
    trail: list[dict[str, torch.Tensor]] = []
    run.run(on_step=lambda step, loss: trail.append(weights(run.model)))
    assert len(trail) == 4
    buffers = {name for name, _ in run.model.named_buffers(remove_duplicate=False)}
    for name, kept in run.model.state_dict().items():
        average = trail[0][name]
        for later in trail[1:]:
            average = later[name] if name in buffers else 0.6 * average + 0.4 * later[name]
        torch.testing.assert_close(kept, average, rtol=1e-5, atol=1e-7, msg=name)
    assert moved(run.model, trail[-1])


@pytest.mark.parametrize(("batch_size", "left_out"), [(10, 0), (40, 0), (12, 4), (1000, 0)])
def test_an_epoch_takes_each_train_row_once(
    nasty_store: Store, tasks: dict[str, EntityTask], batch_size: int, left_out: int
) -> None:
    run = make(nasty_store, tasks[WINS], batch_size=batch_size)
    steps_per_epoch = max(1, 40 // batch_size)
    epochs = []
    for epoch in range(3):
        drawn = [run.order("train")(epoch * steps_per_epoch + step) for step in range(steps_per_epoch)]
        assert [e for _, e in drawn] == [epoch] * steps_per_epoch
        rows = np.concatenate([r for r, _ in drawn])
        assert len(rows) == len(set(rows.tolist())) == 40 - left_out
        epochs.append(rows.tolist())
    assert epochs[0] != epochs[1] != epochs[2]


def test_patience_counts_validations_without_a_new_best(nasty_store: Store, tasks: dict[str, EntityTask]) -> None:
    seen: list[float] = []
    settings: dict[str, Any] = {"max_steps": 60, "validation_interval_steps": 1, "patience": 2, "learning_rate": 0.05}
    result = make(nasty_store, tasks[WINS], "frozen", **settings).run(on_validation=lambda s, m: seen.append(m))
    best = int(np.argmax(seen))
    assert result.steps == len(seen) < 60
    assert (result.best_step, result.steps - result.best_step) == (best + 1, 2)


def test_a_run_ends_when_its_hours_are_over(nasty_store: Store, tasks: dict[str, EntityTask]) -> None:
    result = make(nasty_store, tasks[WINS], "frozen", max_hours=1e-9).run()
    assert (result.steps, result.best_step, result.finished) == (1, 1, "time_budget")


def test_a_store_that_holds_what_the_task_must_not_see_is_refused(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tasks: dict[str, EntityTask], tmp_path: Path
) -> None:
    task = WatchedTask(tasks[WINS], remove_columns=[("teams", "country"), ("match", "gone")])
    with pytest.raises(ValueError, match=r"(?s)team-wins.*teams\.country.*--exclude-columns teams\.country$"):
        make(nasty_store, task)
    store = materialize(nasty_dataset, tmp_path, StoreConfig(exclude_columns=("teams.country",)))
    task.is_open = True
    assert make(store, task, "frozen", max_steps=1).run().steps == 1


def test_weights_that_are_not_finite_end_the_run_with_an_error(
    nasty_store: Store, tasks: dict[str, EntityTask]
) -> None:
    run = make(nasty_store, tasks[POINTS])
    with torch.no_grad():
        run.model.head[-1].bias.fill_(float("nan"))
    with pytest.raises((FloatingPointError, ValueError), match="not finite|no finite|NaN"):
        run.run()


@pytest.mark.parametrize("name", [WINS, POINTS])
def test_a_model_predicts_the_same_of_its_old_rows_read_by_its_schema_and_of_those_with_later_rows_beside_them(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tasks: dict[str, EntityTask], tmp_path: Path, name: str
) -> None:
    run = make(nasty_store, tasks[name])
    run.run()
    folder = write_nasty_database(tmp_path / "nasty")
    orders = pq.read_table(folder / "db" / "order.parquet")
    later = [2_000_000_000_000_000] * 3
    new = orders.slice(0, 3).set_column(0, "order_id", pa.array(range(len(orders), len(orders) + 3)))
    new = new.set_column(new.schema.get_field_index("placed_at"), "placed_at", pa.array(later, pa.timestamp("us")))
    pq.write_table(pa.concat_tables([orders, new.cast(orders.schema)]), folder / "db" / "order.parquet")
    (folder / "manifest.yaml").write_text((folder / "manifest.yaml").read_text().replace("2020-06-01", "2020-07-01"))
    expected = run.predict(run.model, "val")
    for dataset in (nasty_dataset, open_dataset(folder)):
        store = materialize(dataset, tmp_path / "stores", model=nasty_store.schema)
        again = make(store, tasks[name])
        again.model.load_state_dict(run.model.state_dict())
        np.testing.assert_allclose(again.predict(again.model, "val"), expected, rtol=0, atol=1e-6)
    assert np.std(expected) > 1e-3


@pytest.mark.parametrize("arm", ["scratch", "frozen"])
def test_out_of_fold_predictions_know_the_labels_of_their_folds_train_rows_alone_and_leave_the_model_as_it_was(
    nasty_store: Store, tasks: dict[str, EntityTask], arm: Arm
) -> None:
    folds = [
        Fold(train=np.arange(10), validation=np.arange(20, 30)),
        Fold(train=np.arange(20), validation=np.arange(30, 40)),
    ]
    settings: dict[str, Any] = {"max_steps": 4, "validation_interval_steps": 4}
    plain = make(nasty_store, tasks[POINTS], arm, **settings)
    plain.run()
    runs = [make(nasty_store, tasks[POINTS], arm, **settings) for _ in range(2)]
    runs[1].inputs.split("train").target[20:] += 1e3
    for run in runs:
        run.run(folds=folds)
    one, other = (run.predictions["out_of_fold"] for run in runs)
    assert np.isnan(one[:20]).all() and np.isfinite(one[20:]).all()
    np.testing.assert_array_equal(one[20:30], other[20:30])
    np.testing.assert_array_equal(one[30:], other[30:])
    assert np.ptp(one[20:]) > 0
    assert all(torch.equal(w, runs[0].model.state_dict()[n]) for n, w in plain.model.state_dict().items())
    for split in ("val", "test"):
        np.testing.assert_array_equal(plain.predictions[split], runs[0].predictions[split])
        assert not np.array_equal(runs[0].predictions[split], runs[1].predictions[split])


def test_a_fold_too_small_for_batch_norm_has_no_predictions_and_files_keep_that(
    nasty_store: Store, tasks: dict[str, EntityTask], tmp_path: Path
) -> None:
    run = make(nasty_store, tasks[WINS], "frozen")
    run.run(
        folds=[
            Fold(train=np.arange(1), validation=np.arange(10, 20)),
            Fold(train=np.arange(9), validation=np.arange(20, 30)),
        ]
    )
    assert np.flatnonzero(np.isfinite(run.predictions["out_of_fold"])).tolist() == list(range(20, 30))
    read = read_predictions(write_predictions(tmp_path / "predictions.parquet", run.inputs, run.predictions))
    assert list(read) == ["val", "test", "out_of_fold"]
    for split, predicted in run.predictions.items():
        np.testing.assert_array_equal(read[split], predicted)


@pytest.mark.parametrize("name", [WINS, POINTS])
def test_beside_each_figure_stand_the_trivial_prediction_of_the_columns_heads_and_an_interval_of_its_entities(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str
) -> None:
    run = make(nasty_store, tasks[name])
    result = run.run()
    heads = ColumnHeads(nasty_store, tasks[name], "rolling", run.config, HeadsConfig(), ColumnsConfig(hops=2))
    trivial = heads.run((), baseline=True).baselines["trivial"]
    assert result.baselines == {"trivial": trivial.figures()}
    assert result.about == {"baseline trivial": trivial.about}
    for split in ("val", "test"):
        entities = run.inputs.split(split).entities
        expected = bootstrap_interval(result.metric, labels(tasks[name], split), run.predictions[split], entities)
        assert result.interval[split] == expected is not None
        assert expected[0] <= getattr(result, split) <= expected[1]
    assert list(result.labels) == ["val", "test"], "the nasty database has few labels"
