"""What is known of a run after its crashes."""

from __future__ import annotations

from pathlib import Path

from distributed.runs.journal import TEXT_BYTES, Journal


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
