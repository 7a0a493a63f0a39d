"""What a crash, a full disk and several processes leave in a log of events."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.runs.event_log import EventLog
from tests import REPOSITORY

WRITER = """
import sys
from pathlib import Path
from distributed.runs.event_log import EventLog

log, number = EventLog(Path(sys.argv[1])), 0
while True:
    number += 1
    log.append("step", writer=sys.argv[2], number=number, text="x" * 3000)
    print(number, flush=True)
"""


def test_events_come_back_as_they_were_appended_in_order(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.jsonl")
    assert log.events() == []
    appended = [log.append(name, text="é\n", where=tmp_path) for name in ("a", "b", "a")]
    assert EventLog(tmp_path / "log.jsonl").events() == appended
    assert log.events("a") == [appended[0], appended[2]]


@pytest.mark.parametrize("torn", [b'{"time_s": 1.0, "event": "resu', b'{"text": "\xc3', b'{"event": "whole"}'])
def test_a_line_that_a_crash_cut_short_is_skipped_and_spoils_none(tmp_path: Path, torn: bytes) -> None:
    log = EventLog(tmp_path / "log.jsonl")
    first = log.append("first")
    with log.path.open("ab") as file:
        file.write(torn)
    whole = [{"event": "whole"}] if torn.endswith(b"}") else []
    assert log.events() == [first, *whole]
    following = log.append("next")
    assert log.events() == [first, *whole, following]


def test_killed_writers_lose_nothing_that_was_appended_and_mix_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True, env=environment
        )
        for name in "ab"
    ]
    said = dict.fromkeys("ab", 0)
    for _ in range(20):
        for name, writer in zip("ab", writers, strict=True):
            assert writer.stdout is not None
            said[name] = int(writer.stdout.readline())
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    for name, least in said.items():
        numbers = [entry["number"] for entry in EventLog(path).events() if entry["writer"] == name]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= least


def test_an_event_that_does_not_fit_on_the_disk_is_an_error_and_not_in_the_log(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.jsonl")
    first = log.append("first")
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(OSError, match=r"log.jsonl|File too large"):
            log.append("second", text="x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert log.events() == [first]
    third = log.append("third")
    assert log.events() == [first, third]
