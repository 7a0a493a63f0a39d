"""Predictions of a link model as a file: the best destinations of each source, in the source's own keys, at any time up to after the last row."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from distributed.console import bar, console, say
from rdl_core.atomic_write import replace_file
from rdl_core.links.predictor import LinkPredictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOG_INTERVAL_S = 30.0
"""Seconds between lines where there is no terminal."""


def write_link_predictions(
    predictor: LinkPredictor, rows: NDArray[np.int64], time_s: NDArray[np.int64], out: Path
) -> dict[str, Any]:
    """Writes the best destinations of questions into a Parquet or CSV file; returns {"task", "rows", "sources", "at", "path"}.

    Args:
        rows, time_s: int64 [questions], rows of the source table, UNIX seconds.
        out: The file, by whose suffix its format is chosen.
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

        table = predictor.table(rows, time_s, advance=advance)
    table = pa.table({name: _plain(table[name]) for name in table.column_names})
    with replace_file(out) as partial:
        if out.suffix == ".csv":
            pa_csv.write_csv(table, partial)
        else:
            pq.write_table(table, partial, compression="zstd")
    say(f"{out}: {len(table):,} predictions")
    return {"task": question.task, "rows": len(table), "sources": len(rows), "at": at, "path": str(out)}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
