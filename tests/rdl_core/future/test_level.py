"""Weights and loss of the future level: constants come to 1, loops for what each answer counts, and gradients that reach the rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rdl_core.config import BackboneConfig, FutureConfig
from rdl_core.future import FutureLevel, FutureSource, Target
from rdl_core.future.weighing import weighing_of
from rdl_core.graph.store import Store

CONFIG = FutureConfig(questions_per_sample=64, window_shares=(1 / 16, 1 / 4))
TARGETS = (
    Target(name="count", kind="count", is_binary=False),
    Target(name="any", kind="any", is_binary=True),
    Target(name="mean", kind="mean", is_binary=False),
    Target(name="share", kind="mean", is_binary=True),
    Target(name="always the same", kind="mean", is_binary=False),
    Target(name="next", kind="next", is_binary=True),
)


@pytest.fixture(scope="module")
def source(nasty_store: Store) -> FutureSource:
    return FutureSource(nasty_store, CONFIG, BackboneConfig())


def random_answers(number: int = 400) -> np.ndarray:
    random = np.random.default_rng(0)
    answers = random.normal(3.0, 2.0, (number, len(TARGETS))).astype(np.float32)
    answers[:, [1, 5]] = random.random((number, 2)) < (0.3, 0.9)
    answers[:, 3] = random.random(number)
    answers[:, 4] = 7.0
    answers[random.random((number, len(TARGETS))) < 0.3] = np.nan
    answers[:3] = np.nan
    return answers


def loss_of(target: np.ndarray, answer: float, is_binary: bool) -> float:
    if is_binary:
        return -(float(target) * math.log(answer) + (1 - float(target)) * math.log(1 - answer))
    error = abs(float(target) - answer)
    return error**2 / 2 if error < 1 else error - 0.5


def test_the_weights_make_kinds_alike_and_constants_one() -> None:
    answers = random_answers()
    weighing = weighing_of(answers, TARGETS)
    assert weighing.asked.tolist() == [0, 2, 1, 3, 5] and weighing.num_numbers == 2
    target, weight = weighing(answers)
    known = np.isfinite(answers[:, weighing.asked])
    assert (weight[~known] == 0).all() and (target[~known] == 0).all() and (weight[known] > 0).all()
    for j, column in enumerate(weighing.asked[:2]):
        values = answers[:, column][np.isfinite(answers[:, column])]
        expected = (answers[:, column] - values.mean()) / values.std()
        np.testing.assert_allclose(target[known[:, j], j], expected[known[:, j]], atol=1e-4)
    per_kind: dict[int, list[float]] = {}
    whole = []
    for i in range(len(answers)):
        of_question = 0.0
        for kind in range(4):
            mine = [j for j in range(5) if weighing.kind[j] == kind and known[i, j]]
            if mine:
                answer = [0.0 if j < 2 else float(weighing.center[j]) for j in mine]
                losses = [loss_of(target[i, j], a, j >= 2) for j, a in zip(mine, answer, strict=True)]
                per_kind.setdefault(kind, []).append(sum(losses) / len(losses))
                of_question += sum(weight[i, j] * loss for j, loss in zip(mine, losses, strict=True))
        if known[i].any():
            whole.append(of_question)
    assert np.mean(whole) == pytest.approx(1.0, abs=1e-5)
    means = [np.mean(per_kind[kind]) / weighing.unit[kind] for kind in range(4)]
    assert means == pytest.approx([means[0]] * 4, rel=1e-5)


def test_the_loss_begins_at_the_constants(source: FutureSource) -> None:
    level, channels = FutureLevel(source, 16), 16
    batches = source([(0, sample) for sample in range(40)], seed=1)
    vectors = [torch.randn(CONFIG.questions_per_sample, channels) for _ in batches]
    total, count = level(vectors, batches)
    assert int(count) == sum(int((b.weight > 0).any(dim=1).sum()) for b in batches) > 1000
    assert (total / count).item() == pytest.approx(1.0, abs=0.1)


def test_the_sums_of_a_step_are_those_of_its_samples(source: FutureSource) -> None:
    level = FutureLevel(source, 8).double()
    cursors = [(0, 3), (0, 8), (2, 1)]
    batches = source(cursors, seed=0)
    vectors = [torch.randn(CONFIG.questions_per_sample, 8, dtype=torch.float64) for _ in batches]
    total, count = level(vectors, batches)
    alone = [level([h], source([cursor], seed=0)) for h, cursor in zip(vectors, cursors, strict=True)]
    assert total.item() == pytest.approx(sum(t.item() for t, _ in alone), rel=1e-12)
    assert int(count) == sum(int(c) for _, c in alone)
    nothing, none = level([], [])
    assert (nothing.item(), int(none)) == (0.0, 0)


def test_answers_that_are_not_known_have_no_gradient_and_the_others_do(source: FutureSource) -> None:
    level = FutureLevel(source, 8)
    (batch,) = source([(0, 0)], seed=0)
    h = torch.randn(CONFIG.questions_per_sample, 8, requires_grad=True)
    level([h], [batch])[0].backward()
    assert h.grad is not None
    assert torch.equal(h.grad.abs().sum(dim=1) > 0, (batch.weight > 0).any(dim=1))
    decoder = level.decoders[source.tables.index(batch.table)]
    assert torch.equal(decoder.bias.grad.abs() > 0, (batch.weight > 0).any(dim=0))  # type: ignore[operator, union-attr]


def test_samples_ask_about_all_tables_and_each_sample_anew(source: FutureSource) -> None:
    batches = source([(0, sample) for sample in range(30)], seed=0)
    assert {b.table for b in batches} == set(source.tables)
    assert len({b.target.numpy().tobytes() for b in batches}) == 30
    again, other = source([(0, 7)], seed=0)[0], source([(0, 7)], seed=1)[0]
    assert torch.equal(again.target, batches[7].target) and torch.equal(again.weight, batches[7].weight)
    assert all(torch.equal(keys, batches[7].dropout_keys[t]) for t, keys in again.dropout_keys.items())
    assert not torch.equal(other.target, batches[7].target) if other.table == again.table else True
