"""Heads on columns of the nasty database's two tasks: what is read when, what a blend and a refit do, figures, baselines."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from relbench.base import EntityTask
from relbench.load import RelBenchDataset
from sklearn.metrics import mean_absolute_error, roc_auc_score

from rdl_core.config import BoostingConfig, ColumnsConfig, FinetuningConfig, HeadsConfig, LinearConfig, Regime
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.heads import LinearModel
from rdl_core.problems import InputError
from rdl_core.tasks.column_heads import ColumnHeads, ColumnHeadsResult
from rdl_core.tasks.labels import Split, read_split
from rdl_core.tasks.trivial import Trivial
from tests.nasty_tasks import POINTS, WINS, WatchedTask, labels

SMALL = HeadsConfig(
    linear=LinearConfig(num_columns=(10,), inverse_regularizations=(1e-3, 1e-1)),
    boosting=BoostingConfig(num_columns=20, num_leaves=(4,), max_rounds=20, patience=5),
)
ALL = ("network", "linear", "lightgbm", "blend")
BOTH = pytest.mark.parametrize("name", [WINS, POINTS])


@pytest.fixture(scope="module")
def tasks(nasty_dataset: RelBenchDataset) -> dict[str, EntityTask]:
    return {name: load_task(nasty_dataset, name) for name in (WINS, POINTS)}


def make(store: Store, task: Any, regime: Regime = "rolling", **changes: Any) -> ColumnHeads:
    return ColumnHeads(store, task, regime, FinetuningConfig(**changes), SMALL, ColumnsConfig(hops=2))


def network(heads: ColumnHeads, *, is_perfect: bool) -> dict[str, np.ndarray]:
    """Predictions of a network that knows the labels of train, or nothing; 0.25 everywhere else."""
    out_of_fold = heads.labels["train"].target.copy() if is_perfect else np.full(len(heads.labels["train"]), 0.25)
    sizes = {split: len(labels(heads.task, split)) for split in ("val", "test")}
    return {"out_of_fold": out_of_fold} | {split: np.full(size, 0.25) for split, size in sizes.items()}


@BOTH
def test_cohort_columns_are_for_the_heads_and_leave_the_baseline_as_it_is(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str
) -> None:
    with_cohorts = make(nasty_store, tasks[name])
    with_cohorts.config = dataclasses.replace(with_cohorts.config, cohort_columns=True)
    own, beside = (heads.run(("linear",), baseline=True) for heads in (make(nasty_store, tasks[name]), with_cohorts))
    for split in ("val", "test"):
        predicted = [result.baselines["lightgbm"].predictions[split] for result in (own, beside)]
        np.testing.assert_array_equal(*predicted)
    linear = beside.models["linear"]
    assert isinstance(linear, LinearModel)
    assert linear.columns.max() >= len(with_cohorts.columns.names)
    assert not np.array_equal(own.heads["linear"].predictions["val"], beside.heads["linear"].predictions["val"])


@BOTH
def test_figures_are_scikit_learns_on_the_predictions_of_every_head_and_baseline(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str
) -> None:
    heads = make(nasty_store, tasks[name], refit=True)
    given = network(heads, is_perfect=False)
    result = heads.run(ALL, network=given | {"test_refit": given["test"]}, baseline=True)
    assert (tuple(result.heads), tuple(result.baselines)) == (ALL, ("trivial", "lightgbm"))
    measure = roc_auc_score if name == WINS else mean_absolute_error
    for scores in (*result.heads.values(), *result.baselines.values()):
        assert list(scores.predictions) == list(scores.figures()) == ["val", "test", "test_refit"]
        for split, figure in scores.figures().items():
            expected = measure(labels(tasks[name], split.removesuffix("_refit")), scores.predictions[split])
            assert figure == pytest.approx(expected, abs=1e-12)
    assert result.blend is not None
    assert result.blend.fold_scores["blend"] >= max(result.blend.fold_scores.values())


@BOTH
def test_test_labels_stay_closed_until_all_is_chosen(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str
) -> None:
    task = WatchedTask(tasks[name])
    heads = make(nasty_store, task, refit=True)
    steps: list[str] = []

    def open_at_the_end(step: str) -> None:
        steps.append(step)
        task.is_open = step == "test" or task.is_open

    heads.run(baseline=True, advance=open_at_the_end)
    at = steps.index("test")
    assert {"linear: 2 folds", "lightgbm: 2 folds", "baseline: LightGBM on all columns"} < set(steps[:at])
    assert steps[at + 1 :] == ["columns of test", "columns of refit"]
    assert task.reads > 0


@BOTH
def test_test_labels_do_not_move_a_prediction(nasty_store: Store, tasks: dict[str, EntityTask], name: str) -> None:
    def run(task: Any) -> ColumnHeadsResult:
        return make(nasty_store, task, refit=True).run(baseline=True)

    class Flipped(WatchedTask):
        def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
            table = self._task.get_table(split, *args, **kwargs)
            if split == "test" and tasks[name].target_col in table.df:
                table = dataclasses.replace(table) if dataclasses.is_dataclass(table) else table
                table.df = table.df.assign(**{tasks[name].target_col: 1 - table.df[tasks[name].target_col]})
            return table

    one, other = run(tasks[name]), run(Flipped(tasks[name]))
    for found, again in ((one.heads, other.heads), (one.baselines, other.baselines)):
        for head, scores in found.items():
            for split, predicted in scores.predictions.items():
                np.testing.assert_array_equal(predicted, again[head].predictions[split], err_msg=f"{head}, {split}")


def test_a_blend_takes_the_network_for_what_it_is_worth_on_the_folds(
    nasty_store: Store, tasks: dict[str, EntityTask]
) -> None:
    heads = make(nasty_store, tasks[WINS])
    result = heads.run(ALL, network=network(heads, is_perfect=True))
    assert result.blend is not None and result.blend.weights["network"] == 1.0
    np.testing.assert_array_equal(result.heads["blend"].predictions["test"], 0.25)
    result = heads.run(ALL, network=network(heads, is_perfect=False))
    assert result.blend is not None and result.blend.weights["network"] < 0.5
    assert np.ptp(result.heads["blend"].predictions["test"]) > 0
    assert tuple(heads.run(("lightgbm",)).heads) == ("lightgbm",)


@BOTH
def test_a_refit_changes_the_predictions_of_test_beside_those_of_the_first_fit(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str
) -> None:
    plain, refitted = (make(nasty_store, tasks[name], refit=refit).run(baseline=True) for refit in (False, True))
    for head in ("linear", "lightgbm"):
        before, after = plain.heads[head].predictions, refitted.heads[head].predictions
        for split in ("val", "test"):
            np.testing.assert_array_equal(before[split], after[split])
        assert not np.array_equal(after["test"], after["test_refit"])
        assert plain.heads[head].test_refit is None


def test_a_share_of_the_labels_is_what_a_network_gets_of_them(nasty_store: Store, tasks: dict[str, EntityTask]) -> None:
    heads = make(nasty_store, tasks[WINS], label_share=0.5, seed=3)
    assert len(heads.labels["train"]) == 20
    assert set(heads.labels["train"].numbers) < set(range(40))


def test_the_regimes_have_the_same_columns_up_to_the_test_timestamp(
    nasty_store: Store, tasks: dict[str, EntityTask]
) -> None:
    split = read_split(tasks[WINS], "test", "snapshot", nasty_store.test_timestamp_s)
    rolling, snapshot = (make(nasty_store, tasks[WINS], regime).run(("linear",)) for regime in ("rolling", "snapshot"))
    early = split.time_s <= nasty_store.test_timestamp_s
    one, two = (result.heads["linear"].predictions for result in (rolling, snapshot))
    np.testing.assert_array_equal(one["val"], two["val"])
    np.testing.assert_array_equal(one["test"][early], two["test"][early])
    assert not np.array_equal(one["test"], two["test"])


def test_a_task_whose_windows_never_close_within_train_is_refused(
    nasty_store: Store, tasks: dict[str, EntityTask]
) -> None:
    heads = make(nasty_store, WatchedTask(tasks[WINS], timedelta="200 days"))
    with pytest.raises(InputError, match=r"(?s)40 labels at 4 seed times.*200 days long.*--heads network"):
        heads.folds()


def test_a_store_that_holds_what_the_task_must_not_see_is_refused(
    nasty_store: Store, tasks: dict[str, EntityTask]
) -> None:
    with pytest.raises(ValueError, match=r"team-wins.*teams\.country"):
        make(nasty_store, WatchedTask(tasks[WINS], remove_columns=[("teams", "country")]))


def random_labels(rng: np.random.Generator, number: int) -> Split:
    time_s = rng.integers(0, 100, number)
    values = {"entities": rng.integers(0, 6, number), "time_s": time_s, "before_s": time_s}
    return Split(**values, target=rng.random(number), numbers=np.arange(number), weights=np.ones(number))


@pytest.mark.parametrize("seed", range(10))
def test_the_last_label_is_the_latest_of_the_entity_whose_window_has_closed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, asked = random_labels(rng, 30), random_labels(rng, 20)
    predicted = Trivial(value=-1.0, uses_last=True).predict(known, asked, horizon_s=15)
    for row in range(20):
        closed = [
            (known.time_s[k], k)
            for k in range(30)
            if known.entities[k] == asked.entities[row] and known.time_s[k] + 15 <= asked.time_s[row]
        ]
        latest = {float(known.target[k]) for time_s, k in closed if time_s == max(closed)[0]}
        assert predicted[row] in (latest or {-1.0})
    constant = Trivial.of(known, uses_last=False, is_binary=False)
    assert (constant.predict(known, asked, horizon_s=15) == np.median(known.target)).all()


def test_a_snapshot_knows_no_label_whose_window_closes_after_it() -> None:
    times = np.array([0, 10, 20])
    known = dataclasses.replace(
        random_labels(np.random.default_rng(0), 3), entities=np.zeros(3, np.int64), time_s=times
    )
    known = dataclasses.replace(known, target=np.array([1.0, 2.0, 3.0]))
    rolling = dataclasses.replace(known, time_s=np.array([25, 24, 99]), before_s=np.array([25, 24, 99]))
    trivial = Trivial(value=-1.0, uses_last=True)
    assert trivial.predict(known, rolling, horizon_s=15).tolist() == [2.0, 1.0, 3.0]
    for test_timestamp_s, last in ((34, 2.0), (35, 3.0), (24, 1.0)):
        snapshot = dataclasses.replace(rolling, before_s=np.minimum(rolling.time_s, test_timestamp_s + 1))
        assert trivial.predict(known, snapshot, horizon_s=15)[2] == last
