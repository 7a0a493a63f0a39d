"""Ctrl-C on a run, by the command in a process of its own, as a terminal sends it: to all processes of the group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from relbench.load import RelBenchDataset

from distributed.commands.command_line import Command, run
from distributed.runs.journal import Journal
from distributed.runs.status import run_status, status_text
from rdl_core.graph.store import Store
from tests import own_environment
from tests.distributed.small_runs import SMALL_SAMPLES


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C reaches this process and those that it starts, also where these tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.ray
def test_ctrl_c_ends_a_run_with_a_line_a_status_and_no_process_left(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "distributed", "pretrain", "--data", str(nasty_dataset.dataset_dir)),
        *("--stores-dir", str(nasty_store.path.parent), "--runs-dir", str(tmp_path / "runs"), "--run-name", "r"),
        *(
            "--max-steps",
            "100000",
            *SMALL_SAMPLES,
            "--validation-interval-steps",
            "100000",
            "--validation-samples",
            "2",
        ),
        *("--wandb", "False", "--json"),
    ]
    journal = Journal(tmp_path / "runs" / "r")
    run = subprocess.Popen(
        command,
        env=own_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
    )
    started: list[psutil.Process] = []
    try:
        end = time.monotonic() + 240
        while journal.reached() < 2:
            assert run.poll() is None and time.monotonic() < end, "no step within 240 s"
            time.sleep(0.05)
        started = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=120)
        left = psutil.wait_procs(started, timeout=10)[1]
    finally:
        for process in [*started, *([run] if run.poll() is None else [])]:
            if isinstance(process, subprocess.Popen) or process.is_running():
                process.kill()
    assert (run.returncode, out) == (130, ""), err
    (event,) = journal.events("interrupted")
    assert f"interrupted at step {event['step']} of 100000; the same command goes on from step 0" in err
    assert event["step"] >= 2 and "Traceback" not in err
    assert not left
    status = run_status(journal.path.parent)
    assert status["state"] == "interrupted"
    assert "interrupted by Ctrl-C" in status_text(status)


@dataclass
class Interrupted:
    """Options of a command at which somebody presses Ctrl-C."""

    json: bool = True


def press(options: Interrupted) -> dict[str, Any]:
    signal.raise_signal(signal.SIGINT)
    return {}


def test_ctrl_c_on_any_command_is_a_line_and_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Command(options=Interrupted, runner=f"{__name__}:press"), Interrupted()) == 130
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "interrupted; the same command starts again")
