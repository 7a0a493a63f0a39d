"""The watch over Ray Train runs of trials: a silent journal ends the process that waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests import REPOSITORY

WAITING = """
import json, os, sys, time
from pathlib import Path
from distributed.runs.journal import Journal
from tune.trials.watchdog import ended_when_silent

def wait_for_run(folder, quiet_s, events):
    folder.mkdir()
    Journal(folder).append("stepped")  # of an earlier start of the trial
    with ended_when_silent(folder, after_s=1.5):
        for step, event in enumerate(events):
            Journal(folder).append(event)
            Journal(folder).reach(step)
            time.sleep(0.05)
        time.sleep(quiet_s)

processes = {}
for name, (quiet_s, events) in json.loads(sys.argv[2]).items():
    if not (pid := os.fork()):  # what is imported above is imported once
        wait_for_run(Path(sys.argv[1]) / name, quiet_s, events)
        os._exit(0)
    processes[name] = pid
print(json.dumps({name: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for name, pid in processes.items()}))
"""


def test_only_a_run_that_was_under_way_and_says_nothing_more_is_ended(tmp_path: Path) -> None:
    cases = {
        "silent": (300, ["driver", "group", "resumed", "stepped", "validated"]),  # ended long before
        "starting": (2.2, ["driver", "group", "resumed", "validated", "committed"]),  # validated before its first step
        "starting_again": (2.2, ["driver", "group", "resumed", "stepped", "failure", "group"]),
    }
    command = [sys.executable, "-c", WAITING, str(tmp_path), json.dumps(cases)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert json.loads(done.stdout) == {"silent": 1, "starting": 0, "starting_again": 0}, done.stderr
    text = (tmp_path / "silent" / "hang.txt").read_text()
    assert text == "step 4, 'validated' being the last word of its journal\n"
    assert not (tmp_path / "starting" / "hang.txt").exists()
