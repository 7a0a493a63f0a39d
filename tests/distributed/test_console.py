"""What people see while they wait."""

from __future__ import annotations

import pytest

from distributed.console import bar, loss_text, say


def test_the_three_levels_are_shown_in_order_whatever_their_prefix() -> None:
    metrics = {"validation/context": 0.6, "effective_rank": 9.0, "train/row": 0.5, "link": 0.25}
    assert loss_text(metrics) == "row 0.500 link 0.250 context 0.600"
    assert loss_text({}) == ""


def test_messages_and_bars_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("[0, 1] of 2")
    with bar() as progress:
        progress.update(progress.add_task("working", total=3, text=""), completed=3, text="all done")
    out, err = capsys.readouterr()
    assert out == ""
    assert "[0, 1] of 2" in err
