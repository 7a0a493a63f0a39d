"""Pretraining in one process: gradients, resume at every step, early stopping, and what may not be finite."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from relbench.load import RelBenchDataset
from relbench.manifest import DatasetManifest, TableSpec
from torch import Tensor

from rdl_core.batches.pretraining_batch import collate
from rdl_core.communicator import SingleProcess
from rdl_core.config import (
    BackboneConfig,
    CorruptionConfig,
    HGSamplingConfig,
    PretrainingConfig,
    ResNetRows,
    contrast,
    paper,
)
from rdl_core.contrast import LEVELS
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.pretraining import fit, local_steps, train_step
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.state import TrainState
from rdl_core.pretraining.validation import VALIDATION_EPOCH, Validation
from rdl_core.sampling.hg_sampling import HGSampling

pytestmark = pytest.mark.usefixtures("one_thread")

Metrics = dict[str, float]


def config(preset: str = "contrast", **changes: Any) -> PretrainingConfig:
    """A preset at the nasty database's size, with dropout and two samples a step."""
    base = (contrast if preset == "contrast" else paper)().pretraining
    rows = ResNetRows(num_layers=1, dropout=0.2)
    small: dict[str, Any] = {
        "sampling": HGSamplingConfig(seed_table="match", seeds_per_sample=5, rows_per_hop=5, num_hops=2),
        "backbone": dataclasses.replace(base.backbone, channels=8, rows=rows),
        "samples_per_step": 2,
        "max_steps": 6,
        "validation_interval_steps": 2,
        "validation_samples": 2,
    }
    return dataclasses.replace(base, **small | changes)


class Run:
    """A run's parts, made anew."""

    def __init__(self, store: Store, settings: PretrainingConfig) -> None:
        self.store, self.config = store, settings
        before_s = store.schema.cutoff_s + 1
        self.sampler = HGSampling(store.graph, settings.sampling, seed=settings.seed, before_s=before_s)
        torch.manual_seed(settings.seed)
        self.model = PretrainingModel(store, settings)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate)
        self.validation = Validation(store, settings, self.sampler, SingleProcess())
        self.reports: list[tuple[int, bool]] = []

    def fit(
        self,
        state: TrainState | None = None,
        *,
        stop_before: int | None = None,
        validate: Callable[[torch.nn.Module, int], Metrics] | None = None,
    ) -> TrainState:
        """Fits on; with `stop_before`, the samples end before that many steps."""
        state = state or TrainState()
        steps = local_steps(self.sampler, self.config, state.step)
        if stop_before is not None:
            steps = itertools.islice(steps, stop_before - state.step)
        report = lambda s, metrics, is_best: self.reports.append((s.step, is_best))  # noqa: E731
        return fit(
            self.model,
            self.optimizer,
            steps,
            self.store,
            self.config,
            validate or self.validation,
            state=state,
            on_report=report,
        )


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: w.clone() for name, w in model.state_dict().items()}


def assert_equal_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


def results(state: TrainState) -> dict[str, Any]:
    """All of a state but the clock."""
    return {k: v for k, v in dataclasses.asdict(state).items() if k != "seconds"}


def scripted(values: list[float]) -> Callable[[torch.nn.Module, int], Metrics]:
    """A validation that gives these sums of the levels, one after another."""
    left = iter(values)

    def validate(model: torch.nn.Module, step: int) -> Metrics:
        loss = next(left)
        return {f"validation/{level}": loss / len(LEVELS) for level in LEVELS}

    return validate


@pytest.mark.parametrize("preset", ["contrast", "paper"])
def test_a_steps_gradient_is_the_sum_over_its_samples(nasty_store: Store, preset: str) -> None:
    run = Run(nasty_store, config(preset))
    run.model.double()
    cursors = [(0, 0), (0, 2), (1, 1)]
    samples = [run.sampler.sample(epoch, [k])[0] for epoch, k in cursors]
    features, graph = nasty_store.features, nasty_store.graph

    def batch(numbers: list[int]) -> Any:
        chosen = [samples[i] for i in numbers], [cursors[i] for i in numbers]
        return collate(*chosen, graph, features, run.config.corruption, seed=0, loss=run.config.loss)

    alone = [run.model(batch([i])) for i in range(3)]
    counts = {level: sum(int(c[level]) for _, c, _ in alone) for level in LEVELS}
    assert all(counts[level] > len(samples) for level in LEVELS)
    loss = sum(totals[level] / counts[level] for totals, _, _ in alone for level in LEVELS)
    assert isinstance(loss, Tensor)
    loss.backward()
    expected = {n: None if p.grad is None else p.grad.clone() for n, p in run.model.named_parameters()}
    losses, _ = train_step(
        run.model, batch([0, 1, 2]), torch.optim.SGD(run.model.parameters(), lr=0.0), SingleProcess()
    )
    assert sum(losses.values()) == pytest.approx(loss.item(), abs=1e-10)
    for name, parameter in run.model.named_parameters():
        gradient = expected[name]
        if gradient is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-10, msg=name)
    assert sum(g is not None and bool((g.abs() > 1e-6).any()) for g in expected.values()) > 40


