"""A part of the train labels: which rows, nested, the same for all, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest
from relbench.base import EntityTask
from relbench.load import RelBenchDataset

from rdl_core.database import load_task
from rdl_core.tasks.label_share import kept_rows, with_label_share
from rdl_core.tasks.labels import read_split
from tests.nasty_tasks import WINS


@pytest.fixture(scope="module")
def task(nasty_dataset: RelBenchDataset) -> EntityTask:
    return load_task(nasty_dataset, WINS)


def train_rows(task: EntityTask) -> set[tuple[int, int, float]]:
    split = read_split(task, "train", "rolling", 0)
    return set(zip(split.entities.tolist(), split.time_s.tolist(), split.target.tolist(), strict=True))


def test_a_share_keeps_that_many_train_rows_with_their_own_labels(task: EntityTask) -> None:
    everything = train_rows(task)
    part = train_rows(with_label_share(task, 0.5, seed=0))
    assert len(part) == len(everything) / 2 and part < everything
    assert len(train_rows(with_label_share(task, 0.51, seed=0))) == np.ceil(0.51 * len(everything))


def test_a_smaller_share_of_a_seed_is_a_part_of_a_larger_one_and_other_seeds_choose_otherwise() -> None:
    few, more = kept_rows(1000, 50, seed=3), kept_rows(1000, 100, seed=3)
    assert set(few.tolist()) < set(more.tolist())
    assert (np.diff(more) > 0).all()
    assert set(kept_rows(1000, 50, seed=4).tolist()) != set(few.tolist())


def test_validation_and_test_stay_whole_and_the_test_labels_stay_masked(task: EntityTask) -> None:
    part = with_label_share(task, 0.3, seed=1)
    for split in ("val", "test"):
        assert part.get_table(split).df.equals(task.get_table(split).df)
    assert part.target_col not in part.get_table("test").df


def test_all_labels_are_the_task_itself_and_a_limit_holds(task: EntityTask) -> None:
    assert with_label_share(task, 1.0, seed=0) is task
    assert len(with_label_share(task, 1.0, seed=0, max_rows=7).get_table("train", mask_input_cols=False).df) == 7


def test_labels_of_one_class_and_no_labels_are_refused(task: EntityTask) -> None:
    with pytest.raises(ValueError, match="all of one class, expected both"):
        with_label_share(task, 1.0, seed=0, max_rows=1)
    with pytest.raises(ValueError, match="label share is 0"):
        with_label_share(task, 0.0, seed=0)
