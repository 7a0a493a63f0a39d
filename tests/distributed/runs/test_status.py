"""What a person learns of a run from its folder and from a job's log; journals as real runs wrote them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distributed.__main__ import main
from distributed.runs.journal import Journal
from distributed.runs.status import SILENT_S, run_status, status_text
from distributed.runs.watch import event_line, watched
from distributed.training.controller_callbacks import GiveUp
from distributed.training.failures import RunFailedError
from rdl_core.pretraining.state import TrainState
from tests import REPOSITORY

RESIZED = """\
{"time_s": 1795281476.3, "event": "driver", "workers": 1, "max_workers": 2}
{"time_s": 1795281518.6, "event": "group", "workers": 2, "pid": 14973}
{"time_s": 1795281518.8, "event": "resumed", "step": 0, "reached": 0, "wasted_steps": 0}
{"time_s": 1795281522.1, "event": "validated", "step": 0}
{"time_s": 1795281523.0, "event": "committed", "step": 0, "reached": 0}
{"time_s": 1795281549.7, "event": "stepped", "step": 1}
{"time_s": 1795281553.1, "event": "committed", "step": 20, "reached": 20}
{"time_s": 1795281554.5, "event": "failure", "rank": 1, "error": "RuntimeError: [/gloo/pair.cc:537]\\n[127.0.0.1]:19366: reset", "committed_step": 20}
{"time_s": 1795281602.5, "event": "group", "workers": 1, "pid": 17530}
{"time_s": 1795281602.8, "event": "resumed", "step": 20, "reached": 26, "wasted_steps": 6}
{"time_s": 1795281635.5, "event": "stepped", "step": 21}
{"time_s": 1795281674.4, "event": "group", "workers": 2, "pid": 18871}
{"time_s": 1795281674.8, "event": "resumed", "step": 70, "reached": 80, "wasted_steps": 10}
{"time_s": 1795281692.8, "event": "stepped", "step": 71}
{"time_s": 1795281713.8, "event": "validated", "step": 200, "rows_per_s": 9426.7, "steps_per_s": 10.0, "data_wait_share": 0.0031}
"""
"""Of a run whose second worker was killed and came back; times and texts shortened."""
NOW_S = 1795281720.0


def write_run(folder: Path, lines: str = RESIZED, *, reached: int = 210) -> Path:
    """A run folder as a run leaves it at NOW_S: 200 of 300 steps, its checkpoint of step 200."""
    checkpoint = folder / "train" / "checkpoint_1"
    checkpoint.mkdir(parents=True)
    history = [
        {"step": 0, "validation/row": 1.0},
        {"step": 200, "validation/row": 0.29, "validation/link": 0.2, "validation/context": 0.34},
    ]
    state = TrainState(step=200, best_loss=0.83, best_step=200, best={"validation/row": 0.29}, history=history)
    (checkpoint / "state.json").write_text(json.dumps(dataclasses.asdict(state)))
    (checkpoint / "run.json").write_text(json.dumps({"config": {"max_steps": 300}}))
    snapshot = {"latest_checkpoint_result": {"checkpoint_dir_name": "checkpoint_1"}}
    (folder / "train" / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    (folder / "config.json").write_text(json.dumps({"command": "pretrain", "pretraining": {"max_steps": 300}}))
    (folder / "journal.jsonl").write_text(lines)
    Journal(folder).reach(reached)
    for path in (checkpoint, folder / "reached", folder / "config.json"):
        os.utime(path, (NOW_S - 4, NOW_S - 4))
    return folder


def test_a_running_run_tells_step_losses_checkpoint_and_restarts_with_reason(tmp_path: Path) -> None:
    status = run_status(write_run(tmp_path / "r"), NOW_S)
    assert (status["state"], status["step"], status["max_steps"], status["workers"]) == ("running", 210, 300, 2)
    assert status["losses"] == {
        "step": 200,
        "validation/row": 0.29,
        "validation/link": 0.2,
        "validation/context": 0.34,
    }
    assert status["checkpoint"] == str(tmp_path / "r" / "train" / "checkpoint_1")
    assert status["silent_s"] == pytest.approx(4.0)
    lost, grown = status["restarts"]
    assert (lost["step"], lost["wasted_steps"]) == (20, 6)
    assert lost["why"].startswith("rank 1: RuntimeError: [/gloo/pair.cc:537] [127.0.0.1]:19366")
    assert (grown["step"], grown["why"], grown["wasted_steps"]) == (70, "1 → 2 workers", 10)
    text = status_text(status)
    assert "step       210 of 300" in text
    assert "step 200: row 0.290 link 0.200 context 0.340" in text
    assert "from step 70, 10 steps done again: 1 → 2 workers" in text


def test_a_run_without_a_configuration_tells_its_steps_by_its_checkpoint(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    (folder / "config.json").unlink()
    assert run_status(folder, NOW_S)["max_steps"] == 300


def test_a_run_without_a_sign_of_life_is_silent_and_one_that_gave_up_failed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    later = run_status(folder, NOW_S + SILENT_S)
    assert later["state"] == "silent"
    assert "no sign of life for 304 s: dead, hung, or waiting" in status_text(later)
    with pytest.raises(RunFailedError):
        GiveUp(folder).after_exception(None, {1: ValueError("a wrong row")})
    assert run_status(folder)["state"] == "failed"
    assert "rank 1: ValueError: a wrong row" in status_text(run_status(folder))


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ({"event": "failure", "rank": 0, "error": "ActorDiedError: gone"}, "restarting"),
        ({"event": "driver", "workers": 2}, "starting"),
        ({"event": "group", "workers": 2}, "running"),
        ({"event": "finished", "step": 300, "why": "max_steps"}, "finished"),
    ],
)
def test_the_state_is_that_of_the_last_event(tmp_path: Path, last: dict[str, object], state: str) -> None:
    line = json.dumps({"time_s": NOW_S - 3, **last}) + "\n"
    assert run_status(write_run(tmp_path / "r", RESIZED + line), NOW_S)["state"] == state


def test_a_second_start_of_the_command_is_a_restart_of_its_own(tmp_path: Path) -> None:
    begun = "".join(RESIZED.splitlines(keepends=True)[:6])
    again = [
        {"event": "driver", "workers": 2},
        {"event": "group", "workers": 2},
        {"event": "resumed", "step": 5, "reached": 9, "wasted_steps": 4},
        {"event": "stepped", "step": 6},
    ]
    lines = [json.dumps({"time_s": NOW_S - 100 + 20 * i, **event}) + "\n" for i, event in enumerate(again)]
    (restart,) = run_status(write_run(tmp_path / "r", begun + "".join(lines)), NOW_S)["restarts"]
    assert (restart["why"], restart["wasted_steps"]) == ("the command was run again", 4)


def test_the_command_finds_a_run_by_name_prints_json_and_names_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "r")
    assert main(["status", "r", "--runs-dir", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["step"] == 210
    assert "[127.0.0.1]:19366" in err  # brackets of an error are no markup
    assert main(["status", "other", "--runs-dir", str(tmp_path)]) == 2
    assert "runs beside it: r" in capsys.readouterr().err


def test_status_loads_neither_torch_nor_ray(tmp_path: Path) -> None:
    write_run(tmp_path / "r")
    program = """