def test_clipping_bounds_the_norm_of_the_gradient(nasty_store: Store) -> None:
    run = Run(nasty_store, config())
    subgraphs, cursors = next(iter(local_steps(run.sampler, run.config)))
    batch = collate(
        subgraphs, cursors, nasty_store.graph, nasty_store.features, run.config.corruption, seed=0, loss=run.config.loss
    )
    train_step(run.model, batch, run.optimizer, SingleProcess(), gradient_clip_norm=1e-3)
    norm = torch.stack([p.grad.norm() for p in run.model.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("database", ["nasty_store", "f1_store"])
def test_robust_starts_at_chance_at_every_level(database: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(database)
    settings = dataclasses.replace(contrast().pretraining, validation_samples=2)
    if database == "nasty_store":
        settings = dataclasses.replace(settings, sampling=config().sampling)
    run = Run(store, settings)
    metrics = run.validation(run.model, 0)
    for level in LEVELS:
        assert metrics[f"validation/{level}"] == pytest.approx(1.0, abs=0.05), level


def test_the_loss_falls_within_thirty_steps(nasty_store: Store) -> None:
    backbone = BackboneConfig(channels=32, rows=ResNetRows(num_layers=1, dropout=0.0))
    settings = config(
        backbone=backbone, max_steps=30, validation_interval_steps=30, validation_samples=5, learning_rate=5e-3
    )
    state = Run(nasty_store, settings).fit()
    for level in LEVELS:
        assert state.last[f"validation/{level}"] < state.first[f"validation/{level}"] - 0.02, level
    assert state.best_step == 30


def test_a_run_resumed_at_any_step_ends_in_the_same_bits(nasty_store: Store) -> None:
    whole = Run(nasty_store, config())
    expected = whole.fit()
    assert expected.finished == "max_steps"
    for step in range(6):
        first = Run(nasty_store, config())
        state = TrainState()
        with pytest.raises(RuntimeError, match=f"samples ended after step {step} of 6"):
            first.fit(state, stop_before=step)
        kept = copy.deepcopy((first.model.state_dict(), first.optimizer.state_dict(), state))
        second = Run(nasty_store, config(seed=0))
        for parameter in second.model.parameters():
            torch.nn.init.constant_(parameter, 0.5)  # whatever it started from
        second.model.load_state_dict(kept[0])
        second.optimizer.load_state_dict(kept[1])
        ended = second.fit(kept[2])
        assert_equal_bits(weights(second.model), weights(whole.model))
        assert results(ended) == results(expected)
        assert first.reports + second.reports == whole.reports
        before, after = (o.state_dict()["state"] for o in (whole.optimizer, second.optimizer))
        for number, entry in before.items():
            assert_equal_bits(entry, after[number])


def test_a_finished_run_does_nothing_when_resumed(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=2))
    state = run.fit()
    before, described = weights(run.model), copy.deepcopy(results(state))
    run.fit(state)
    assert_equal_bits(weights(run.model), before)
    assert results(state) == described


def test_the_same_seed_gives_the_same_bits_and_another_does_not(nasty_store: Store) -> None:
    runs = [Run(nasty_store, config(max_steps=3, seed=seed)) for seed in (0, 0, 1)]
    states = [run.fit() for run in runs]
    assert_equal_bits(weights(runs[0].model), weights(runs[1].model))
    assert results(states[0]) == results(states[1])
    assert results(states[0]) != results(states[2])


def test_patience_ends_a_run_and_the_best_is_kept_in_mind(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=100, patience=3))
    state = run.fit(validate=scripted([3.0, 2.7, 2.4, 2.4, 2.5, 2.41]))
    assert (state.finished, state.step, state.best_step) == ("patience", 10, 4)
    assert state.best_loss == pytest.approx(2.4)
    assert state.best["validation/row"] == pytest.approx(0.8)
    assert state.first["validation/row"] == pytest.approx(1.0)
    assert state.last["validation/row"] == pytest.approx(2.41 / 3)
    assert run.reports == [(0, True), (2, True), (4, True), (6, False), (8, False), (10, False)]


def test_a_run_ends_once_the_mean_of_the_levels_is_below_stop_below(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=100, stop_below=0.5))
    state = run.fit(validate=scripted([3.0, 1.6, 1.4]))
    assert (state.finished, state.step) == ("stop_below", 4)


