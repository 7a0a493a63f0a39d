"""What a fine-tuning run tells of itself, and the lines that people read of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from distributed.finetuning.curve import draw_curve
from distributed.runs.finetuning_journal import FinetuningJournal, begin_phase, curve
from distributed.runs.journal import Journal
from distributed.runs.status import restarts, run_status, status_text
from distributed.runs.watch_finetuning import progress_line, watched_finetuning


def told(folder: Path) -> Journal:
    """The journal of a run of six updates with a refit behind it."""
    journal = FinetuningJournal(folder, "mae", ["refit", "heads"])
    journal.phase("training", 600, 512)
    for step in range(1, 7):
        journal.step(step, 1.0 / step)
        if step % 2 == 0:
            journal.validation(step, {2: 3.0, 4: 2.0, 6: 2.5}[step])
    journal.phase("refit", 5, 512)
    journal.step(1, 0.5)
    return journal.journal


def test_the_journal_has_phases_and_validations_with_the_best_and_the_mean_loss(tmp_path: Path) -> None:
    journal = told(tmp_path)
    phases = [(e["name"], e["steps"], e["labels"], e["then"]) for e in journal.events("phase")]
    assert phases == [("training", 600, 512, ["refit", "heads"]), ("refit", 5, 512, ["heads"])]
    validated = journal.events("validated")
    assert [(e["step"], e["value"], e["best"], e["best_step"]) for e in validated] == [
        *((2, 3.0, 3.0, 2), (4, 2.0, 2.0, 4), (6, 2.5, 2.0, 4))
    ]
    assert [e["loss"] for e in validated] == pytest.approx([3 / 4, 7 / 24, 11 / 60])
    assert [(e["step"], e["wasted_steps"]) for e in journal.events("resumed")] == [(0, 0)]


def test_a_run_that_goes_on_says_from_where_what_it_does_again_and_what_was_best_before(tmp_path: Path) -> None:
    killed = FinetuningJournal(tmp_path, "mae", [])
    killed.phase("training", 600, 512)
    for step, value in ((2, 3.0), (4, 2.0), (6, 1.0)):
        killed.step(step - 1, 0.5)
        killed.step(step, 0.5)
        killed.validation(step, value)
    again = FinetuningJournal(tmp_path, "mae", [])
    again.phase("training", 600, 512)
    again.step(5, 0.2)
    again.step(6, 0.2)
    again.validation(6, 2.25)
    resumed = [(e["step"], e["wasted_steps"]) for e in again.journal.events("resumed")]
    assert resumed == [(0, 0), (4, 2)]
    validated = [(e["step"], e["value"], e["best"], e["best_step"]) for e in curve(again.journal)]
    assert validated == [(2, 3.0, 3.0, 2), (4, 2.0, 2.0, 4), (6, 2.25, 2.0, 4)]
    assert [event["step"] for event in restarts(again.journal.events())] == [4]


def test_a_line_says_what_goes_on_how_far_it_is_and_what_comes_next(tmp_path: Path) -> None:
    journal = told(tmp_path)
    training, refit = journal.events("phase")
    step, text = journal.shown()
    assert text.startswith("loss 0.500, val mae 2.5000, best 2.0000 at step 4, ") and text.endswith(" labels/s")
    line = progress_line(training, 120, "loss 0.532", training["time_s"] + 95)
    assert line == "training, step 120 of at most 600 (20%), loss 0.532, 95 s; then refit, heads"
    assert progress_line(refit, step, text, refit["time_s"]).startswith("refit, step 1 of at most 5 (20%), loss 0.500")
    begin_phase(journal, "heads", 0, ())
    heads = journal.events("phase")[-1]
    assert progress_line(heads, 0, "columns of train", heads["time_s"] + 31) == "heads, columns of train, 31 s"


def test_a_log_has_a_line_at_each_interval_whether_or_not_a_step_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("distributed.runs.watch_finetuning.LOG_INTERVAL_S", 0.05)
    monkeypatch.setattr("distributed.runs.watch.POLL_INTERVAL_S", 0.02)
    with watched_finetuning({"churn scratch": Journal(tmp_path), "not begun": Journal(tmp_path / "none")}):
        told(tmp_path)
        time.sleep(0.4)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("churn scratch: refit, step 1 of")
    ]
    assert len(lines) >= 3
    assert all("; then heads" in line for line in lines)


def test_the_curve_is_drawn_also_of_nothing(tmp_path: Path) -> None:
    journal = told(tmp_path)
    sizes = []
    for name, validations in (("none", []), ("all", curve(journal))):
        path = draw_curve(validations, {"trivial": {"val": 2.6}}, tmp_path / f"{name}.png")
        sizes.append(path.stat().st_size)
    assert 5_000 < sizes[0] < sizes[1]


def test_the_status_of_a_run_has_its_steps_of_training_what_goes_on_and_the_last_validation(tmp_path: Path) -> None:
    told(tmp_path).reach(9)  # of the refit, which is no training
    status = run_status(tmp_path)
    assert (status["state"], status["step"], status["max_steps"]) == ("running", 6, 600)
    assert status["phase"] == {"name": "refit", "then": ["heads"]}
    shown = [" ".join(line.split()) for line in status_text(status).splitlines()]
    assert "step 6 of 600" in shown
    assert "phase refit; then heads" in shown
    assert "validated step 6: mae 2.5000, best 2.0000 at step 4" in shown
