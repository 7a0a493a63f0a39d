"""Which errors of a trial are a machine's, and what Tune is told of its validations."""

from __future__ import annotations

import random

import pytest
import ray.exceptions

from rdl_core.contrast import LEVELS
from rdl_core.graph.store import Store
from rdl_core.pretraining import pretrain_here
from rdl_core.pretraining.state import TrainState
from rdl_core.pretraining.validation import validation_loss
from tests.tune.sweep_plans import small_base
from tune.trials.trial import is_machine_error, results_of


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ray.exceptions.ActorDiedError(), True),
        (ConnectionResetError("by peer"), True),
        (ValueError("no"), False),
        (ray.exceptions.RayTaskError("f", "trace", ValueError("no")), False),
        (FloatingPointError("nan"), False),
    ],
)
def test_errors_of_our_code_are_no_machine_errors(error: Exception, expected: bool) -> None:
    assert is_machine_error(error) is expected


def test_tune_is_told_the_loss_that_the_run_chose_its_best_by_to_the_last_bit(nasty_store: Store) -> None:
    _, state = pretrain_here(nasty_store, small_base(8))
    assert results_of(state, LEVELS)[-1]["best_loss"] == state.best_loss


def test_the_loss_of_whole_validations_is_their_plain_sum_to_the_last_bit() -> None:
    numbers = random.Random(0)
    for _ in range(100):
        metrics = {f"validation/{level}": numbers.random() for level in LEVELS}
        assert validation_loss(metrics) == sum(metrics.values())


def test_a_validation_that_lacks_a_level_does_not_look_better_to_tune() -> None:
    whole = {f"validation/{level}": 0.9 for level in LEVELS}
    told = results_of(TrainState(history=[{"step": 1, **whole}, {"step": 2, "validation/row": 0.9}]), LEVELS)
    assert [entry["best_loss"] for entry in told] == [sum(whole.values())] * 2
