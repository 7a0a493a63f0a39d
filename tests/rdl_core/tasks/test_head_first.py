"""The head first: fine-tuning that begins where the frozen arm ends, on the nasty database's tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from relbench.base import EntityTask

from rdl_core.graph.store import Store
from rdl_core.heads import Fold
from tests.nasty_tasks import POINTS, WINS
from tests.rdl_core.tasks.test_finetuning import make, tasks, weights

__all__ = ["tasks"]  # the fixture

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", [WINS, POINTS])
def test_what_learns_first_is_the_head_alone_as_in_the_frozen_arm(
    nasty_store: Store, tasks: Mapping[str, EntityTask], name: str
) -> None:
    frozen, both = (
        make(nasty_store, tasks[name], "frozen"),
        make(nasty_store, tasks[name], "finetuned", head_first=True),
    )
    seen: dict[str, list[tuple[int, float]]] = {"frozen": [], "both": []}
    frozen.train(on_validation=lambda step, value: seen["frozen"].append((step, value)))
    before = weights(both.model.encoder)
    unchanged: list[bool] = []

    def look(step: int, value: float) -> None:
        seen["both"].append((step, value))
        unchanged.append(all(torch.equal(w, before[n]) for n, w in both.model.encoder.state_dict().items()))

    trained = both.train(on_validation=look)
    assert seen["both"][: len(seen["frozen"])] == seen["frozen"]
    first = len(seen["frozen"])
    assert unchanged == [True] * first + [False] * (len(unchanged) - first)
    assert len(unchanged) > first, "the backbone must learn, too"
    values = [value for _, value in seen["both"]]
    assert trained.val == (max(values) if name == WINS else min(values)), "the best of both phases is kept"
    assert len(trained.best_steps) == 2


def test_a_second_phase_that_helps_nothing_leaves_the_frozen_arms_model(
    nasty_store: Store, tasks: Mapping[str, EntityTask]
) -> None:
    changes = {"learning_rate": 30.0, "validation_interval_steps": 1, "patience": 1}
    frozen = make(nasty_store, tasks[POINTS], "frozen", **changes)
    both = make(nasty_store, tasks[POINTS], "finetuned", head_first=True, **changes)
    expected, trained = frozen.train(), both.train()
    assert trained.best_steps == (*expected.best_steps, 0), "a rate of 30 must ruin what the head has learned"
    for name, value in frozen.model.state_dict().items():
        assert torch.equal(both.model.state_dict()[name], value), name


def test_training_again_goes_through_both_phases(nasty_store: Store, tasks: Mapping[str, EntityTask]) -> None:
    changes = {"head_first": True, "ema_decay": 0.8}
    run = make(nasty_store, tasks[POINTS], "finetuned", refit=True, **changes)
    trained = run.train()
    rows, predicted = np.arange(len(run.inputs.split("train"))), run.predict(run.model, "val")
    again = run.out_of_fold([Fold(train=rows, validation=rows)], trained.best_steps)
    assert np.array_equal(run.predict(run.model, "val"), predicted), "the model must be left as it was"
    assert np.array_equal(again, run.predict(run.model, "train")), "the same labels must give the same model"


def test_scratch_and_frozen_have_one_phase(nasty_store: Store, tasks: Mapping[str, EntityTask]) -> None:
    for arm in ("scratch", "frozen"):
        first, plain = (make(nasty_store, tasks[WINS], arm, head_first=value) for value in (True, False))
        assert first.train() == plain.train()
        assert all(torch.equal(w, plain.model.state_dict()[n]) for n, w in first.model.state_dict().items())