import sys
from pathlib import Path
from distributed.runs.status import run_status, status_text
print(status_text(run_status(Path(sys.argv[1]))), [name for name in ("torch", "ray") if name in sys.modules])
"""
    command = [sys.executable, "-c", program, str(tmp_path / "r")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert "210 of 300" in said
    assert said.endswith(" []\n")


def test_a_jobs_log_says_what_happens_and_leaves_the_rest_out() -> None:
    lines = [event_line(json.loads(line)) for line in RESIZED.splitlines()[6:11]]
    error = "RuntimeError: [/gloo/pair.cc:537] [127.0.0.1]:19366: reset"
    assert [line for line in lines if line] == [
        f"failure on rank 1: {error}; the last checkpoint is of step 20",
        "workers: 1",
        "going on from step 20; 6 steps are done again",
    ]


def test_off_a_terminal_progress_and_new_events_are_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("distributed.runs.watch.POLL_INTERVAL_S", 0.01)
    journal, said = Journal(tmp_path), ""

    def until(line: str) -> None:
        nonlocal said
        end = time.monotonic() + 20
        while line not in said and time.monotonic() < end:
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert line in said

    journal.append("group", workers=9)  # of an earlier driver
    with watched("pretraining", 300, journal):
        journal.append("group", workers=2)
        until("workers: 2")
        journal.reach(30, "training row 0.5")
        until("step 30 of 300 (10%) training row 0.5")
        journal.reach(31, "training row 0.4")
        journal.append("group", workers=1)
        until("workers: 1")
    said += capsys.readouterr().err
    assert "workers: 9" not in said
    assert "step 31 of 300" not in said, "a line of progress came sooner than every LOG_INTERVAL_S"