def test_a_run_ends_at_max_steps_with_a_last_validation(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=3))
    state = run.fit()
    assert (state.finished, state.step) == ("max_steps", 3)
    assert [entry["step"] for entry in state.history] == [0, 2, 3]
    assert {k: v for k, v in state.history[-1].items() if k != "step"} == state.last
    assert set(state.first) | {f"train/{level}" for level in LEVELS} == set(state.last)


def test_a_level_without_input_is_left_out_and_never_reported_as_zero(nasty_store: Store) -> None:
    sampling = HGSamplingConfig(seed_table="order_line", seeds_per_sample=1, rows_per_hop=1, num_hops=1)
    run = Run(
        nasty_store, config(sampling=sampling, max_steps=2, samples_per_step=1, validation_samples=1, stop_below=0.5)
    )
    state = run.fit()
    absent = {level for level in LEVELS if f"validation/{level}" not in state.first}
    assert absent and all(entry.get(f"validation/{level}") != 0.0 for entry in state.history for level in LEVELS)
    run = Run(nasty_store, config(max_steps=100, stop_below=0.5))
    losses = iter([3.0, 0.6, 0.4])
    state = run.fit(validate=lambda model, step: {"validation/row": next(losses)})
    assert (state.finished, state.step, state.best_loss) == ("stop_below", 4, 2.4), (
        "the mean is over levels that are there"
    )


def test_a_validation_that_lacks_a_level_is_neither_best_for_it_nor_an_end(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=4, stop_below=0.05))
    whole = {f"validation/{level}": 0.9 for level in LEVELS}
    lacking = iter([whole, {"validation/row": 0.9}, {}])
    state = run.fit(validate=lambda model, step: next(lacking))
    assert (state.finished, state.best_step, state.best) == ("max_steps", 0, whole)


def test_max_hours_counts_the_time_before_a_restart(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=100, max_hours=1.0))
    state = TrainState(step=2, first={"validation/row": 1.0}, seconds=3600.0)
    run.fit(state)
    assert (state.finished, state.step) == ("max_hours", 4)
    assert state.seconds > 3600.0


def test_the_best_loss_is_the_lowest_sum_of_levels_in_the_history(nasty_store: Store) -> None:
    run = Run(nasty_store, config(learning_rate=0.02))
    state = run.fit()
    sums = [sum(entry[f"validation/{level}"] for level in LEVELS) for entry in state.history]
    assert state.best_loss == min(sums)
    assert state.best_step == state.history[sums.index(min(sums))]["step"]
    assert [is_best for _, is_best in run.reports] == [s < min([*sums[:i], float("inf")]) for i, s in enumerate(sums)]


def test_validation_samples_are_never_training_samples(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=50, validation_samples=12))
    trained = {cursor for _, cursors in local_steps(run.sampler, run.config) for cursor in cursors}
    validated = run.validation.cursors(0)
    assert len(set(validated)) == 12
    assert not trained & set(validated)
    assert min(epoch for epoch, _ in validated) >= VALIDATION_EPOCH > max(epoch for epoch, _ in trained)
    assert all(k < run.sampler.samples_per_epoch for _, k in validated)


def test_validation_samples_are_fresh_only_where_asked_for(nasty_store: Store) -> None:
    always, fresh = (Run(nasty_store, config(validation_fresh=f)).validation for f in (False, True))
    assert always.cursors(0) == always.cursors(2) == always.cursors(4)
    drawn = [cursor for step in (0, 2, 4) for cursor in fresh.cursors(step)]
    assert len(set(drawn)) == 6


def test_training_uses_each_sample_of_an_epoch_once_in_order(nasty_store: Store) -> None:
    run = Run(nasty_store, config(max_steps=6))
    cursors = [c for _, step in local_steps(run.sampler, run.config) for c in step]
    assert cursors == [divmod(k, run.sampler.samples_per_epoch) for k in range(12)]


