"""What is known of a run after its crashes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distributed.runs.journal import TEXT_BYTES, Journal
from distributed.training.throughput import Throughput
from rdl_core.communicator import SingleProcess


def test_a_line_that_a_crash_cut_short_is_skipped_and_the_rest_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("group", workers=2)
    with journal.path.open("a") as file:
        file.write('{"time_s": 1.0, "event": "resu')
    assert [e["workers"] for e in journal.events("group")] == [2]
    assert journal.events("resumed") == []
    journal.append("group", workers=1)  # as after a full disk, once there is room again
    assert [e["workers"] for e in journal.events("group")] == [2, 1]


def test_the_newest_step_is_the_last_written_also_after_going_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.reached() == 0
    for step, text in ((9, "training row 0.500"), (1000, "validated " + "long " * 99), (12, "row"), (11, "")):
        journal.reach(step, text)
        assert Journal(tmp_path).reached() == step
        assert journal.shown() == (step, text[:TEXT_BYTES].strip())


def test_restarts_and_wasted_steps_are_those_of_all_groups_but_the_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.survival() == {"restarts": 0, "wasted_steps": 0}
    for step, reached in ((0, 0), (10, 14), (20, 21)):
        journal.reach(reached)
        journal.resume(step)
    assert journal.survival() == {"restarts": 2, "wasted_steps": 5}
    journal.resume(20)
    assert journal.survival() == {"restarts": 3, "wasted_steps": 5}, (
        "a group that dies before its first step wastes none"
    )


def test_waiting_counts_the_time_until_items_come_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("distributed.training.throughput.time.perf_counter", lambda: now_s[0])

    def items():  # type: ignore[no-untyped-def]
        for _ in range(3):
            now_s[0] += 1.0
            yield "sample"

    throughput = Throughput(SingleProcess(), torch.device("cpu"))
    assert throughput.over_all() == {}
    for _ in throughput.waiting(items()):
        now_s[0] += 3.0
        throughput.add(36)
    assert throughput.over_all() == {"rows_per_s": 9.0, "steps_per_s": 3 / 12, "data_wait_share": 0.25}
