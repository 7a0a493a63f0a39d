"""The driver records trials that end in each way, and says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rdl_core.config import contrast
from tune.results.ledger import MAX_DEATHS, Ledger
from tune.results.trial_recorder import TrialRecorder, why_it_ended
from tune.results.wandb_runs import TrialRuns
from tune.sweep_plan import SweepPlan, Trial, base_config


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"hang.txt": ""}, ("died", "its process died: The actor is dead because of X.")),
        (
            {"hang.txt": "step 12, 'validated' being the last word of its journal\n"},
            ("hung", "no step for too long; it stood at step 12, "),
        ),
        ({"error.json": '{"type": "ValueError", "message": "no", "by_machine": false}'}, ("failed", "ValueError: no")),
        (
            {"error.json": '{"type": "ActorDiedError", "message": "node", "by_machine": true}'},
            ("died", "ActorDiedError: node"),
        ),
    ],
)
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


def test_a_trial_that_dies_again_and_again_has_failed_and_none_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "events.jsonl", ["a", "b"])
    base = base_config(contrast().pretraining, max_steps=8)
    trials = [Trial(id=name, setting={}, seed=0, config=base) for name in ("a", "b")]
    plan = SweepPlan(folder=tmp_path, store_path="", base=base, trials=trials, wandb=False)
    recorder = TrialRecorder(ledger, plan, TrialRuns(plan), None)
    lost: Any = SimpleNamespace(config={"trial": "a"}, error_file=None)
    for deaths in range(1, MAX_DEATHS):
        recorder.on_trial_error(0, [], lost)
        assert (ledger.records["a"].status, ledger.records["a"].deaths) == ("died", deaths)
    recorder.on_trial_error(0, [], lost)
    assert ledger.records["a"].status == "failed"
    assert ledger.records["a"].reason == "died 4 times, at last: its process died: it could not be started"
    recorder.end()  # Tune ended and said nothing of b
    assert ledger.died() == ["b"]


def test_a_line_tells_of_each_trial_that_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = base_config(contrast().pretraining, max_steps=8)
    trials = [Trial(id=name, setting={"backbone.num_layers": 3}, seed=0, config=base) for name in ("a", "b")]
    plan = SweepPlan(folder=tmp_path, store_path="", base=base, trials=trials, wandb=False)
    recorder = TrialRecorder(Ledger(tmp_path / "events.jsonl", ["a", "b"]), plan, TrialRuns(plan), None)
    for name, done in (("a", True), ("b", False)):
        trial: Any = SimpleNamespace(config={"trial": name}, error_file=None)
        recorder.on_trial_start(0, [], trial)
        recorder.on_trial_result(0, [], trial, {"step": 4, "best_loss": 1.5, "finished": "", "done": done})
    said = capsys.readouterr().err.splitlines()
    assert said == ["trial a stopped at step 4, loss 1.5000 (num_layers 3); 1 of 2 trials have ended"]
    recorder.on_trial_error(0, [], trial)
    expected = "trial b died at step 4, loss 1.5000 (num_layers 3): its process died: it could not be started; 1 of 2"
    assert " ".join(capsys.readouterr().err.split()).startswith(expected)