def test_validation_leaves_model_and_mode_as_they_were(nasty_store: Store) -> None:
    run = Run(nasty_store, config())
    run.model.train()
    before, generator = weights(run.model), torch.get_rng_state()
    first = run.validation(run.model, 0)
    assert run.validation(run.model, 0) == first
    assert run.model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert_equal_bits(weights(run.model), before)
    assert all(p.grad is None for p in run.model.parameters())


def test_validation_is_without_dropout(nasty_store: Store) -> None:
    metrics = []
    for dropout in (0.0, 0.5):
        base = config().backbone
        backbone = dataclasses.replace(base, rows=dataclasses.replace(base.rows, dropout=dropout))
        run = Run(nasty_store, config(backbone=backbone))
        run.model.train()
        metrics.append(run.validation(run.model, 0))
    assert metrics[0] == metrics[1]


def test_a_loss_that_is_not_finite_raises_and_changes_no_weight(nasty_store: Store) -> None:
    run = Run(nasty_store, config())
    with torch.no_grad():
        run.model.loss.row.matrices[0][0, 0] = float("nan")
    before = weights(run.model)
    subgraphs, cursors = next(iter(local_steps(run.sampler, run.config)))
    batch = collate(
        subgraphs, cursors, nasty_store.graph, nasty_store.features, run.config.corruption, seed=0, loss=run.config.loss
    )
    with pytest.raises(FloatingPointError, match="lower the learning rate or clip"):
        train_step(run.model, batch, run.optimizer, SingleProcess())
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight.nan_to_num(7.0), before[name].nan_to_num(7.0)), name


@pytest.mark.parametrize("preset", ["contrast", "paper"])
def test_huge_logits_stay_finite(nasty_store: Store, preset: str) -> None:
    run = Run(nasty_store, config(preset))
    with torch.no_grad():
        for matrix in run.model.loss.parameters():
            matrix.mul_(1e3 / run.config.loss.initial_scale)
    subgraphs, cursors = next(iter(local_steps(run.sampler, run.config)))
    batch = collate(
        subgraphs, cursors, nasty_store.graph, nasty_store.features, run.config.corruption, seed=0, loss=run.config.loss
    )
    losses, _ = train_step(run.model, batch, run.optimizer, SingleProcess())
    assert max(losses.values()) > 100  # so the logits were huge indeed
    for name, parameter in run.model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_the_paper_preset_trains(nasty_store: Store) -> None:
    run = Run(nasty_store, config("paper"))
    before = weights(run.model)
    state = run.fit()
    assert (state.finished, state.step) == ("max_steps", 6)
    assert all(torch.tensor(list(state.last.values())).isfinite())
    moved = [n for n, w in run.model.state_dict().items() if not torch.equal(w, before[n])]
    assert len(moved) > 40


def test_relative_time_reaches_the_loss_where_asked_for(nasty_store: Store) -> None:
    moved = []
    for relative_time in (False, True):
        run = Run(nasty_store, config(max_steps=1, corruption=CorruptionConfig(relative_time=relative_time)))
        before = weights(run.model)
        run.fit()
        moved.append(any(not torch.equal(w, before[n]) for n, w in weights(run.model).items() if "time_maps" in n))
    assert moved == [False, True]


@pytest.mark.parametrize("preset", ["contrast", "paper"])
def test_a_table_without_rows_trains_along_and_changes_no_sample(
    preset: str, nasty_dataset: RelBenchDataset, tmp_path: Path
) -> None:
    """It comes last by name, so that the tables before it keep their numbers."""
    folder = shutil.copytree(nasty_dataset.dataset_dir, tmp_path / "nasty")
    rows = pa.schema(
        [("id", pa.int64()), ("match_id", pa.int64()), ("at", pa.timestamp("ns")), ("x", pa.float64())]
    ).empty_table()
    pq.write_table(rows, folder / "db" / "zz_void.parquet")
    manifest = DatasetManifest.load(folder / "manifest.yaml")
    manifest.tables["zz_void"] = TableSpec(pkey="id", time_col="at", fkeys={"match_id": "match"})
    manifest.save(folder / "manifest.yaml")
    run = Run(materialize(open_dataset(folder), tmp_path), config(preset))
    without = Run(materialize(open_dataset(nasty_dataset.dataset_dir), tmp_path), config(preset))
    for number in range(3):
        (found,), (expected,) = run.sampler.sample(0, [number]), without.sampler.sample(0, [number])
        rows = {table: numbers.tolist() for table, numbers in found.rows.items()}
        assert rows.pop("zz_void") == []
        assert rows == {table: numbers.tolist() for table, numbers in expected.rows.items()}
    assert run.fit().step == 6
