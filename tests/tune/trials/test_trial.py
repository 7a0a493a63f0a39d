"""Which errors of a trial are a machine's."""

from __future__ import annotations

import pytest
import ray.exceptions

from tune.trials.trial import is_machine_error


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
