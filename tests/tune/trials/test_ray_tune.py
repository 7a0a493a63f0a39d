"""ASHA's rungs after a kill of the driver."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from tune.results.ledger import Ledger
from tune.trials.ray_tune import ResumableASHA


def trial(name: str, tune_id: str) -> Any:
    return SimpleNamespace(trial_id=tune_id, config={"trial": name})


def decisions(scheduler: ResumableASHA, order: list[tuple[str, int, float]], session: str, ids: set[str]) -> list[str]:
    """Returns what the scheduler says to each (trial, step, loss) in a session of Tune, which has its own ids of trials."""
    for name in sorted(ids):
        scheduler.on_trial_add(None, trial(name, session + name))
    return [
        scheduler.on_trial_result(None, trial(name, session + name), {"step": step, "best_loss": loss})  # type: ignore[arg-type]
        for name, step, loss in order
    ]


@pytest.mark.parametrize("killed_after", range(13))
def test_rungs_filled_from_a_ledger_decide_as_those_that_were_never_lost(killed_after: int, tmp_path: Path) -> None:
    order = [
        ("a", 5, 2.0),
        ("b", 5, 1.5),
        ("c", 5, 1.7),
        ("b", 10, 1.4),
        ("d", 5, 1.0),
        ("e", 5, 1.9),
        ("a", 10, 1.2),
        ("d", 10, 1.3),
        ("f", 5, 1.1),
        ("f", 10, 1.6),
        ("a", 20, 1.1),
        ("b", 20, 1.2),
        ("d", 20, 0.9),
    ]
    names = {name for name, _, _ in order}
    settings: dict[str, Any] = {"first_rung": 5, "max_steps": 40, "reduction_factor": 2.0}
    whole = decisions(ResumableASHA([], **settings), order, "x", names)
    assert {TrialScheduler.STOP, TrialScheduler.CONTINUE} == set(whole)
    ledger = Ledger(tmp_path / "events.jsonl", sorted(names))
    for name in names:
        ledger.append("started", name)
    for name, step, loss in order[:killed_after]:
        ledger.append("result", name, step=step, best_loss=loss, stop=False, finished="")
    resumed = ResumableASHA(Ledger(tmp_path / "events.jsonl", sorted(names)).results(), **settings)
    assert decisions(resumed, order[killed_after:], "y", names) == whole[killed_after:]
