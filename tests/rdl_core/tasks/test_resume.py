"""A fine-tuning run that is killed goes on to the same weights, bit for bit, wherever the kill came."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from relbench.base import EntityTask

from rdl_core.finetuning import StateFile
from rdl_core.graph.store import Store
from rdl_core.heads import Fold
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.finetuning_result import FinetuningResult
from tests.nasty_tasks import POINTS, WINS
from tests.rdl_core.tasks.test_finetuning import make, tasks, weights

__all__ = ["tasks"]  # the fixture

pytestmark = pytest.mark.usefixtures("one_thread")

FOLDS = [Fold(train=np.arange(20), validation=np.arange(30, 40))]
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "scratch": ("scratch", {"dropout": 0.5, "head_dropout": 0.3, "ema_decay": 0.7}),
    "frozen": ("frozen", {"head_dropout": 0.3, "batch_size": 12}),
    "both ways": ("finetuned", {"unfreeze": "best", "dropout": 0.5, "batch_size": 12}),
}


class Killed(Exception):
    """The process is gone."""


class Countdown:
    """Callbacks that kill at the n-th call of any; -1 never does.

    Args:
        left: Calls until then.
    """

    def __init__(self, left: int) -> None:
        self.left, self.calls = left, 0

    def __call__(self, *told: Any) -> None:
        self.calls += 1
        if self.calls == self.left:
            raise Killed

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {"on_step": self, "on_validation": self, "on_phase": self}


def outcome(run: Finetuning, result: FinetuningResult) -> tuple[FinetuningResult, dict[str, torch.Tensor], Any]:
    return dataclasses.replace(result, seconds=0.0), weights(run.model), run.predictions


@pytest.mark.parametrize("arm", list(ARMS))
def test_a_run_killed_anywhere_goes_on_to_the_same_bits(
    nasty_store: Store, tasks: Mapping[str, EntityTask], tmp_path: Path, arm: str
) -> None:
    """The state is written after every update, where the number of calls until the kill is odd, or after every validation."""
    name, changes = ARMS[arm]

    def new() -> Finetuning:
        return make(nasty_store, tasks[WINS], name, refit=True, max_steps=3, **changes)  # type: ignore[arg-type]

    whole, never = new(), Countdown(-1)
    expected = outcome(whole, whole.run(folds=FOLDS, **never.callbacks()))
    assert never.calls >= 10
    for kill in range(1, never.calls + 1):
        states, run = StateFile(folder=tmp_path / str(kill), interval_s=0.0 if kill % 2 else 1e9, pause_s=0.0), new()
        with pytest.raises(Killed):
            run.run(folds=FOLDS, states=states, **Countdown(kill).callbacks())
        again, later = new(), Countdown(-1)
        torch.rand(kill)  # what has been drawn before does not matter
        found = outcome(again, again.run(folds=FOLDS, states=states, **later.callbacks()))
        assert found[0] == expected[0], kill
        assert all(torch.equal(found[1][n], w) for n, w in expected[1].items()), kill
        for split, predicted in expected[2].items():
            np.testing.assert_array_equal(found[2][split], predicted)
        if kill > 5:
            assert later.calls < never.calls, "it goes on, and does not begin anew"


def test_a_run_killed_again_and_again_goes_on_to_the_same_bits(
    nasty_store: Store, tasks: Mapping[str, EntityTask], tmp_path: Path
) -> None:
    name, changes = ARMS["both ways"]
    whole = make(nasty_store, tasks[POINTS], name, **changes)  # type: ignore[arg-type]
    expected = outcome(whole, whole.run())
    states = StateFile(folder=tmp_path, interval_s=0.0)
    kills = 0
    while True:
        run = make(nasty_store, tasks[POINTS], name, **changes)  # type: ignore[arg-type]
        try:
            found = outcome(run, run.run(states=states, **Countdown(4).callbacks()))
            break
        except Killed:
            kills += 1
            assert kills < 100
    assert kills > 3
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][n], w) for n, w in expected[1].items())


def test_time_before_a_kill_counts_towards_the_budget(
    nasty_store: Store, tasks: Mapping[str, EntityTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("rdl_core.tasks.training.time.perf_counter", lambda: now_s[0])
    settings: dict[str, Any] = {"max_hours": 1.0, "max_steps": 100, "patience": 100, "validation_interval_steps": 4}

    def ten_minutes(step: int, loss: float) -> None:
        now_s[0] += 600.0
        if step == 3:
            raise Killed

    states = StateFile(folder=tmp_path)
    with pytest.raises(Killed):
        make(nasty_store, tasks[WINS], "frozen", **settings).run(states=states, on_step=ten_minutes)
    now_s[0] = 50_000.0  # the time between does not
    trained = make(nasty_store, tasks[WINS], "frozen", **settings).train(
        states=states, on_step=lambda step, loss: now_s.__setitem__(0, now_s[0] + 600.0)
    )
    assert (trained.steps, trained.finished) == (6, "time_budget")


def test_a_validation_soon_after_a_state_writes_none(
    nasty_store: Store, tasks: Mapping[str, EntityTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, seen, states = [0.0], [], StateFile(folder=tmp_path)
    monkeypatch.setattr("rdl_core.tasks.training.time.perf_counter", lambda: now_s[0])

    def four_seconds(step: int, loss: float) -> None:
        now_s[0] += 4.0
        seen.append(states.step())

    settings: dict[str, Any] = {"max_steps": 8, "patience": 100, "validation_interval_steps": 1}
    make(nasty_store, tasks[WINS], "frozen", **settings).train(states=states, on_step=four_seconds)
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]
    assert states.step() == 8


def test_a_budget_that_ends_with_the_head_leaves_out_the_second_phase(
    nasty_store: Store, tasks: Mapping[str, EntityTask]
) -> None:
    run = make(nasty_store, tasks[WINS], "finetuned", unfreeze="best", max_hours=1e-9, refit=True)
    before = weights(run.model.encoder)
    result = run.run()
    assert (result.steps, result.finished) == (1, "time_budget")
    assert result.refit_steps == 2, "one of four steps of an epoch, of six with the labels of validation"
    assert all(torch.equal(w, before[n]) for n, w in run.model.encoder.state_dict().items())


def test_the_state_of_another_training_is_refused_with_what_differs(
    nasty_store: Store, tasks: Mapping[str, EntityTask], tmp_path: Path
) -> None:
    states = StateFile(folder=tmp_path)
    make(nasty_store, tasks[WINS], "frozen").train(states=states)
    with pytest.raises(ValueError, match=r"state of another training.*arm: frozen -> scratch.*Remedy"):
        make(nasty_store, tasks[WINS], "scratch").train(states=states)
    other = make(nasty_store, tasks[WINS], "frozen")
    with torch.no_grad():
        next(other.model.encoder.parameters()).add_(1e-3)  # another checkpoint
    with pytest.raises(ValueError, match="first_weights"):
        other.train(states=states)
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]
    states.remove()
    assert other.train(states=states).steps == 6
