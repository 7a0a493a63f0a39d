"""Split-conformal intervals: coverage, few labels, skewed residuals, what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from rdl_core.prediction.intervals import COVERAGES, Intervals, labels_needed, observed_coverage
from rdl_core.problems import InputError


def ends_in_python(residuals: list[float], coverage: float) -> tuple[float, float]:
    """The definition, counted from 1, by a loop over candidates."""
    ordered, number = sorted(residuals), len(residuals)
    k = next(k for k in range(1, number + 3) if k >= (number + 1) * (1 + coverage) / 2 - 1e-9)
    low, high = number + 1 - k, k
    return (ordered[low - 1] if low >= 1 else -math.inf), (ordered[high - 1] if high <= number else math.inf)


@pytest.mark.parametrize("number", [0, 1, 3, 19, 20, 39, 500])
def test_the_ends_are_the_order_statistics_of_the_definition(number: int) -> None:
    rng = np.random.default_rng(number)
    prediction, target = rng.normal(size=number), rng.exponential(size=number)
    intervals = Intervals.fit(prediction, target)
    for coverage in COVERAGES:
        lower, upper = intervals(np.array([2.0]), coverage)
        low, high = ends_in_python((target - prediction).tolist(), coverage)
        assert (lower[0], upper[0]) == (2.0 + low, 2.0 + high), coverage


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("number", [25, 200])
def test_exchangeable_residuals_are_covered_as_promised_within_binomial_error(coverage: float, number: int) -> None:
    rng, runs = np.random.default_rng(7), 4000
    held = 0
    for residuals in rng.exponential(size=(runs, number + 1)) ** 2:  # skewed, with a long tail
        intervals = Intervals.fit(np.zeros(number), residuals[:-1])
        lower, upper = intervals(np.zeros(1), coverage)
        held += int(lower[0] <= residuals[-1] <= upper[0])
    exact = 1 - 2 * (number + 1 - math.ceil((number + 1) * (1 + coverage) / 2)) / (number + 1)
    assert exact >= coverage
    error = math.sqrt(exact * (1 - exact) / runs)
    assert abs(held / runs - exact) < 4 * error


def test_too_few_labels_have_infinite_ends_and_just_enough_have_not() -> None:
    assert labels_needed(0.9) == 19
    for number, is_finite in ((18, False), (19, True)):
        intervals = Intervals.fit(np.zeros(number), np.arange(number, dtype=np.float64))
        ends = intervals(np.zeros(1), 0.9)
        assert bool(np.isfinite(ends).all()) is is_finite
    assert np.isfinite(Intervals.fit(np.zeros(3), np.ones(3))(np.zeros(1), 0.5)).all()


def test_a_coverage_between_two_that_are_kept_has_the_ends_of_the_wider() -> None:
    intervals = Intervals.fit(np.zeros(1000), np.random.default_rng(0).normal(size=1000))
    at = np.zeros(1)
    assert intervals(at, 0.905) == intervals(at, 0.91) != intervals(at, 0.90)
    assert intervals(at, 0.1) == intervals(at, 0.5)
    widths = [float(upper[0] - lower[0]) for lower, upper in (intervals(at, c) for c in COVERAGES)]
    assert widths == sorted(widths)


def test_a_skewed_target_has_a_skewed_interval() -> None:
    residuals = np.random.default_rng(0).exponential(size=2000) - np.log(2)
    lower, upper = Intervals.fit(np.zeros(2000), residuals)(np.zeros(1), 0.9)
    assert upper[0] > 2 * -lower[0]


def test_numbers_survive_json_to_the_bit_infinite_ends_too() -> None:
    for number in (4, 333):
        rng = np.random.default_rng(number)
        intervals = Intervals.fit(rng.normal(size=number), rng.normal(size=number))
        text = json.dumps(intervals.to_json(), allow_nan=False)
        assert Intervals.from_json(json.loads(text)) == intervals


def test_observed_coverage_counts_the_ends_as_held() -> None:
    interval = (np.array([0.0, 0.0, 0.0, -np.inf]), np.array([1.0, 1.0, 1.0, np.inf]))
    assert observed_coverage(interval, np.array([0.0, 1.0, 1.5, 99.0])) == 0.75


@pytest.mark.parametrize("coverage", [0.0, 1.0, 0.9995, -0.1, 90.0])
def test_a_coverage_that_is_none_is_refused(coverage: float) -> None:
    with pytest.raises(InputError, match="coverage: expected a share above 0 and at most 0.999"):
        Intervals.fit(np.zeros(9), np.zeros(9))(np.zeros(1), coverage)


def test_labels_that_are_not_finite_or_not_as_many_are_refused() -> None:
    with pytest.raises(InputError, match="got prediction 0.0 of target nan in row 1"):
        Intervals.fit(np.zeros(3), np.array([0.0, np.nan, 1.0]))
    with pytest.raises(InputError, match=r"one prediction for each target, got \[3\] and \[2\]"):
        Intervals.fit(np.zeros(3), np.zeros(2))
