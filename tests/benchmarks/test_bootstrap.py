"""The paired bootstrap against a plain loop, against known answers, and as far as an interval can be checked: its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from benchmarks.tasks.bootstrap import paired_difference
from rdl_core.random_streams import numpy_generator

SEEDS, ROWS, ENTITIES = 3, 120, 20


def made_up(metric: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two sides, labels and entities; predictions have ties."""
    draw = np.random.default_rng(seed)
    entities = draw.integers(0, ENTITIES, ROWS) * 7
    target = (draw.random(ROWS) < 0.4).astype(float) if metric == "roc_auc" else draw.normal(size=ROWS)
    first, second = (np.round(target + draw.normal(size=(SEEDS, ROWS)) * noise, 1) for noise in (0.8, 1.5))
    return first, second, target, entities


def better(metric: str, prediction: np.ndarray, target: np.ndarray) -> float:
    return roc_auc_score(target, prediction) if metric == "roc_auc" else -mean_absolute_error(target, prediction)


@pytest.mark.parametrize("metric", ["roc_auc", "mae"])
def test_it_is_what_a_loop_over_resamples_entities_and_seeds_finds(metric: str) -> None:
    first, second, target, entities = made_up(metric)
    found = paired_difference(first, second, target, entities, metric, resamples=40, seed=5)
    draw, names, differences = numpy_generator(5), np.unique(entities), []
    times_drawn = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), size=40)
    seeds_drawn = draw.multinomial(SEEDS, np.full(SEEDS, 1 / SEEDS), size=40)
    for times, seeds in zip(times_drawn, seeds_drawn, strict=True):
        rows = [
            r for name, n in zip(names, times, strict=True) for _ in range(n) for r in np.flatnonzero(entities == name)
        ]
        drawn = [s for s, n in enumerate(seeds) for _ in range(n)]
        differences.append(
            np.mean(
                [
                    better(metric, first[s][rows], target[rows]) - better(metric, second[s][rows], target[rows])
                    for s in drawn
                ]
            )
        )
    low, high = np.quantile(differences, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    plain = np.mean([better(metric, a, target) - better(metric, b, target) for a, b in zip(first, second, strict=True)])
    assert found.mean == pytest.approx(plain, abs=1e-12)
    assert found.num_seeds == SEEDS


@pytest.mark.parametrize("metric", ["roc_auc", "mae"])
def test_the_better_side_is_positive_and_a_side_against_itself_is_nothing(metric: str) -> None:
    first, second, target, entities = made_up(metric)
    assert paired_difference(first, second, target, entities, metric).mean > 0
    assert paired_difference(second, first, target, entities, metric).mean < 0
    same = paired_difference(first, first, target, entities, metric)
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_a_constant_difference_of_the_error_has_an_interval_without_width() -> None:
    target, entities = np.zeros(30), np.arange(30)
    found = paired_difference(np.full((2, 30), 1.0), np.full((2, 30), 3.5), target, entities, "mae")
    assert (found.mean, found.low, found.high) == (2.5, 2.5, 2.5)


def test_predictions_that_are_all_tied_have_an_auroc_of_one_half() -> None:
    target, entities = np.tile([0.0, 1.0], 15), np.arange(30)
    found = paired_difference(target[None], np.zeros((1, 30)), target, entities, "roc_auc")
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)


def test_rows_of_an_entity_stay_together_so_copies_of_rows_narrow_nothing() -> None:
    first, second, target, _ = made_up("mae")
    once = paired_difference(first, second, target, np.arange(ROWS), "mae", seed=1)
    four = paired_difference(
        np.tile(first, 4), np.tile(second, 4), np.tile(target, 4), np.tile(np.arange(ROWS), 4), "mae", seed=1
    )
    assert (four.low, four.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    draw, held = np.random.default_rng(0), 0
    for number in range(200):
        effect = draw.normal(0.3, 1, size=60)  # of each entity
        difference = np.repeat(effect, 4)[None] + draw.normal(0, 0.2, size=(1, 240))
        target, big = np.zeros(240), 100.0
        found = paired_difference(
            np.full((1, 240), big),
            big + difference,
            target,
            np.repeat(np.arange(60), 4),
            "mae",
            resamples=200,
            seed=number,
        )
        held += found.low <= 0.3 <= found.high
    assert 180 <= held <= 199


def test_seeds_that_differ_widen_the_interval() -> None:
    target, entities = np.zeros(50), np.arange(50)
    second = np.full((3, 50), 2.0)
    alike = paired_difference(np.full((3, 50), 1.0), second, target, entities, "mae")
    apart = paired_difference(np.array([[0.5], [1.0], [1.5]]) * np.ones(50), second, target, entities, "mae")
    assert alike.mean == apart.mean == 1
    assert apart.high - apart.low > 0.3 > alike.high - alike.low


def test_what_cannot_be_paired_is_refused() -> None:
    first, second, target, entities = made_up("roc_auc")
    with pytest.raises(ValueError, match="pair runs of the same seeds"):
        paired_difference(first, second[:2], target, entities, "roc_auc")
    with pytest.raises(ValueError, match="AUROC needs both classes"):
        paired_difference(first, second, np.ones(ROWS), entities, "roc_auc")
    with pytest.raises(ValueError, match="'roc_auc' or 'mae'"):
        paired_difference(first, second, target, entities, "rmse")
    with pytest.raises(ValueError, match="not finite"):
        paired_difference(first, second, np.full(ROWS, np.nan), entities, "mae")
