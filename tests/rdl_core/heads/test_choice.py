"""Choices on folds: the signal is found, later labels have no part, the blend never loses on folds, a refit keeps what was chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rdl_core.heads import Chooser, Examples, Fold, Head, blended, expanding_folds, fold_score, greedy_weights, score
from rdl_core.problems import InputError
from tests.rdl_core.heads.planted_examples import HORIZON_S, SMALL, planted

KINDS = pytest.mark.parametrize("is_binary", [True, False])


def chooser(examples: Examples) -> Chooser:
    labels = (examples.time_s, examples.target, examples.weights)
    folds = expanding_folds(*labels, horizon_s=HORIZON_S, num_folds=SMALL.num_folds, is_binary=examples.is_binary)
    return Chooser(examples, folds, SMALL, seed=0, num_threads=1)


def fitted(made: Chooser) -> dict[str, Head]:
    return {"linear": made.fit(made.linear()), "lightgbm": made.fit(made.lightgbm())}


@KINDS
def test_every_head_finds_the_planted_signal(is_binary: bool) -> None:
    train, new = planted(is_binary=is_binary), planted(is_binary=is_binary, seed=1)
    made = chooser(train)
    chosen = {"linear": made.linear(), "lightgbm": made.lightgbm()}
    blend = made.blend({name: one.out_of_fold for name, one in chosen.items()})
    predictions = {name: made.fit(one).predict(new.columns) for name, one in chosen.items()}
    predictions["blend"] = blended(predictions, blend.weights)
    guess = score(new.target, np.full(len(new), np.median(train.target)), new.weights, is_binary=is_binary)
    for name in ("linear", "lightgbm", "blend"):
        found = score(new.target, predictions[name], new.weights, is_binary=is_binary)
        assert found > 0.85 if is_binary else found > 0.6 * guess, name
        assert blend.fold_scores[name] > (0.85 if is_binary else 0.6 * guess), name


@KINDS
def test_out_of_fold_predictions_do_not_change_when_labels_that_were_not_closed_do(is_binary: bool) -> None:
    """All labels of a fold's validation block, of later times and of open windows are replaced: its linear predictions stay to the bit."""
    train = planted(is_binary=is_binary, num_times=7)
    made = chooser(train)
    for number, fold in enumerate(made.folds):
        unseen = np.setdiff1d(np.arange(len(train)), fold.train)
        target = train.target.copy()
        target[unseen] = 1 - target[unseen]
        other = chooser(dataclasses.replace(train, target=target))
        assert [f.train.tolist() for f in other.folds] == [f.train.tolist() for f in made.folds]
        np.testing.assert_array_equal(other.rankings[number], made.rankings[number])
        one, two = (c._linear_of(fold, c.rankings[number], 3) for c in (made, other))
        for c in one:
            np.testing.assert_array_equal(one[c], two[c])


@KINDS
def test_a_column_that_equals_the_label_only_in_the_validation_block_is_not_selected_by_it(is_binary: bool) -> None:
    train = planted(is_binary=is_binary)
    for fold, ranking in zip(chooser(train).folds, chooser(train).rankings, strict=True):
        columns = train.columns.copy()
        columns[:, 11] = 0
        columns[fold.validation, 11] = train.target[fold.validation]
        columns[0, 11] = 1  # the column varies
        leaking = chooser(dataclasses.replace(train, columns=columns))
        number = [f.validation.tolist() for f in leaking.folds].index(fold.validation.tolist())
        assert 11 not in leaking.rankings[number][:3]
        assert ranking[0] == leaking.rankings[number][0] == 2


@KINDS
def test_the_blend_is_never_worse_on_the_folds_than_the_best_head(is_binary: bool) -> None:
    rng = np.random.default_rng(0)
    folds = [Fold(train=np.arange(5), validation=np.arange(k, k + 20)) for k in (10, 30)]
    for _ in range(20):
        target = rng.integers(0, 2, 50).astype(float) if is_binary else rng.normal(size=50)
        heads = {name: target + noise * rng.normal(size=50) for name, noise in (("a", 1.0), ("b", 2.0), ("c", 9.0))}
        weights = greedy_weights(heads, folds, target, np.ones(50), is_binary=is_binary, steps=9)
        assert sum(weights.values()) == pytest.approx(1) and min(weights.values()) >= 0
        scores = {n: fold_score(folds, target, p, np.ones(50), is_binary=is_binary) for n, p in heads.items()}
        assert fold_score(folds, target, blended(heads, weights), np.ones(50), is_binary=is_binary) >= max(
            scores.values()
        )


