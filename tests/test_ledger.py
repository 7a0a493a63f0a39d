"""A sweep's ledger: read back after a kill, and the rungs that follow from it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from tune.asha import ResumableASHA
from tune.ledger import Ledger

TRIALS = ["a", "b", "c", "d"]


def result(ledger: Ledger, trial: str, step: int, loss: float, stop: bool = False, finished: str = "") -> None:
    ledger.append("result", trial, step=step, best_loss=loss, stop=stop, finished=finished)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "events.jsonl", TRIALS)
    for trial in "abc":
        ledger.append("started", trial)
        result(ledger, trial, 0, 3.0)
    result(ledger, "a", 10, 2.0, finished="max_steps")
    result(ledger, "b", 5, 2.5, stop=True)
    ledger.append("failed", "c", status="hung", reason="no step")
    return ledger


def test_a_ledger_is_read_back_as_it_was_written(ledger: Ledger) -> None:
    again = Ledger(ledger.path, TRIALS)
    assert again.records == ledger.records
    assert {t: (r.status, r.steps, r.metric) for t, r in again.records.items()} == {
        "a": ("finished", 10, 2.0), "b": ("stopped", 5, 2.5), "c": ("hung", 0, 3.0), "d": ("pending", 0, None),
    }  # fmt: skip
    assert again.unfinished() == ["d"]


def test_half_a_line_of_a_killed_driver_is_cut_off_and_the_ledger_goes_on(ledger: Ledger) -> None:
    text = ledger.path.read_text()
    ledger.path.write_text(text + '{"event": "result", "trial": "d", "st')
    half = ledger.path.read_text()
    assert Ledger(ledger.path, TRIALS).records == ledger.records
    assert ledger.path.read_text() == half, "a report does not touch what a driver may be writing"
    again = Ledger(ledger.path, TRIALS, mend=True)
    assert again.records == ledger.records
    again.append("started", "d")
    assert ledger.path.read_text().startswith(text)
    assert Ledger(ledger.path, TRIALS).records["d"].status == "running"


def trial(name: str, tune_id: str) -> Any:
    return SimpleNamespace(trial_id=tune_id, config={"trial": name})


def decisions(scheduler: ResumableASHA, order: list[tuple[str, int, float]], session: str, ids: set[str]) -> list[str]:
    """What the scheduler says to each (trial, step, loss) in a session of Tune, which has its own ids of trials."""
    for name in sorted(ids):
        scheduler.on_trial_add(None, trial(name, session + name))
    return [
        scheduler.on_trial_result(None, trial(name, session + name), {"step": step, "best_loss": loss})  # type: ignore[arg-type]
        for name, step, loss in order
    ]


@pytest.mark.parametrize("killed_after", range(13))
def test_rungs_filled_from_a_ledger_decide_as_those_that_were_never_lost(killed_after: int, tmp_path: Path) -> None:
    order = [
        ("a", 5, 2.0), ("b", 5, 1.5), ("c", 5, 1.7), ("b", 10, 1.4), ("d", 5, 1.0), ("e", 5, 1.9), ("a", 10, 1.2), ("d", 10, 1.3),
        ("f", 5, 1.1), ("f", 10, 1.6), ("a", 20, 1.1), ("b", 20, 1.2), ("d", 20, 0.9),
    ]  # fmt: skip
    names = {name for name, _, _ in order}
    settings: dict[str, Any] = {"first_rung": 5, "max_steps": 40, "reduction_factor": 2.0}
    whole = decisions(ResumableASHA([], **settings), order, "x", names)
    assert {TrialScheduler.STOP, TrialScheduler.CONTINUE} == set(whole)
    ledger = Ledger(tmp_path / "events.jsonl", sorted(names))
    for name in names:
        ledger.append("started", name)
    for name, step, loss in order[:killed_after]:
        result(ledger, name, step, loss)
    resumed = ResumableASHA(Ledger(ledger.path, sorted(names)).results(), **settings)
    assert decisions(resumed, order[killed_after:], "y", names) == whole[killed_after:]
