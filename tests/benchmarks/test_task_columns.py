"""Columns that are computed once, folds for a network that may learn from a part of the labels, and targets that a task leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.tasks.network_arms import KeptFolds, pretraining_for
from benchmarks.tasks.remembered_columns import RememberedColumns
from benchmarks.tasks.settings import make_setting
from rdl_core.config import ColumnsConfig
from rdl_core.graph.store import Store
from rdl_core.heads import Fold
from rdl_core.statistics.columns import Columns
from rdl_core.tasks.labels import Split

CONFIG = ColumnsConfig(hops=2)


def questions(store: Store, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    days = store.schema.cutoff_s + draw.integers(-60, 60, number) * 86_400
    return draw.integers(0, store.schema.tables["teams"].num_rows, number), days


@pytest.mark.parametrize("raw", [False, True])
def test_remembered_columns_are_the_same_bytes_whatever_was_asked_before(
    nasty_store: Store, tmp_path: Path, raw: bool
) -> None:
    plain = Columns(nasty_store, "teams", CONFIG)
    for seed in range(3):  # another object each time, as in another process; some questions come twice
        rows, before_s = (
            np.concatenate([a, b])
            for a, b in zip(questions(nasty_store, 30, 0), questions(nasty_store, 30, seed), strict=True)
        )
        found = RememberedColumns(nasty_store, "teams", CONFIG, tmp_path)(rows, before_s, raw=raw)
        assert found.tobytes() == plain(rows, before_s, raw=raw).tobytes()


def test_what_is_known_is_not_computed_again(
    nasty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, before_s = questions(nasty_store, 40, 0)
    first = RememberedColumns(nasty_store, "teams", CONFIG, tmp_path)(rows, before_s)
    counted: list[int] = []
    compute = Columns.__call__
    monkeypatch.setattr(
        Columns, "__call__", lambda self, r, *a, **k: counted.append(len(r)) or compute(self, r, *a, **k)
    )
    again = RememberedColumns(nasty_store, "teams", CONFIG, tmp_path)
    assert again(rows[::-1], before_s[::-1]).tobytes() == first[::-1].tobytes()
    assert counted == []
    again(np.append(rows, 0), np.append(before_s, 12345))
    RememberedColumns(nasty_store, "teams", ColumnsConfig(hops=1), tmp_path)(rows[:1], before_s[:1])
    assert counted == [1, 1]  # one new question; and other settings know nothing of these


def split_of(numbers: list[int]) -> Split:
    n = np.array(numbers)
    return Split(entities=n, time_s=n, before_s=n, target=n * 1.0, numbers=n, weights=np.ones(len(n)))


def test_the_folds_of_a_network_hold_the_labels_that_it_may_learn_from() -> None:
    everything, kept = list(range(0, 40, 2)), [4, 6, 14, 16, 18, 30, 38]
    folds = [
        Fold(train=np.arange(0, 8), validation=np.arange(8, 14)),
        Fold(
            train=np.arange(0, 14), validation=np.array([16])
        ),  # the network may learn from none of its validation rows
        Fold(train=np.arange(0, 14), validation=np.arange(14, 20)),
    ]
    found = KeptFolds(split_of(everything), split_of(kept), folds)
    assert len(found.of_columns) == len(found.of_network) == 2
    for fold, of_columns, of_network in zip([folds[0], folds[2]], found.of_columns, found.of_network, strict=True):
        assert of_columns.train.tolist() == fold.train.tolist()
        for mine, whole in ((of_network.train, fold.train), (of_network.validation, fold.validation)):
            assert [kept[i] for i in mine] == [everything[i] for i in whole if everything[i] in kept]
        assert [everything[i] for i in of_columns.validation] == [kept[i] for i in of_network.validation]
    predicted = found.expanded(np.array(kept) / 100)
    assert [n for n, p in zip(everything, predicted, strict=True) if np.isfinite(p)] == kept
    assert all(p == n / 100 for n, p in zip(everything, predicted, strict=True) if np.isfinite(p))


def test_labels_of_the_network_that_the_other_heads_have_not_are_refused() -> None:
    with pytest.raises(ValueError, match="learns from 2 labels, of which 1 are among the 3"):
        KeptFolds(split_of([1, 2, 3]), split_of([2, 9]), [])


def test_a_task_whose_source_is_left_out_has_a_pretraining_of_its_own_and_others_share_the_setting_s() -> None:
    setting = make_setting("control", {"excluded_targets": {"shop/churn": ["orders"]}})
    without = pretraining_for(setting, "shop", "churn")
    assert without.future.exclude == ("orders",)
    assert pretraining_for(setting, "shop", "spend") == setting.pretraining != without
