"""The table of a sweep fits a terminal whatever trials say."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tune.results.ledger import Ledger
from tune.results.live_table import LiveTable
from tune.sweep_plan import SweepPlan, base_config, with_trials


def test_the_table_is_a_screen_with_running_trials_first_and_reasons_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(width=80, height=24, file=io.StringIO(), force_terminal=True, color_system=None)
    monkeypatch.setattr("tune.results.live_table.console", screen)
    names = [f"{k:02d}" for k in range(48)]
    ledger = Ledger(tmp_path / "events.jsonl", names)
    for name in names[:40]:
        ledger.append("started", name)
        ledger.append("result", name, step=100, best_loss=1.0, stop=True, finished="", seconds=4.0)
    ledger.append("failed", "40", status="failed", reason="ValueError: [/red] is no\ntag " + 200 * "x")
    ledger.append("started", "41")
    setting = {"backbone.num_layers": 2, "backbone.rows.model": "linear"}
    plan = SweepPlan(folder=tmp_path, store_path="", base=base_config("robust", max_steps=400), trials=[])
    table = LiveTable(ledger, with_trials(plan, [setting] * 48, seeds=1))
    screen.print(table.render())
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines if "running" in line or "stopped" in line][:2] == [
        ["41", "running"], ["00", "stopped"],
    ]  # fmt: skip
    text = "\n".join(lines)
    assert "41 of 48 trials ended, 6 waiting" in text
    assert "2, linear" in text
    assert "setting: num_layers, rows" in text
    assert "and 32 more" in text
    monkeypatch.setattr("tune.results.live_table.console", Console(width=120, height=80, file=io.StringIO()))
    other = Console(width=120, height=80, file=io.StringIO())
    other.print(table.render())
    assert "ValueError: [/red] is no tag xxx" in other.file.getvalue()  # type: ignore[attr-defined]
