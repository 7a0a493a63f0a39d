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
        make(nasty_store, tasks[name], "finetuned", unfreeze="after_head"),
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
    assert [phase for phase, _ in trained.course] == ["frozen", "finetuned"]


def test_a_second_phase_that_helps_nothing_leaves_the_frozen_arms_model(
    nasty_store: Store, tasks: Mapping[str, EntityTask]
) -> None:
    changes = {"learning_rate": 30.0, "validation_interval_steps": 1, "patience": 1}
    frozen = make(nasty_store, tasks[POINTS], "frozen", **changes)
    both = make(nasty_store, tasks[POINTS], "finetuned", unfreeze="after_head", **changes)
    expected, trained = frozen.train(), both.train()
    assert trained.course == (*expected.course, ("finetuned", 0)), "a rate of 30 must ruin what the head has learned"
    for name, value in frozen.model.state_dict().items():
        assert torch.equal(both.model.state_dict()[name], value), name


def test_training_again_goes_through_both_phases(nasty_store: Store, tasks: Mapping[str, EntityTask]) -> None:
    changes = {"unfreeze": "after_head", "ema_decay": 0.8}
    run = make(nasty_store, tasks[POINTS], "finetuned", refit=True, **changes)
    trained = run.train()
    rows, predicted = np.arange(len(run.inputs.split("train"))), run.predict(run.model, "val")
    again = run.out_of_fold([Fold(train=rows, validation=rows)], trained.course)
    assert np.array_equal(run.predict(run.model, "val"), predicted), "the model must be left as it was"
    assert np.array_equal(again, run.predict(run.model, "train")), "the same labels must give the same model"


def test_scratch_and_frozen_have_one_course_of_one_phase(nasty_store: Store, tasks: Mapping[str, EntityTask]) -> None:
    for arm in ("scratch", "frozen"):
        first, plain = (make(nasty_store, tasks[WINS], arm, unfreeze=when) for when in ("after_head", "at_once"))
        assert first.train() == plain.train()
        assert all(torch.equal(w, plain.model.state_dict()[n]) for n, w in first.model.state_dict().items())


@pytest.mark.parametrize("name", [WINS, POINTS])
def test_the_better_of_both_courses_is_kept(nasty_store: Store, tasks: Mapping[str, EntityTask], name: str) -> None:
    runs = {
        when: make(nasty_store, tasks[name], "finetuned", unfreeze=when) for when in ("after_head", "at_once", "best")
    }
    trained = {when: run.train() for when, run in runs.items()}
    first, second = trained["after_head"], trained["at_once"]
    is_first = first.val >= second.val if name == WINS else first.val <= second.val
    chosen = "after_head" if is_first else "at_once"
    assert (trained["best"].val, trained["best"].course) == (trained[chosen].val, trained[chosen].course)
    assert trained["best"].steps == first.steps + second.steps
    for parameter, value in runs[chosen].model.state_dict().items():
        assert torch.equal(runs["best"].model.state_dict()[parameter], value), parameter
