"""Ranks, metrics and baselines: against RelBench's evaluation of its own label table, and against loops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rdl_core.links.baselines import LATEST, Baseline, Baselines
from rdl_core.links.labels import newest_times
from rdl_core.links.model import PairTerm
from rdl_core.links.scoring import best_destinations, link_metrics
from rdl_core.links.start import choose_start
from tests.rdl_core.links.conftest import Visits


def baselines(visits: Visits) -> Baselines:
    born_s = visits.store.graph.table_time("teams")
    return Baselines(task=visits.task, statistics=visits.statistics, exists=lambda before_s: born_s < before_s)


def test_rows_of_nobody_and_without_a_guest_are_asked_but_not_learned_from(visits: Visits) -> None:
    train = visits.split("train")
    nobody, no_guest = train.sources == -1, np.diff(train.indptr) == 0
    assert nobody.sum() == no_guest.sum() == 4
    assert len(train.learnable) == len(train) - 8
    assert [x.tolist() for x in train.learnable.lists] == [
        x.tolist() for x, is_left_out in zip(train.lists, nobody | no_guest, strict=True) if not is_left_out
    ]


def test_map_is_that_of_relbench_for_its_own_label_table(visits: Visits) -> None:
    val = visits.split("val")
    ranked = np.argsort(np.random.default_rng(0).random((len(val), 12)), axis=1)[:, :3]
    ours = link_metrics(visits.task, val.lists, ranked)
    theirs = visits.task.evaluate(ranked, visits.task.get_table("val", mask_input_cols=False))
    assert ours["map"] == theirs["map"]
    asked = [
        (set(row), set(own)) for row, own in zip(ranked.tolist(), (x.tolist() for x in val.lists), strict=True) if own
    ]
    assert ours["precision"] == pytest.approx(np.mean([len(row & own) / 3 for row, own in asked]))
    assert ours["recall"] == pytest.approx(np.mean([len(row & own) / len(own) for row, own in asked]))


def test_ranks_break_ties_by_row_and_end_with_nothing() -> None:
    ranked, scores = best_destinations(np.array([[1.0, 2.0, 1.0]]), np.array([4, 7, 9]), 5)
    assert ranked.tolist() == [[7, 4, 9, -1, -1]]
    assert scores[0, :3].tolist() == [2.0, 1.0, 1.0] and np.isnan(scores[0, 3:]).all()


@pytest.mark.parametrize("popular", [2.0, None])
@pytest.mark.parametrize("own", ["", 1.0, None, LATEST])
def test_baselines_are_those_of_loops(visits: Visits, own: float | str | None, popular: float | None) -> None:
    asked, statistics = visits.split("train"), visits.statistics
    ranked = baselines(visits).rank(Baseline(popular=popular, own=own), asked)
    links, born_s = statistics.links, visits.store.graph.table_time("teams")

    def key(source: int, team: int, before_s: int) -> tuple[float, ...]:
        past = [x for x in zip(links.source, links.destination, links.time_s, strict=True) if x[2] < before_s]
        mine = [t for s, d, t in past if (s, d) == (source, team)]
        since = before_s - (own * statistics.window_s if isinstance(own, float) else np.inf)
        first = 0.0 if own == "" else max(mine, default=0) if own == LATEST else sum(t >= since for t in mine)
        arrivals = [t for _, d, t in past if d == team]
        recent = [t for t in arrivals if popular is None or t >= before_s - popular * statistics.window_s]
        return -first, -len(recent), -max(arrivals, default=-1), team

    for question, (source, before_s) in enumerate(zip(asked.sources, asked.before_s, strict=True)):
        alive = [team for team in range(12) if born_s[team] < before_s]
        expected = sorted(alive, key=lambda team: key(source, team, before_s))[:3]
        assert ranked[question].tolist() == [*expected, -1, -1, -1][:3]


def test_the_most_linked_comes_before_the_last_linked(visits: Visits) -> None:
    val, links = visits.split("val"), visits.statistics.links
    ends = {"source": np.zeros(4, np.int64), "destination": np.array([3, 3, 1, 6])}
    made = dataclasses.replace(links, **ends, time_s=int(val.before_s[0]) - np.array([9, 8, 4, 2]))
    statistics = dataclasses.replace(visits.statistics, links=made, _kept={})
    found = dataclasses.replace(baselines(visits), statistics=statistics).rank(Baseline(popular=None), val)
    assert found[0].tolist() == [3, 6, 1]


def test_the_start_of_the_pair_term_is_no_worse_on_validation_than_popularity(visits: Visits) -> None:
    val, them = visits.split("val"), baselines(visits)
    pair = PairTerm(visits.statistics.end_width, visits.statistics.pair_width, 4)
    start = choose_start(pair, them, val)
    popularity = them.rank(them.choose(val)["popularity"], val)
    assert start.val >= link_metrics(visits.task, val.lists, popularity)["map"]
    everyone = np.flatnonzero(them.exists(int(val.before_s[0])))
    with torch.no_grad():
        scores = pair(visits.statistics(val.sources, everyone, int(val.before_s[0]))).numpy()
    ranked = best_destinations(scores, everyone, 3)[0]
    assert link_metrics(visits.task, val.lists, ranked)["map"] == pytest.approx(start.val)


def test_validation_borrows_the_newest_train_times_and_leaves_half_of_them(visits: Visits) -> None:
    train = visits.split("train").learnable
    times, counts = np.unique(train.time_s, return_counts=True)
    assert len(newest_times(train, 0)) == 0
    assert set(train.time_s[newest_times(train, 1)]) == {times[-1]}
    assert set(train.time_s[newest_times(train, int(counts[-1]) + 1)]) == set(times[-2:])
    assert set(train.time_s[newest_times(train, 10_000)]) == set(times[-2:])


def test_the_snapshot_sees_nothing_after_the_test_timestamp(visits: Visits) -> None:
    from rdl_core.links.labels import read_links

    cut_s = visits.store.test_timestamp_s - 86_400
    rolling, snapshot = (read_links(visits.task, "test", r, cut_s) for r in ("rolling", "snapshot"))  # type: ignore[arg-type]
    assert (rolling.before_s == rolling.time_s).all() and (snapshot.before_s == cut_s + 1).all()
    assert dataclasses.astuple(snapshot)[1].tolist() == rolling.time_s.tolist()
