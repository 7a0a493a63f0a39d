"""LightGBM as a head: silent, deterministic, of weighted rows, and constant where there is nothing to learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rdl_core.heads import Examples, score
from rdl_core.heads.boosting import Boosting, Trees
from rdl_core.heads.selection import ranked_columns, varied_columns
from tests.rdl_core.heads.planted_examples import SMALL, planted

ALL = np.arange(12)
TREES = Trees(num_leaves=8, rounds=60)


def boosting(seed: int = 0, num_threads: int = 1) -> Boosting:
    return Boosting(SMALL.boosting, seed=seed, num_threads=num_threads)


@pytest.mark.parametrize("is_binary", [True, False])
def test_the_signal_is_found_and_nothing_is_printed(is_binary: bool, capfd: pytest.CaptureFixture[str]) -> None:
    examples, new = planted(is_binary=is_binary), planted(is_binary=is_binary, seed=1)
    predicted = boosting().fit(examples, ALL, TREES).predict(new.columns)
    constant = np.full(len(new), np.median(examples.target))
    guess, found = (score(new.target, p, new.weights, is_binary=is_binary) for p in (constant, predicted))
    assert found > 0.85 if is_binary else found > 0.6 * guess
    assert ranked_columns(examples, boosting())[0] == 2
    assert capfd.readouterr() == ("", "")


def test_the_same_seed_gives_the_same_bits_at_any_number_of_threads_and_another_seed_others() -> None:
    examples = planted(is_binary=True)
    one, two, other = (
        boosting(seed, threads).fit(examples, ALL, TREES).predict(examples.columns)
        for seed, threads in ((0, 1), (0, 3), (1, 1))
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_weights_move_the_predictions_towards_the_rows_that_have_them() -> None:
    examples = planted(is_binary=True)
    heavy = dataclasses.replace(examples, weights=np.where(examples.target == 1, 9.0, 1.0))
    plain, weighted = (
        boosting().fit(e, ALL, Trees(num_leaves=4, rounds=5)).predict(e.columns).mean() for e in (examples, heavy)
    )
    assert weighted > plain + 0.05


def test_watching_stops_and_keeps_the_number_of_trees_that_was_best_on_validation() -> None:
    examples, new = planted(is_binary=True), planted(is_binary=True, seed=1)
    model, curve = boosting().fit_watching(examples, ALL, 8, new)
    assert len(curve) <= SMALL.boosting.max_rounds
    assert model.trees.rounds == int(curve.argmax()) + 1
    reached = score(new.target, model.predict(new.columns), new.weights, is_binary=True)
    assert reached == pytest.approx(
        curve.max(), abs=0.01
    )  # a sigmoid makes ties of two leaves that differ in the last bit


@pytest.mark.parametrize("is_binary", [True, False])
def test_one_value_and_no_columns_give_the_best_constant(is_binary: bool) -> None:
    examples = planted(is_binary=is_binary)
    same = dataclasses.replace(examples, target=np.ones(400))
    assert (boosting().fit(same, ALL, TREES).predict(examples.columns) == 1).all()
    constant = examples.target.mean() if is_binary else np.median(examples.target)
    assert np.allclose(boosting().fit(examples, ALL[:0], TREES).predict(examples.columns), constant)


@pytest.mark.parametrize("num_rows", [2, 5, 12])
def test_few_rows_are_fitted(num_rows: int) -> None:
    examples = planted(40, is_binary=True).rows(np.arange(num_rows))
    assert np.isfinite(boosting().fit(examples, ALL, TREES).predict(examples.columns)).all()


def test_columns_that_tell_no_rows_apart_are_not_ranked() -> None:
    columns = np.array([[1, 3, np.nan, np.nan, 1], [1, 4, np.nan, 2, 1], [1, 3, np.nan, 2, 9]], np.float32)
    weights = np.array([1.0, 1.0, 0.0])
    examples = Examples(
        columns=columns, target=np.array([0.0, 1, 0]), time_s=np.zeros(3, int), weights=weights, is_binary=True
    )
    assert varied_columns(examples).tolist() == [1, 3]
    assert sorted(ranked_columns(examples, boosting())) == [1, 3]


def test_a_head_is_the_mean_of_models_of_different_seeds_none_of_which_another_runs_seed_has() -> None:
    examples = planted(is_binary=True)

    def of(num_models: int, seed: int) -> np.ndarray:
        config = dataclasses.replace(SMALL.boosting, num_models=num_models)
        return Boosting(config, seed=seed, num_threads=1).fit(examples, ALL, TREES).predict(examples.columns)

    alone = [of(1, seed) for seed in range(4)]
    np.testing.assert_allclose(of(2, 0), (alone[0] + alone[1]) / 2, rtol=1e-12)
    np.testing.assert_allclose(of(2, 1), (alone[2] + alone[3]) / 2, rtol=1e-12)
