"""Runs with other levels than the three: what is off costs nothing, every parameter learns, weights of levels, resume to the same bits."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from rdl_core.communicator import SingleProcess
from rdl_core.config import FutureConfig, PretrainingConfig
from rdl_core.graph.store import Store
from rdl_core.pretraining import train_step
from rdl_core.pretraining.balance import DECAY, Balance
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.state import TrainState
from rdl_core.pretraining.step_input import StepInput, step_input
from rdl_core.pretraining.validation import validation_loss
from tests.rdl_core.pretraining.test_loop import Run, assert_equal_bits, config, results, weights

pytestmark = pytest.mark.usefixtures("one_thread")

ALL = ("row", "link", "context", "future")
FUTURE = FutureConfig(questions_per_sample=16, window_shares=(1 / 16, 1 / 4))


def settings(*levels: Any, **changes: Any) -> PretrainingConfig:
    return config(levels=levels or ALL, future=FUTURE, **changes)


def inputs(run: Run, cursors: list[tuple[int, int]]) -> StepInput:
    subgraphs = [run.sampler.sample(epoch, [sample])[0] for epoch, sample in cursors]
    rows = run.validation.rows
    return step_input(run.model, subgraphs, cursors, rows, run.config.corruption, run.config.loss, seed=run.config.seed)


@pytest.mark.parametrize("levels", [("future",), ("row", "future"), ("link",), ALL])
def test_all_that_learns_gets_a_gradient_in_every_step(nasty_store: Store, levels: tuple[str, ...]) -> None:
    run = Run(nasty_store, settings(*levels))
    for sample in range(3):
        made = inputs(run, [(0, sample)])
        losses, _ = train_step(run.model, made.contrast, run.optimizer, SingleProcess(), questions=made.questions)
        assert set(losses) == set(levels)
        assert all(p.grad is not None for p in run.model.parameters() if p.requires_grad)


def test_a_step_has_the_gradient_of_the_sum_over_its_samples(nasty_store: Store) -> None:
    run = Run(nasty_store, settings())
    run.model.double()
    cursors = [(0, 0), (0, 1), (1, 0)]
    alone = [run.model(made.contrast, made.questions) for made in (inputs(run, [cursor]) for cursor in cursors)]
    counts = {level: sum(int(c[level]) for _, c, _ in alone) for level in ALL}
    sum(totals[level] / counts[level] for totals, _, _ in alone for level in ALL).backward()  # type: ignore[union-attr]
    expected = {n: p.grad.clone() for n, p in run.model.named_parameters() if p.grad is not None}
    made = inputs(run, cursors)
    still = torch.optim.SGD(run.model.parameters(), lr=0.0)
    train_step(run.model, made.contrast, still, SingleProcess(), questions=made.questions)
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=0, atol=1e-10, msg=name)
    assert sum(bool((g.abs() > 1e-8).any()) for n, g in expected.items() if n.startswith("future.")) > 2


def test_levels_that_are_off_are_not_computed(nasty_store: Store) -> None:
    def rows(subgraphs: Any) -> Any:
        raise AssertionError("the future level reads no sample of the others")

    run = Run(nasty_store, settings("future"))
    assert not list(run.model.loss.parameters())
    made = step_input(run.model, [], [(0, 0)], rows, run.config.corruption, run.config.loss, seed=0)
    assert made.contrast is None and len(made.questions) == 1
    metrics = run.validation(run.model, 0)
    assert set(metrics) == {"validation/future", "effective_rank"}
    run = Run(nasty_store, settings("row", "link", "context"))
    assert run.model.future is None and inputs(run, [(0, 0)]).questions == ()
    assert not any(name.startswith(("future", "balance")) for name in run.model.state_dict())
    run = Run(nasty_store, settings("row"))
    assert {n.split(".")[1] for n in run.model.state_dict() if n.startswith("loss.")} == {"row"}


def test_the_future_level_alone_learns(nasty_store: Store) -> None:
    run = Run(
        nasty_store,
        settings("future", max_steps=40, validation_interval_steps=40, validation_samples=8, learning_rate=1e-2),
    )
    state = run.fit()
    assert state.first["validation/future"] == pytest.approx(1.0, abs=0.15)
    assert state.last["validation/future"] < state.first["validation/future"] - 0.1
    assert state.best_loss == validation_loss(state.best, ("future",)) == state.best["validation/future"]


def test_validations_are_compared_by_the_levels_that_are_on() -> None:
    metrics = {"validation/row": 0.5, "validation/future": 0.25, "effective_rank": 9.0}
    assert validation_loss(metrics) == 2.5
    assert validation_loss(metrics, ALL) == 2.75
    assert validation_loss(metrics, ("future",)) == 0.25
    assert validation_loss({}, ("future",)) == 1.0


def test_a_run_with_balanced_levels_resumed_at_any_step_ends_in_the_same_bits(nasty_store: Store) -> None:
    changes = {"balance": "gradient_norm", "balance_interval_steps": 2, "max_steps": 5}
    whole = Run(nasty_store, settings(**changes))
    expected = whole.fit()
    assert {f"train/{level}_weight" for level in ALL} < set(expected.last)
    for step in range(5):
        first, state = Run(nasty_store, settings(**changes)), TrainState()
        with pytest.raises(RuntimeError, match=f"samples ended after step {step} of 5"):
            first.fit(state, stop_before=step)
        kept = copy.deepcopy((first.model.state_dict(), first.optimizer.state_dict(), state))
        second = Run(nasty_store, settings(**changes))
        for tensor in (*second.model.parameters(), *second.model.buffers()):
            torch.nn.init.constant_(tensor, 0.5) if tensor.is_floating_point() else None
        second.model.load_state_dict(kept[0])
        second.optimizer.load_state_dict(kept[1])
        assert results(second.fit(kept[2])) == results(expected)
        assert_equal_bits(weights(second.model), weights(whole.model))


def test_weights_make_the_gradients_of_the_levels_equally_long(nasty_store: Store) -> None:
    run = Run(nasty_store, settings(balance="gradient_norm"))
    run.model.double()
    made = inputs(run, [(0, 0), (0, 1)])
    still = torch.optim.SGD(run.model.parameters(), lr=0.0)
    arguments: dict[str, Any] = {"questions": made.questions, "is_measured": True}
    train_step(run.model, made.contrast, still, SingleProcess(), **arguments)
    whole = {n: p.grad.clone() for n, p in run.model.named_parameters()}
    totals, counts, _ = run.model(made.contrast, made.questions)
    balance, encoder = run.model.balance, list(run.model.encoder.parameters())
    assert balance is not None
    norms, weighted = [], []
    for level, weight in zip(ALL, balance.weights, strict=True):
        parts = torch.autograd.grad(totals[level] / counts[level], encoder, retain_graph=True, allow_unused=True)
        norms.append(torch.cat([p.flatten() for p in parts if p is not None]).norm())
        weighted.append(float(weight * norms[-1]))
    assert balance.norms.tolist() == pytest.approx([float(n) for n in norms], rel=1e-9)
    assert max(norms) / min(norms) > 1.3
    assert weighted == pytest.approx([weighted[0]] * 4, rel=1e-9)
    assert float(balance.weights.log().sum()) == pytest.approx(0.0, abs=1e-9)
    run.model.zero_grad()
    sum(w * totals[level] / counts[level] for w, level in zip(balance.weights, ALL, strict=True)).backward()  # type: ignore[union-attr]
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=0, atol=1e-12, msg=name)


def test_norms_are_an_exponential_mean_and_a_level_without_gradient_keeps_its_own() -> None:
    balance, parameter = Balance(("a", "b")), torch.nn.Parameter(torch.ones(4))
    assert balance.weights.tolist() == [1.0, 1.0]
    for scale, other in ((2.0, 8.0), (4.0, 0.0)):
        losses = {"a": (parameter * scale / 2).sum(), "b": (parameter * other / 2).sum()}
        balance.measure(losses, [parameter], SingleProcess())
    assert balance.norms.tolist() == pytest.approx([DECAY * 2 + (1 - DECAY) * 4, 8.0])
    assert balance.weights.tolist() == pytest.approx([(8 / 2.4) ** 0.5, (2.4 / 8) ** 0.5])
    assert balance.figures()["b_gradient_norm"] == 8.0


def test_without_balance_the_state_has_no_weights_of_levels(nasty_store: Store) -> None:
    assert Run(nasty_store, settings()).model.balance is None
    model = PretrainingModel(nasty_store, settings(balance="gradient_norm"))
    assert model.state_dict()["balance.norms"].tolist() == [0.0] * 4


def test_levels_are_named_once(nasty_store: Store) -> None:
    with pytest.raises(ValueError, match="names a level twice: row, row"):
        settings("row", "row")
    with pytest.raises(ValueError, match="levels"):
        dataclasses.replace(settings(), levels=())
