"""Lines and progress bars for people, on stderr; stdout is for results (`--json`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rdl_core.config import PRETRAINING_LEVELS

console = Console(stderr=True)


def say(message: str) -> None:
    """Prints one line for people, as it is: a path or an error may have brackets, and is copied from a log in one piece."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def bar() -> Progress:
    """Returns a progress bar: description, bar, count, times, text. Off a terminal it prints nothing until it ends."""
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        refresh_per_second=4,
        auto_refresh=sys.stderr.isatty(),
        transient=not sys.stderr.isatty(),
    )


def loss_text(metrics: Mapping[str, float]) -> str:
    """Returns "row 0.510 link 0.620 context 0.600 future 0.810", of the levels that there are, of metrics with these names, whatever their prefix."""
    names = {k.split("/")[-1]: v for k, v in metrics.items()}
    return " ".join(f"{level} {names[level]:.3f}" for level in PRETRAINING_LEVELS if level in names)
