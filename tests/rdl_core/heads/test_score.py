"""AUROC and mean absolute error against scikit-learn's, with weights and ties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from rdl_core.heads import Fold, fold_score, score


@pytest.mark.parametrize("seed", range(10))
def test_scores_are_scikit_learns_with_weights_and_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, prediction = rng.integers(0, 2, 60).astype(float), rng.integers(0, 8, 60) / 8
    weights = rng.random(60)
    expected = roc_auc_score(target, prediction, sample_weight=weights)
    assert score(target, prediction, weights, is_binary=True) == pytest.approx(expected, abs=1e-12)
    expected = mean_absolute_error(target, prediction, sample_weight=weights)
    assert score(target, prediction, weights, is_binary=False) == pytest.approx(-expected, abs=1e-12)


def test_one_class_scores_as_a_guess() -> None:
    assert score(np.ones(3), np.arange(3.0), np.ones(3), is_binary=True) == 0.5


def test_a_fold_counts_as_its_validation_rows_weigh_and_predictions_are_not_pooled() -> None:
    target, prediction = np.array([0.0, 1, 1, 0, 0, 1]), np.array([0.1, 0.2, 0.9, 0.8, np.nan, np.nan])
    folds = [
        Fold(train=np.array([4]), validation=np.array([0, 1])),
        Fold(train=np.array([5]), validation=np.array([2, 3])),
    ]
    weights = np.array([1.0, 1, 3, 3, 1, 1])
    assert fold_score(folds, target, prediction, weights, is_binary=True) == 1.0  # pooled it would be 0.75
    gaps = np.array([0.1, 0.8, 0.1, 0.8])
    expected = -np.average(gaps, weights=weights[:4])
    assert fold_score(folds, target, prediction, weights, is_binary=False) == pytest.approx(expected)
