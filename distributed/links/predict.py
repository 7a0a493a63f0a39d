"""Predictions of a link model: the best destinations of each source, in the source's own keys, at any time up to after the last row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from distributed.console import bar, console, say
from rdl_core.links.predictor import LinkPredictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOG_INTERVAL_S = 30.0
"""Seconds between lines where there is no terminal."""


def link_predictions(predictor: LinkPredictor, rows: NDArray[np.int64], time_s: NDArray[np.int64]) -> pa.Table:
    """Returns the best destinations of questions, in the source's own keys, and shows how far it is.

    Args:
        rows: int64 [questions], rows of the source table.
        time_s: int64 [questions], UNIX seconds.
    """
    question = predictor.question
    at = str(np.datetime64(int(time_s[0]), "s"))
    say(
        f"{question.task}: {question.number} {question.destination_table} for each of {len(rows):,} {question.source_table}, as of {at} UTC"
    )
    done, logged_s = 0, time.monotonic()
    with bar() as progress:
        shown = progress.add_task("predictions", total=len(rows), text="")

        def advance(number: int) -> None:
            nonlocal done, logged_s
            done += number
            progress.update(shown, completed=done)
            if not console.is_terminal and time.monotonic() - logged_s >= LOG_INTERVAL_S:
                say(f"predictions: {done:,} of {len(rows):,} {question.source_table}")
                logged_s = time.monotonic()

        return predictor.table(rows, time_s, advance=advance)