def test_a_head_that_is_best_everywhere_has_all_the_weight() -> None:
    target = np.arange(30.0)
    heads = {"bad": target[::-1].copy(), "good": target}
    folds = [Fold(train=np.arange(5), validation=np.arange(10, 30))]
    assert greedy_weights(heads, folds, target, np.ones(30), is_binary=False, steps=9) == {"bad": 0.0, "good": 1.0}


@KINDS
def test_a_network_takes_part_by_its_out_of_fold_predictions_on_the_folds_that_have_them(is_binary: bool) -> None:
    train = planted(is_binary=is_binary)
    made = chooser(train)
    perfect, useless = np.full(len(train), np.nan), np.full(len(train), np.nan)
    last = made.folds[-1].validation
    perfect[last], useless[last] = train.target[last], 0.5
    of_linear = made.linear().out_of_fold
    blend = made.blend({"network": perfect, "linear": of_linear})
    assert blend.num_folds == 1 < len(made.folds)
    assert blend.weights == {"network": 1.0, "linear": 0.0}
    assert made.blend({"network": useless, "linear": of_linear}).weights["network"] < 0.2
    with pytest.raises(InputError, match="blend of network, linear: expected out-of-fold predictions of each"):
        made.blend({"network": np.full(len(train), np.nan), "linear": of_linear})


@KINDS
def test_a_refit_keeps_columns_settings_and_trees_and_learns_from_the_new_rows(is_binary: bool) -> None:
    train, later = planted(is_binary=is_binary), planted(is_binary=is_binary, seed=2)
    for name, head in fitted(chooser(train)).items():
        again, same = head.refit(train.and_also(later)), head.refit(train)
        kept = ("columns", "inverse_regularization") if name == "linear" else ("columns", "trees")
        for field in kept:
            np.testing.assert_array_equal(getattr(head, field), getattr(again, field))
        predicted = head.predict(later.columns)
        assert not np.allclose(predicted, again.predict(later.columns))
        np.testing.assert_array_equal(predicted, same.predict(later.columns))


def test_the_same_rows_and_seed_give_the_same_choice_and_bits() -> None:
    train = planted(is_binary=True)
    one, two = (chooser(train) for _ in range(2))
    for name in ("linear", "lightgbm"):
        first, second = (getattr(made, name)() for made in (one, two))
        assert first.settings == second.settings
        np.testing.assert_array_equal(first.out_of_fold, second.out_of_fold)
        np.testing.assert_array_equal(*(made.fit(first).predict(train.columns) for made in (one, two)))


def test_weights_of_the_rows_decide() -> None:
    """Half of the rows say the opposite of the other half; the half that weighs more is believed."""
    train = planted(is_binary=True, num_rows=600)
    liars = np.arange(600) % 2 == 1
    target = np.where(liars, 1 - train.target, train.target)
    for heavy, expected in ((~liars, 0.85), (liars, 0.15)):
        examples = dataclasses.replace(train, target=target, weights=np.where(heavy, 1.0, 0.05))
        for name, head in fitted(chooser(examples)).items():
            reached = score(train.target, head.predict(train.columns), np.ones(600), is_binary=True)
            assert (reached > expected) == (expected > 0.5), name


def test_bad_cells_and_few_rows_are_fitted_or_refused() -> None:
    train = planted(30, is_binary=True, num_times=3)
    train.columns[:, 0], train.columns[:, 1] = np.nan, 4.0
    assert all(np.isfinite(head.predict(train.columns)).all() for head in fitted(chooser(train)).values())
    nothing = dataclasses.replace(train, columns=np.ones((30, 4), np.float32))
    assert all(np.ptp(head.predict(nothing.columns)) == 0 for head in fitted(chooser(nothing)).values())
    infinite = train.columns.copy()
    infinite[3, 5] = np.inf
    with pytest.raises(InputError, match="column 5 is infinite"):
        dataclasses.replace(train, columns=infinite)
    with pytest.raises(InputError, match="target of row 2 is not finite"):
        dataclasses.replace(train, target=np.where(np.arange(30) == 2, np.nan, train.target))
    with pytest.raises(InputError, match=r"expected weights \[30\]"):
        dataclasses.replace(train, weights=np.ones(3))
