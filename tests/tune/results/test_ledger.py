"""A sweep's ledger is read back after a kill as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune.results.ledger import Ledger

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


def test_a_ledger_is_read_back_as_it_was_written(ledger: Ledger, tmp_path: Path) -> None:
    again = Ledger(tmp_path / "events.jsonl", TRIALS)
    assert again.records == ledger.records
    assert {t: (r.status, r.steps, r.metric) for t, r in again.records.items()} == {
        "a": ("finished", 10, 2.0),
        "b": ("stopped", 5, 2.5),
        "c": ("hung", 0, 3.0),
        "d": ("pending", 0, None),
    }
    assert again.unfinished() == ["d"]


def test_half_a_line_of_a_killed_driver_is_skipped_and_the_ledger_goes_on(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("a") as file:
        file.write('{"event": "result", "trial": "d", "st')
    half = path.read_text()
    again = Ledger(path, TRIALS)
    assert again.records == ledger.records
    assert path.read_text() == half, "reading does not touch what a driver may be writing"
    again.append("started", "d")
    assert path.read_text().startswith(half)
    assert Ledger(path, TRIALS).records["d"].status == "running"


def test_a_trial_whose_process_died_has_not_ended_and_its_deaths_are_counted(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append("failed", "d", status="died", reason="no node for it")  # before it started
    ledger.append("started", "d")
    result(ledger, "d", 0, 3.0)
    ledger.append("failed", "d", status="died", reason="killed")
    assert (ledger.unfinished(), ledger.died(), ledger.records["d"].deaths) == (["d"], ["d"], 2)
    assert Ledger(tmp_path / "events.jsonl", TRIALS).records == ledger.records
    ledger.append("started", "d")
    result(ledger, "d", 10, 1.0, finished="max_steps")
    assert (ledger.records["d"].status, ledger.records["d"].reason, ledger.died()) == ("finished", "", [])


def test_a_report_leaves_out_a_trial_that_was_added_while_it_read(tmp_path: Path) -> None:
    driver = Ledger(tmp_path / "events.jsonl", ["a", "b"])
    for trial in ("a", "b"):
        driver.append("started", trial)
    assert list(Ledger(tmp_path / "events.jsonl", ["a"]).records) == ["a"]
