"""The linear head and its scaling: against scikit-learn, and what must not change its predictions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from rdl_core.heads.examples import weighted_median
from rdl_core.heads.linear import SMOOTHING, fit_linear
from rdl_core.heads.scaling import MAX_KNOTS, RankGauss
from tests.rdl_core.heads.planted_examples import planted

ALL = np.arange(12)


def test_classes_are_scikit_learns_logistic_regression_on_the_scaled_columns() -> None:
    rng = np.random.default_rng(1)
    examples = planted(is_binary=True, weights=rng.random(400) * 2)
    x = RankGauss.fit(examples.columns, examples.weights)(examples.columns)
    strengths = (3e-4, 1e-2, 1.0)
    for c, model in zip(strengths, fit_linear(examples, ALL, strengths), strict=True):
        peer = LogisticRegression(C=c, tol=1e-10, max_iter=5000).fit(x, examples.target, examples.weights)
        np.testing.assert_allclose(model.coefficients, peer.coef_[0], atol=2e-4)
        np.testing.assert_allclose(model.predict(examples.columns), peer.predict_proba(x)[:, 1], atol=2e-4)


def test_numbers_minimise_the_smoothed_l1_loss() -> None:
    examples = planted(60, is_binary=False)
    (model,) = fit_linear(examples, ALL, [0.01])
    x = model.scaling(examples.columns)
    y = (examples.target - model.unit.centre) / model.unit.scale

    def objective(b: np.ndarray) -> float:
        gap = x @ b[:-1] + b[-1] - y
        return float((np.sqrt(gap**2 + SMOOTHING**2) - SMOOTHING).sum() + b[:-1] @ b[:-1] / 0.02)

    mine = objective(np.append(model.coefficients, model.intercept))
    assert mine == pytest.approx(minimize(objective, np.zeros(13), options={"maxiter": 500}).fun, rel=1e-6)


@pytest.mark.parametrize("factor", [1e-3, 1e6, -1.0])
def test_a_targets_scale_and_shift_do_not_change_what_is_learnt(factor: float) -> None:
    examples = planted(is_binary=False)
    other = dataclasses.replace(examples, target=factor * examples.target + 7 * factor)
    (one,), (scaled,) = (fit_linear(e, ALL, [0.01]) for e in (examples, other))
    expected = factor * one.predict(examples.columns) + 7 * factor
    np.testing.assert_allclose(scaled.predict(examples.columns), expected, rtol=1e-3, atol=1e-3 * abs(factor))


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_row_of_weight_two_counts_as_two_rows_and_one_of_weight_zero_not_at_all(is_binary: bool) -> None:
    examples = planted(100, is_binary=is_binary)
    weights = np.repeat([2.0, 0.0, 1.0], [30, 30, 40])
    rows = np.concatenate([np.arange(30), np.arange(30), np.arange(60, 100)])
    (weighted,), (repeated,) = (
        fit_linear(e, ALL, [0.01]) for e in (dataclasses.replace(examples, weights=weights), examples.rows(rows))
    )
    np.testing.assert_allclose(weighted.predict(examples.columns), repeated.predict(examples.columns), rtol=2e-3)
    (plain,) = fit_linear(examples, ALL, [0.01])
    assert not np.allclose(plain.predict(examples.columns), weighted.predict(examples.columns), rtol=2e-2)


def test_predictions_of_numbers_stay_among_the_targets_and_a_constant_is_learnt() -> None:
    examples = planted(is_binary=False)
    (model,) = fit_linear(examples, ALL, [1.0])
    predicted = model.predict(np.full((3, 12), 1e9, np.float32))
    assert (predicted <= examples.target.max()).all() and (predicted >= examples.target.min()).all()
    constant = dataclasses.replace(examples, target=np.full(400, 3.0))
    assert np.allclose(fit_linear(constant, ALL, [1.0])[0].predict(examples.columns), 3.0)


def test_one_class_and_no_columns_are_learnt_without_a_word() -> None:
    examples = planted(is_binary=True)
    one = dataclasses.replace(examples, target=np.ones(400))
    assert (fit_linear(one, ALL, [1.0])[0].predict(examples.columns) > 0.99).all()
    (model,) = fit_linear(examples, ALL[:0], [1.0])
    np.testing.assert_allclose(model.predict(examples.columns), examples.target.mean(), atol=1e-6)


def test_a_scaled_column_is_standard_normal_by_rank_and_its_map_knows_only_the_rows_it_was_fitted_on() -> None:
    rng = np.random.default_rng(0)
    fitted = np.exp(rng.normal(size=(5000, 1)) * 3).astype(np.float32)
    scaling = RankGauss.fit(fitted, np.ones(5000))
    scaled = scaling(fitted)[:, 0]
    ranks = scipy.stats.rankdata(fitted[:, 0])
    np.testing.assert_allclose(scaled, scipy.stats.norm.ppf((ranks - 0.5) / 5000), atol=0.05)
    assert MAX_KNOTS / 2 < len(scaling.knots[0][0]) <= MAX_KNOTS
    ends = scaling(np.array([[0.0], [np.inf]], np.float32))[:, 0]
    np.testing.assert_allclose(ends, [scaled.min(), scaled.max()])


def test_ties_share_a_rank_and_undefined_or_constant_cells_become_zero() -> None:
    columns = np.array(
        [[1, np.nan, 5, 2], [1, np.nan, 5, np.nan], [2, np.nan, 5, 4], [np.nan, np.nan, 5, 8]], np.float32
    )
    scaled = RankGauss.fit(columns, np.ones(4))(columns)
    assert scaled[0, 0] == scaled[1, 0] < scaled[2, 0]
    assert scaled[3, 0] == scaled[1, 3] == 0
    assert (scaled[:, 1:3] == 0).all()
    np.testing.assert_allclose([scaled[:3, 0].mean(), scaled[[0, 2, 3], 3].std()], [0, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("values", "weights", "median"), [([3, 1, 2], [1, 1, 1], 2), ([1, 2], [1, 1], 1.5), ([1, 9], [1, 3], 9)]
)
def test_the_weighted_median_is_the_middle_of_the_weight(
    values: list[float], weights: list[float], median: float
) -> None:
    assert weighted_median(np.array(values, float), np.array(weights, float)) == median
