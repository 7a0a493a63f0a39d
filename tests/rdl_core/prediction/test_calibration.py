"""Calibration of probabilities: what a map mends, what it must not do, how it is judged and kept."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, roc_auc_score

from rdl_core.config import CalibrationName
from rdl_core.prediction.calibration import (
    NUM_BINS,
    Calibration,
    Reliability,
    out_of_part,
    require_both_classes,
    require_labels,
)
from rdl_core.problems import InputError

BOTH = pytest.mark.parametrize("kind", ["isotonic", "platt"])
Labels = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def overconfident(number: int, seed: int) -> Labels:
    """Probabilities whose logits are three times too large and one too high, and their targets."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=number)
    target = (rng.random(number) < expit(logits)).astype(np.float64)
    return expit(3 * logits + 1), target


@BOTH
def test_a_map_mends_overconfident_probabilities_of_other_labels(kind: CalibrationName) -> None:
    calibration = Calibration.fit(kind, *overconfident(4000, 0))
    probability, target = overconfident(4000, 1)
    before, after = Reliability.of(probability, target), Reliability.of(calibration(probability), target)
    assert before.ece > 0.15 and after.ece < 0.03
    assert after.brier < before.brier - 0.02


def test_platt_finds_the_logits_that_the_labels_were_drawn_by() -> None:
    calibration = Calibration.fit("platt", *overconfident(20_000, 0))
    assert calibration.slope == pytest.approx(1 / 3, abs=0.02)
    assert calibration.intercept == pytest.approx(-1 / 3, abs=0.05)


@BOTH
def test_no_two_rows_are_put_in_the_other_order(kind: CalibrationName) -> None:
    for seed in range(5):
        probability, target = overconfident(60, seed)
        if seed % 2:
            target = 1 - target  # a model that is worse than chance
        calibrated = Calibration.fit(kind, probability, target)(np.linspace(0, 1, 501))
        assert (np.diff(calibrated) >= 0).all()
        assert ((calibrated >= 0) & (calibrated <= 1)).all()


def test_platt_changes_no_auroc_and_stays_inside_where_the_classes_are_apart() -> None:
    probability, target = overconfident(500, 0)
    calibrated = Calibration.fit("platt", probability, target)(probability)
    assert roc_auc_score(target, calibrated) == roc_auc_score(target, probability)
    apart = np.array([0.1] * 20 + [0.9] * 20)
    found = Calibration.fit("platt", apart, (apart > 0.5).astype(np.float64))(apart)
    assert 0 < found[0] < 0.1 and 0.9 < found[-1] < 1


def test_of_a_model_worse_than_chance_platt_leaves_the_share_of_positives() -> None:
    probability, target = overconfident(500, 0)
    found = Calibration.fit("platt", probability, 1 - target)(probability)
    assert np.ptp(found) == 0
    assert found[0] == pytest.approx(1 - target.mean(), abs=0.01)


@BOTH
def test_a_map_survives_json_to_the_bit(kind: CalibrationName) -> None:
    probability, target = overconfident(300, 0)
    calibration = Calibration.fit(kind, probability, target)
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json(), allow_nan=False)))
    assert again == calibration
    np.testing.assert_array_equal(again(probability), calibration(probability))


@BOTH
def test_probabilities_of_0_and_1_have_calibrated_ones(kind: CalibrationName) -> None:
    probability, target = overconfident(300, 0)
    probability[:2] = 0.0, 1.0
    assert np.isfinite(Calibration.fit(kind, probability, target)(np.array([0.0, 1.0]))).all()


@BOTH
def test_a_label_has_no_part_in_its_own_out_of_part_probability(kind: CalibrationName) -> None:
    probability, target = overconfident(200, 0)
    entities = np.random.default_rng(0).integers(0, 40, 200)
    first = out_of_part(kind, probability, target, entities)
    mine = entities == entities[0]
    flipped = np.where(mine, 1 - target, target)
    np.testing.assert_array_equal(first[mine], out_of_part(kind, probability, flipped, entities)[mine])
    assert not np.array_equal(first[~mine], out_of_part(kind, probability, flipped, entities)[~mine])


def test_brier_is_scikit_learns_and_ece_that_of_a_loop() -> None:
    probability, target = overconfident(500, 3)
    probability[:2] = 0.0, 1.0
    found = Reliability.of(probability, target)
    assert found.brier == pytest.approx(brier_score_loss(target, probability))
    ece = 0.0
    for number in range(NUM_BINS):
        last = number == NUM_BINS - 1
        own = [i for i, p in enumerate(probability) if int(p * NUM_BINS) == number or (last and p == 1.0)]
        if own:
            gap = math.fsum(target[i] for i in own) / len(own) - math.fsum(probability[i] for i in own) / len(own)
            ece += len(own) / 500 * abs(gap)
    assert found.ece == pytest.approx(ece)
    assert found.count.sum() == 500


def test_a_class_with_too_few_labels_and_probabilities_that_are_none_are_refused() -> None:
    target = np.array([1.0] * 9 + [0.0] * 50)
    with pytest.raises(
        InputError, match=r"at least 10 positive labels in four fifths of validation, got 9 of 59.*\n.*--calibrate"
    ):
        require_both_classes(target)
    with pytest.raises(InputError, match="got 8 of 48"):  # 11 positives, of which a part has 3
        require_labels(np.array([1.0] * 11 + [0.0] * 49), np.arange(60))
    require_labels(np.array([1.0] * 13 + [0.0] * 47), np.arange(60))
    with pytest.raises(InputError, match="9 of 59"):
        Calibration.fit("platt", np.linspace(0, 1, 59), target)
    with pytest.raises(InputError, match="probabilities from 0 to 1, got 0.0 to 2.0"):
        Calibration.fit("isotonic", np.linspace(0, 2, 59), target)
