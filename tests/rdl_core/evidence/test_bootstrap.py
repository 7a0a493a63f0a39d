"""Intervals of figures: the metric of drawn rows is scikit-learn's, draws keep entities together, and what cannot be said is not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error, roc_auc_score

from rdl_core.evidence import bootstrap_interval
from rdl_core.evidence.bootstrap import QUANTILES, _accuracy, _auroc, _draws, _mean_absolute_error


def rows(seed: int, num_rows: int, num_entities: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels 0 and 1, predictions with ties, entities)."""
    generator = np.random.default_rng(seed)
    target = (generator.random(num_rows) < 0.4).astype(float)
    return (
        target,
        np.round(generator.random(num_rows) + 0.3 * target, 1),
        generator.integers(num_entities, size=num_rows),
    )


@pytest.mark.parametrize("seed", range(5))
def test_weighted_figures_are_scikit_learns(seed: int) -> None:
    target, prediction, entities = rows(seed, 60, 20)
    for weights in list(_draws(entities))[:20]:
        expected = roc_auc_score(target, prediction, sample_weight=weights)
        assert _auroc(target, prediction)(weights) == pytest.approx(expected, abs=1e-12)
        expected = mean_absolute_error(target, prediction, sample_weight=weights)
        assert _mean_absolute_error(target, prediction)(weights) == pytest.approx(expected, abs=1e-12)


def test_weighted_accuracy_is_scikit_learns_and_a_class_that_is_not_predicted_counts_as_wrong() -> None:
    generator = np.random.default_rng(0)
    target, entities = generator.integers(-1, 3, size=60).astype(float), generator.integers(20, size=60)
    probabilities = generator.dirichlet(np.ones(3), size=60)
    for weights in list(_draws(entities))[:20]:
        expected = accuracy_score(target, probabilities.argmax(1), sample_weight=weights)
        assert _accuracy(target, probabilities)(weights) == pytest.approx(expected, abs=1e-12)
    low, high = bootstrap_interval("accuracy", target, probabilities, entities) or (1.0, 0.0)
    assert low < np.mean(probabilities.argmax(1) == target) < high


def test_the_interval_has_the_quantiles_of_figures_of_rows_drawn_by_entity() -> None:
    target, prediction, entities = rows(0, 80, 30)
    figures = [mean_absolute_error(target, prediction, sample_weight=weights) for weights in _draws(entities)]
    assert bootstrap_interval("mae", target, prediction, entities) == pytest.approx(
        list(np.quantile(figures, QUANTILES))
    )


def test_every_draw_takes_as_many_entities_as_there_are_each_with_all_of_its_rows() -> None:
    entities = np.array([7, 7, 7, 3, 3, 9])
    for drawn in _draws(entities):
        assert drawn[0] == drawn[1] == drawn[2] and drawn[3] == drawn[4]
        assert drawn[0] + drawn[3] + drawn[5] == 3


@pytest.mark.parametrize("metric", ["roc_auc", "mae"])
def test_labels_repeated_within_entities_make_no_interval_narrower(metric: str) -> None:
    target, prediction, entities = rows(1, 60, 1000)
    once = bootstrap_interval(metric, target, prediction, entities)
    assert once is not None and once[1] - once[0] > 0.02
    again = bootstrap_interval(metric, *(np.tile(x, 5) for x in (target, prediction, entities)))
    assert again == pytest.approx(once)


def test_four_times_the_entities_halve_the_interval() -> None:
    few, many = (bootstrap_interval("mae", *rows(2, n, 10**6)) for n in (200, 3200))
    assert few is not None and many is not None
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4, rel=0.2)


def test_the_interval_covers_the_figure_of_all_rows_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(40):
        found = bootstrap_interval("roc_auc", *rows(seed, 100, 10**6))
        assert found is not None
        hits += found[0] <= 0.7525 <= found[1]  # the AUROC of ten million such rows
    assert 35 <= hits <= 40


@pytest.mark.parametrize(
    ("metric", "target", "entities"),
    [
        ("roc_auc", [0, 0, 1, 0], [0, 1, 2, 3]),  # one positive
        ("roc_auc", [0, 1, 1, 0], [0, 2, 2, 3]),  # two, of one entity
        ("roc_auc", [1, 1, 1, 1], [0, 1, 2, 3]),
        ("roc_auc", [0, 1, np.nan, 1], [0, 1, 2, 3]),  # hidden
        ("mae", [0, 1, 2, 3], [5, 5, 5, 5]),
        ("map", [0, 1, 2, 1], [0, 1, 2, 3]),
        ("mae", [], []),
    ],
)
def test_no_interval_is_given_where_none_can_be(metric: str, target: list[float], entities: list[int]) -> None:
    values = np.array(target, dtype=float)
    assert bootstrap_interval(metric, values, np.linspace(0, 1, len(values)), np.array(entities, np.int64)) is None
