"""Which train labels a share keeps: nested, by the seed, of both classes."""

from __future__ import annotations

import numpy as np

from rdl_core.tasks.label_share import kept_rows


def test_fewer_rows_of_a_seed_are_a_part_of_more_and_other_seeds_choose_otherwise() -> None:
    few, more = kept_rows(1000, 50, seed=3), kept_rows(1000, 100, seed=3)
    assert set(few.tolist()) < set(more.tolist())
    assert (np.diff(more) > 0).all()
    assert set(kept_rows(1000, 50, seed=4).tolist()) != set(few.tolist())


def test_a_class_that_would_be_missing_comes_in_for_one_row() -> None:
    classes = np.zeros(1000)
    classes[17] = 1
    with_it, without = kept_rows(1000, 20, seed=0, classes=classes), kept_rows(1000, 20, seed=0)
    assert 17 not in without and 17 in with_it
    assert len(set(with_it.tolist()) - set(without.tolist())) == 1
