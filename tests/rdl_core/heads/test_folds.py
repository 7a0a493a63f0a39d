"""Expanding windows: whole times, closed windows, order, and what cannot be cut is refused."""

from __future__ import annotations

import numpy as np
import pytest

from rdl_core.heads import Fold, expanding_folds
from rdl_core.problems import InputError

DAY_S = 86_400


def folds(
    time_days: list[int],
    target: list[float] | None = None,
    *,
    horizon_days: int,
    num_folds: int = 4,
    weights: list[float] | None = None,
) -> list[Fold]:
    number = len(time_days)
    return expanding_folds(
        np.array(time_days) * DAY_S,
        np.array(target if target is not None else np.arange(number) % 2, dtype=np.float64),
        np.ones(number) if weights is None else np.array(weights),
        horizon_s=horizon_days * DAY_S,
        num_folds=num_folds,
        is_binary=True,
    )


@pytest.mark.parametrize("seed", range(20))
def test_every_label_of_a_fold_is_closed_before_its_block_and_blocks_follow_in_whole_times(seed: int) -> None:
    rng = np.random.default_rng(seed)
    days = rng.integers(0, 300, 200)
    horizon, number = int(rng.integers(0, 60)), int(rng.integers(1, 6))
    found = folds(days.tolist(), horizon_days=horizon, num_folds=number)
    assert 1 <= len(found) <= number
    last = -1
    for fold in found:
        first = days[fold.validation].min()
        expected = [row for row in range(200) if days[row] + horizon <= first]
        assert fold.train.tolist() == expected
        assert first > last
        last = days[fold.validation].max()
        assert sorted(fold.validation) == [row for row in range(200) if first <= days[row] <= last]
    assert last == days.max()


def test_blocks_have_about_the_same_weight() -> None:
    days = list(range(100))
    sizes = [len(fold.validation) for fold in folds([d for d in days for _ in range(2)], horizon_days=1)]
    assert sizes == [40, 40, 40, 40]
    weights = [1.0] * 100 + [3.0] * 100
    (last,) = folds([d for d in days for _ in range(2)], horizon_days=1, num_folds=1, weights=weights)
    assert days[0] * DAY_S < 66 <= last.validation.min() / 2 <= 68


def test_rows_without_weight_are_in_no_fold() -> None:
    weights = [1.0, 0.0] * 20
    for fold in folds([d // 4 for d in range(40)], [d // 2 % 2 for d in range(40)], horizon_days=0, weights=weights):
        assert not set(np.concatenate([fold.train, fold.validation])) & set(range(1, 40, 2))


def test_fewer_times_than_folds_give_fewer_folds_and_one_class_none() -> None:
    days = [d for d in (0, 30, 60) for _ in range(4)]
    assert [len(fold.train) for fold in folds(days, horizon_days=30)] == [4, 8]
    assert [len(fold.train) for fold in folds(days, horizon_days=31)] == [4]
    one_class_at_first = [1.0] * 4 + [0.0, 1.0] * 4
    assert [len(fold.train) for fold in folds(days, one_class_at_first, horizon_days=30)] == [8]


@pytest.mark.parametrize(("days", "horizon"), [([0] * 8, 0), ([0] * 4 + [10] * 4, 11)])
def test_labels_without_a_closed_past_are_refused_with_the_remedy(days: list[int], horizon: int) -> None:
    with pytest.raises(InputError, match=r"(?s)8 labels at [12] seed times.*--label-stride.*--heads network"):
        folds(days, horizon_days=horizon)
