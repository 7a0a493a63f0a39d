"""What a step learns from: positives, negatives drawn with known probabilities, and the loss of both against loops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rdl_core.config import LinkConfig
from rdl_core.links.candidates import UNSEEN, Candidates, TimeBatches, draw_candidates
from rdl_core.links.labels import LinkSplit
from rdl_core.links.model import sampled_softmax_loss
from tests.rdl_core.links.conftest import Visits

FEW = LinkConfig(negatives=4, positives=1)


def drawn(
    visits: Visits, config: LinkConfig, *, seed: int = 0, epoch: int = 0
) -> tuple[Candidates, LinkSplit, np.ndarray]:
    time_s = visits.split("train").time_s.max()
    split = LinkSplit(
        sources=np.array([0, 1, 2]),
        time_s=np.full(3, time_s),
        before_s=np.full(3, time_s),
        destinations=np.array([1, 3, 5, 2, 4, 6, 11]),
        indptr=np.array([0, 3, 5, 7]),
        window_s=30 * 86_400,
    )
    rows = np.arange(3)
    exists = visits.store.graph.table_time("teams") < split.before_s[rows[0]]
    statistics = dataclasses.replace(visits.statistics, config=config)
    known = dataclasses.replace(
        split, destinations=split.destinations[:6], indptr=np.array([0, 3, 5, 6])
    )  # 11 is not there yet
    return draw_candidates(split, rows, exists, statistics, config, seed=seed, epoch=epoch), known, exists


@pytest.mark.parametrize("config", [LinkConfig(), FEW])
def test_negatives_exist_before_the_time_and_are_no_positives(visits: Visits, config: LinkConfig) -> None:
    for epoch in range(20):
        found, asked, exists = drawn(visits, config, epoch=epoch)
        assert exists[found.destinations].all() and not exists.all()
        for question, of_question in enumerate(asked.lists):
            own = np.isin(found.destinations, of_question)
            learned = found.positive[found.question == question]
            assert len(learned) == min(len(of_question), config.positives) and own[learned].all()
            others = np.setdiff1d(np.flatnonzero(own), learned)
            assert (found.log_weight[question, others] == np.float32(UNSEEN)).all()


def test_draws_depend_on_seed_and_epoch_alone(visits: Visits) -> None:
    same, again = (drawn(visits, FEW, seed=3, epoch=5)[0] for _ in range(2))
    assert same.destinations.tobytes() == again.destinations.tobytes()
    others = {
        drawn(visits, FEW, seed=seed, epoch=epoch)[0].destinations.tobytes() for seed in (3, 4) for epoch in range(8)
    }
    assert len(others) > 4


def test_the_sum_over_negatives_is_that_over_all_destinations_on_average(visits: Visits) -> None:
    _, asked, exists = drawn(visits, FEW)
    scores = np.linspace(-1, 1, len(exists))
    expected = [np.exp(scores[exists & ~np.isin(np.arange(len(exists)), own)]).sum() for own in asked.lists]
    sums = []
    for epoch in range(600):
        found, _, _ = drawn(visits, FEW, epoch=epoch)
        weights = np.exp(found.log_weight.astype(np.float64))
        weights[found.question, found.positive] = 0.0
        sums.append(weights @ np.exp(scores[found.destinations]))
    assert np.mean(sums, axis=0) == pytest.approx(expected, rel=0.1)


def test_with_all_destinations_the_loss_is_the_softmax_of_loops(visits: Visits) -> None:
    found, asked, exists = drawn(visits, LinkConfig())
    assert found.destinations.tolist() == np.flatnonzero(exists).tolist()
    scores = np.random.default_rng(0).normal(size=(len(asked), len(found.destinations)))
    expected = 0.0
    for question, own in enumerate(asked.lists):
        e = np.exp(scores[question])
        places = [found.destinations.tolist().index(d) for d in own]
        expected += sum(-np.log(e[p] / e.sum()) for p in places) / len(places)
    parts = [torch.from_numpy(x) for x in (scores, found.log_weight, found.question, found.positive)]
    assert float(sampled_softmax_loss(*parts)) == pytest.approx(expected)


def test_a_question_without_a_negative_has_a_finite_gradient() -> None:
    scores = torch.zeros(2, 1, requires_grad=True)
    log_weight, one = torch.tensor([[0.0], [UNSEEN]]), torch.zeros(1, dtype=torch.int64)
    loss = sampled_softmax_loss(scores, log_weight, one, one)
    loss.backward()
    assert float(loss.detach()) == 0.0 and scores.grad is not None and torch.isfinite(scores.grad).all()


def test_an_epoch_is_every_question_once_in_groups_of_one_time(visits: Visits) -> None:
    split = visits.split("train").learnable
    batches = iter(TimeBatches(split=split, batch_size=7, seed=1))
    seen: dict[int, list[int]] = {0: [], 1: []}
    for groups, epoch in batches:
        if epoch > 1:
            break
        for rows in groups:
            assert len(rows) <= 7 and len(set(split.time_s[rows])) == 1
            seen[epoch] += rows.tolist()
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(len(split))) and seen[0] != seen[1]
