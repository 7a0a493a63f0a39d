"""The terminal while a sweep runs: a table of trials on a terminal; elsewhere one line a trial when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from distributed.console import console, say
from tune.results.ledger import ENDED, Ledger, TrialRecord
from tune.search_space import Setting
from tune.sweep_plan import SweepPlan

LINES_BESIDE_ROWS = 8
"""Of a screen: the table's title, head and caption, and the prompt."""
COLUMNS_BESIDE_SETTING = 60
COLORS = {
    "running": "cyan",
    "finished": "green",
    "stopped": "yellow",
    "failed": "red",
    "hung": "red",
    "died": "magenta",
    "pending": "dim",
}
REFRESH_PER_S = 2


class LiveTable:
    """Shows a ledger.

    Args:
        ledger: Of the sweep.
        plan: Of the sweep.
    """

    def __init__(self, ledger: Ledger, plan: SweepPlan) -> None:
        self.ledger, self.plan, self.max_steps = ledger, plan, plan.base.max_steps
        self.loss = "loss" if plan.downstream is None else "objective"
        self._live: Live | None = None
        self._began_s, self._steps_before = time.time(), self._steps()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keeps the table on the screen while the body runs."""
        if not console.is_terminal:
            yield
            return
        with Live(self.render(), console=console, refresh_per_second=REFRESH_PER_S) as self._live:
            yield
        self._live = None

    def update(self) -> None:
        """Shows the ledger as it is now."""
        if self._live is not None:
            self._live.update(self.render())

    def ended(self, record: TrialRecord) -> None:
        """Off a terminal: a line."""
        if self._live is None:
            loss = f"no {self.loss}" if record.metric is None else f"{self.loss} {record.metric:.4f}"
            told = f"{loss} {short(self._settings[record.id])} {' '.join(record.reason.split())}".strip()
            say(f"trial {record.id} {record.status} at step {record.steps}: {told}")

    def render(self) -> Table:
        """The trials that run, then the best of those that ended, then what waits, in a screen."""
        records = sorted(self.ledger.records.values(), key=_order)
        ended, begun = (sum(r.status in kind for r in records) for kind in (ENDED, (*ENDED, "running", "died")))
        total = self.plan.num_trials
        title = f"{ended} of {total} trials ended, {total - begun} waiting{self._eta()}"
        names, settings = self._names(), self._settings
        table = Table(title=title, box=box.SIMPLE_HEAD)
        for name in ("trial", "status", "step", "rung", self.loss, "steps/s"):
            table.add_column(name, justify="left" if name in ("trial", "status") else "right", no_wrap=True)
        table.add_column("setting, or why", no_wrap=True)
        room = max(20, console.size.width - COLUMNS_BESIDE_SETTING)
        rows = max(3, console.size.height - LINES_BESIDE_ROWS)
        for record in records[:rows]:
            table.add_row(
                record.id, f"[{COLORS[record.status]}]{record.status}[/]", f"{record.steps}/{self.max_steps}",
                str(self.rung(record.steps)), "" if record.metric is None else f"{record.metric:.4f}", _rate(record),
                escape(_cut(" ".join(record.reason.split()) or _values(settings[record.id], names), room)),
            )  # fmt: skip
        captions = [f"setting: {', '.join(names)}"] if names else []
        captions += [f"and {len(records) - rows} more"] if len(records) > rows else []
        table.caption = "\n".join(captions)
        return table

    @property
    def _settings(self) -> dict[str, Setting]:
        return {trial.id: trial.setting for trial in self.plan.trials}

    def _names(self) -> list[str]:
        """Those of what varies, where all trials have the same."""
        paths = {tuple(setting) for setting in self._settings.values()}
        return [short_name(path) for path in paths.pop()] if len(paths) == 1 else []

    def rung(self, step: int) -> int:
        """How many rungs a trial at this step has passed."""
        passed, rung = 0, float(self.plan.base.validation_interval_steps)
        while rung <= step:
            passed, rung = passed + 1, rung * self.plan.reduction_factor
        return passed

    def _steps(self) -> int:
        return sum(record.steps for record in self.ledger.records.values())

    def _eta(self) -> str:
        """A bound: as if nothing more were stopped early."""
        elapsed, done = time.time() - self._began_s, self._steps() - self._steps_before
        left = sum(self.max_steps - r.steps for r in self.ledger.records.values() if r.status not in ENDED)
        left += self.max_steps * (self.plan.num_trials - len(self.ledger.records))  # still to be suggested
        if not left:
            return ""
        return f"; at most {left / (done / elapsed) / 60:.0f} min left" if done else "; time left unknown"


def _values(setting: Setting, names: list[str]) -> str:
    """Values only where the caption tells the names."""
    return ", ".join(map(str, setting.values())) if names else short(setting)


def short(setting: Mapping[str, Any]) -> str:
    """num_layers 2, aggregation sum: the last name of each path."""
    return ", ".join(f"{short_name(path)} {value}" for path, value in setting.items())


def short_name(path: str) -> str:
    """rows of backbone.rows.model."""
    return path.removesuffix(".model").split(".")[-1]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _order(record: TrialRecord) -> tuple[int, float]:
    place = 0 if record.status == "running" else 1 if record.status in ENDED else 2
    return place, float("inf") if record.metric is None else record.metric


def _rate(record: TrialRecord) -> str:
    seconds = record.results[-1]["seconds"] if record.results else 0.0
    return f"{record.steps / seconds:.1f}" if seconds else ""
