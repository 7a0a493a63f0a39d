"""The watch over Ray Train runs of trials: a silent journal ends the process that waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import REPOSITORY

WAITING = """
import sys, time
from pathlib import Path
from distributed.runs.journal import Journal
from tune.trials.watchdog import ended_when_silent
folder, quiet_s, events = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
Journal(folder).append("stepped")  # of an earlier start of the trial
with ended_when_silent(folder, after_s=1.5):
    for step, event in enumerate(events):
        Journal(folder).append(event)
        Journal(folder).reach(step)
        time.sleep(0.05)
    time.sleep(quiet_s)
"""


def test_only_a_run_that_was_under_way_and_says_nothing_more_is_ended(tmp_path: Path) -> None:
    cases = {
        "silent": ["300", "driver", "group", "resumed", "stepped", "validated"],  # ended long before
        "starting": ["2.2", "driver", "group", "resumed", "validated", "committed"],  # validated before its first step
        "starting_again": ["2.2", "driver", "group", "resumed", "stepped", "failure", "group"],
    }
    processes = {}
    for name, arguments in cases.items():
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", WAITING, str(tmp_path / name), *arguments]
        processes[name] = subprocess.Popen(command, cwd=REPOSITORY)
    statuses = {name: process.wait(60) for name, process in processes.items()}
    assert statuses == {"silent": 1, "starting": 0, "starting_again": 0}
    text = (tmp_path / "silent" / "hang.txt").read_text()
    assert text == "step 4, 'validated' being the last word of its journal\n"
    assert not (tmp_path / "starting" / "hang.txt").exists()
