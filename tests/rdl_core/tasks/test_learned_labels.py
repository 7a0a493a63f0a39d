"""The labels that are learned from: shares, replays, closed windows; the same for networks and for other heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from relbench.base import EntityTask
from relbench.load import RelBenchDataset

from rdl_core.config import BackboneConfig, FinetuningConfig
from rdl_core.database import DatabaseError, load_task
from rdl_core.graph.store import Store
from rdl_core.tasks.inputs import TaskInputs
from rdl_core.tasks.labels import Split, kept_rows, read_closed, read_split, read_train
from rdl_core.timestamps import seconds_of
from tests.nasty_database import TEST, VAL
from tests.nasty_tasks import POINTS, WINS, WatchedTask
from tests.sql_tasks import WINDOW_DAYS, with_sql_tasks

WINDOW_S, TEST_S = WINDOW_DAYS * 86_400, seconds_of(pd.Timestamp(TEST))


@pytest.fixture(scope="module")
def tasks(nasty_dataset: RelBenchDataset) -> Mapping[str, EntityTask]:
    return {name: load_task(nasty_dataset, name) for name in (WINS, POINTS)}


@pytest.fixture(scope="module")
def sql_tasks(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, EntityTask]:
    return with_sql_tasks(tmp_path_factory.mktemp("sql") / "nasty")[1]


def train(task: Any, **changes: Any) -> Split:
    return read_train(task, "rolling", TEST_S, FinetuningConfig(**changes))


def closed(task: Any, **changes: Any) -> Split:
    return read_closed(task, "rolling", TEST_S, FinetuningConfig(**changes))


def questions(split: Split) -> list[tuple[int, int, float]]:
    return list(zip(split.entities.tolist(), split.time_s.tolist(), split.target.tolist(), strict=True))


def test_all_labels_are_train_s_own_in_their_order(tasks: Mapping[str, EntityTask]) -> None:
    got, whole = train(tasks[WINS]), read_split(tasks[WINS], "train", "rolling", TEST_S)
    assert questions(got) == questions(whole)
    assert got.numbers.tolist() == list(range(len(whole)))
    assert (got.weights == 1.0).all()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.35, 0.99])
@pytest.mark.parametrize("name", [WINS, POINTS])
def test_a_share_keeps_so_many_labels_with_their_rows_and_both_classes(
    tasks: Mapping[str, EntityTask], name: str, share: float
) -> None:
    whole = read_split(tasks[name], "train", "rolling", TEST_S)
    for seed in range(20):
        kept = train(tasks[name], label_share=share, seed=seed)
        assert len(kept) == max(2, int(np.ceil(round(share * len(whole), 6))))
        assert (np.diff(kept.numbers) > 0).all()
        assert questions(kept) == [questions(whole)[row] for row in kept.numbers]
        assert kept.weights.sum() == len(kept)
        assert name == POINTS or set(kept.target) == {0.0, 1.0}


def test_a_share_is_the_seed_s_and_holds_the_smaller_ones(tasks: Mapping[str, EntityTask]) -> None:
    few, more = (set(train(tasks[POINTS], label_share=share, seed=4).numbers.tolist()) for share in (0.2, 0.5))
    assert few < more
    assert set(train(tasks[POINTS], label_share=0.2, seed=5).numbers.tolist()) != few


def test_a_network_learns_from_these_labels_and_is_measured_by_all_of_validation_and_test(
    nasty_store: Store, tasks: Mapping[str, EntityTask]
) -> None:
    import torch

    config = FinetuningConfig(label_share=0.3, seed=2)
    inputs = TaskInputs(nasty_store, tasks[WINS], "rolling", config, torch.device("cpu"), BackboneConfig())
    assert questions(inputs.split("train")) == questions(train(tasks[WINS], label_share=0.3, seed=2))
    for split in ("val", "test"):
        assert questions(inputs.split(split)) == questions(read_split(tasks[WINS], split, "rolling", TEST_S))


def test_a_share_beside_a_stride_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label_stride is 0\.25; it should be None with label_share=0\.1"):
        FinetuningConfig(label_share=0.1, label_stride=0.25)


@pytest.mark.parametrize("name", ["goals", "plays"])
def test_a_replay_adds_labels_behind_the_own_ones_and_weights_sum_to_the_number_of_those(
    sql_tasks: Mapping[str, EntityTask], name: str
) -> None:
    own, got = train(sql_tasks[name]), train(sql_tasks[name], label_stride=0.25)
    assert questions(got)[: len(own)] == questions(own)
    assert 2 * len(own) < len(got) < 5 * len(own)
    assert got.numbers.tolist() == list(range(len(got)))
    assert got.weights.sum() == pytest.approx(len(own), rel=1e-12)
    assert len(set(got.weights.tolist())) == 1
    assert (got.time_s + WINDOW_S <= seconds_of(pd.Timestamp(VAL))).all()
    assert len({(e, t) for e, t, _ in questions(got)}) == len(got)


def test_closed_labels_are_train_s_and_those_of_validation_whose_window_has_closed(
    tasks: Mapping[str, EntityTask],
) -> None:
    parts = [read_split(tasks[POINTS], split, "rolling", TEST_S) for split in ("train", "val")]
    everything = [*questions(parts[0]), *questions(parts[1])]
    got = closed(tasks[POINTS])
    assert questions(got) == everything
    assert got.numbers.tolist() == list(range(len(everything)))
    longer: Any = WatchedTask(tasks[POINTS], timedelta=pd.Timedelta(days=80))
    days = 80 * 86_400
    expected = [*questions(parts[0]), *[(e, t, y) for e, t, y in questions(parts[1]) if t + days <= TEST_S]]
    assert questions(closed(longer)) == expected
    assert len(parts[0]) < len(expected) < len(everything)


def test_closed_labels_of_a_share_keep_all_of_validation(tasks: Mapping[str, EntityTask]) -> None:
    kept = train(tasks[WINS], label_share=0.2, seed=3)
    val = read_split(tasks[WINS], "val", "rolling", TEST_S)
    got = closed(tasks[WINS], label_share=0.2, seed=3)
    assert questions(got) == [*questions(kept), *questions(val)]
    assert got.numbers.tolist() == [*kept.numbers.tolist(), *range(40, 40 + len(val))]


def test_closed_labels_of_a_replay_go_on_through_the_validation_period(sql_tasks: Mapping[str, EntityTask]) -> None:
    got = closed(sql_tasks["goals"], label_stride=0.25)
    own = [read_split(sql_tasks["goals"], split, "rolling", TEST_S) for split in ("train", "val")]
    assert questions(got)[: len(own[0]) + len(own[1])] == [*questions(own[0]), *questions(own[1])]
    assert got.weights.sum() == pytest.approx(len(own[0]) + len(own[1]), rel=1e-12)
    val_s = seconds_of(pd.Timestamp(VAL))
    assert (got.time_s + WINDOW_S <= TEST_S).all()
    assert ((got.time_s < val_s) & (got.time_s + WINDOW_S > val_s)).any(), "windows across the validation timestamp"
    assert len(set(got.numbers.tolist())) == len(got)


def test_a_train_label_whose_window_reaches_past_the_test_timestamp_is_not_learned_from_again(
    tasks: Mapping[str, EntityTask],
) -> None:
    late_s = 110 * 86_400  # the last train seeds come in August, 11 days before the test timestamp

    class LateTask(WatchedTask):
        def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
            table = super().get_table(split, *args, **kwargs)
            if split == "train":
                table.df = table.df.assign(seed_time=table.df["seed_time"] + pd.Timedelta(seconds=late_s))
            return table

    task: Any = LateTask(tasks[POINTS])
    got, whole = closed(task), train(task)
    assert (got.time_s + WINDOW_S <= TEST_S).all()
    is_open = whole.time_s + WINDOW_S > TEST_S
    num_val = len(read_split(tasks[POINTS], "val", "rolling", TEST_S))
    assert got.numbers.tolist() == [*np.flatnonzero(~is_open).tolist(), *range(len(whole), len(whole) + num_val)]
    assert is_open.any()
    assert got.weights.tolist() == [1.0] * len(got)


def test_a_refit_without_a_closed_window_is_refused(tasks: Mapping[str, EntityTask]) -> None:
    endless: Any = WatchedTask(tasks[POINTS], timedelta=pd.Timedelta(days=365))
    with pytest.raises(ValueError, match="team-points.*no validation label's window of 365 days.*leave out --refit"):
        closed(endless)


def test_labels_without_sql_are_not_replayed(tasks: Mapping[str, EntityTask]) -> None:
    with pytest.raises(DatabaseError, match="kind 'external', which has none"):
        train(tasks[WINS], label_stride=0.25)


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
