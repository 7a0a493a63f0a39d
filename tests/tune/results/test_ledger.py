"""A sweep's ledger: read back after a kill, and the rungs that follow from it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions
from ray.tune.schedulers import TrialScheduler

from tune.results.ledger import MAX_DEATHS, Ledger, TrialRecord
from tune.results.live_table import LiveTable
from tune.results.recorder import Recorder, why_it_ended
from tune.results.wandb_runs import TrialRuns
from tune.sweep_plan import SweepPlan, Trial, base_config
from tune.trials.asha import ResumableASHA
from tune.trials.trial import is_machines

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


def test_a_trial_whose_process_died_has_not_ended_and_its_deaths_are_counted(ledger: Ledger) -> None:
    ledger.append("failed", "d", status="died", reason="no node for it")  # before it started
    ledger.append("started", "d")
    result(ledger, "d", 0, 3.0)
    ledger.append("failed", "d", status="died", reason="killed")
    assert (ledger.unfinished(), ledger.died(), ledger.records["d"].deaths) == (["d"], ["d"], 2)
    assert Ledger(ledger.path, TRIALS).records == ledger.records
    ledger.append("started", "d")
    result(ledger, "d", 10, 1.0, finished="max_steps")
    assert (ledger.records["d"].status, ledger.records["d"].reason, ledger.died()) == ("finished", "", [])


def test_start_up_is_counted_from_the_start_that_gave_the_first_result() -> None:
    record = TrialRecord("a")
    for time_s in (100.0, 200.0):  # it was killed at 100 before its first result
        record.add({"event": "started", "time_s": time_s})
    record.add({"event": "result", "time_s": 205.0, "fit_began_s": 203.0, "step": 0, "finished": "", "stop": False})
    record.add({"event": "started", "time_s": 300.0})
    assert record.start_up_s == 3.0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"hang.txt": ""}, ("died", "its process died: The actor is dead because of X.")),
        ({"hang.txt": "step 12, 'validated' being the last word of its journal\n"}, ("hung", "no step for too long; it stood at step 12, ")),
        ({"error.json": '{"type": "ValueError", "message": "no", "by_machine": false}'}, ("failed", "ValueError: no")),
        ({"error.json": '{"type": "ActorDiedError", "message": "node", "by_machine": true}'}, ("died", "ActorDiedError: node")),
    ],
)  # fmt: skip
def test_only_what_machines_did_to_a_trial_leaves_it_resumable(
    files: dict[str, str], expected: tuple[str, str], tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    errors = (
        "Failure # 1 (occurred at 2026-01-01)\nan earlier one\nFailure # 2 (occurred at 2026-01-02)\nThe actor died.\n\tpid\n"
        "The actor is dead because of X. Some common causes include: Y"
    )
    status, reason = why_it_ended(tmp_path, errors)
    assert status == expected[0]
    assert reason.startswith(expected[1])


def test_a_report_leaves_out_a_trial_that_was_added_while_it_read(tmp_path: Path) -> None:
    driver = Ledger(tmp_path / "events.jsonl", ["a", "b"])
    for trial in ("a", "b"):
        driver.append("started", trial)
    assert list(Ledger(tmp_path / "events.jsonl", ["a"]).records) == ["a"]
    with pytest.raises(KeyError):
        Ledger(tmp_path / "events.jsonl", ["a"], mend=True)  # a driver knows its trials


def test_a_trial_that_dies_again_and_again_has_failed_and_none_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "events.jsonl", ["a", "b"])
    base = base_config("robust", max_steps=8)
    trials = [Trial(id=name, setting={}, seed=0, config=base) for name in ("a", "b")]
    plan = SweepPlan(folder=tmp_path, store_path="", base=base, trials=trials, wandb=False)
    recorder = Recorder(ledger, tmp_path, TrialRuns(plan), LiveTable(ledger, plan), None)
    lost: Any = SimpleNamespace(config={"trial": "a"}, error_file=None)
    for deaths in range(1, MAX_DEATHS):
        recorder.on_trial_error(0, [], lost)
        assert (ledger.records["a"].status, ledger.records["a"].deaths) == ("died", deaths)
    recorder.on_trial_error(0, [], lost)
    assert ledger.records["a"].status == "failed"
    assert ledger.records["a"].reason == "died 4 times, at last: its process died: it could not be started"
    recorder.end()  # Tune ended and said nothing of b
    assert ledger.died() == ["b"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ray.exceptions.ActorDiedError(), True), (ConnectionResetError("by peer"), True), (ValueError("no"), False),
        (ray.exceptions.RayTaskError("f", "trace", ValueError("no")), False), (FloatingPointError("nan"), False),
    ],
)  # fmt: skip
def test_errors_of_our_code_are_no_machines(error: Exception, expected: bool) -> None:
    assert is_machines(error) is expected


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
