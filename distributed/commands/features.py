"""The work of features (options.py has its options): a task's columns, written a part at a time, so that memory does not grow with its rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.commands.inputs import open_data, open_run, open_store
from distributed.commands.options import Features
from distributed.console import bar, console, say

if TYPE_CHECKING:
    import pyarrow as pa
    from relbench.base import EntityTask

    from rdl_core.statistics.columns import Columns
    from rdl_core.tasks.labels import Split

ROWS_PER_GROUP = 8192
"""Rows of the file that are in memory at a time."""
LOG_INTERVAL_S = 30.0
"""Seconds between lines where there is no terminal."""


def run_features(options: Features) -> dict[str, Any]:
    """Returns {"out", "task", "regime", "columns", "hops", "rows" per split, "left_out", "seconds"}."""
    if not options.split:
        raise ValueError("--split names no split; expected some of train, val, test")
    if options.out.is_dir() or options.out.suffix != ".parquet":
        got = "is a folder" if options.out.is_dir() else "has another name"
        raise ValueError(
            f"--out {options.out} {got}; expected a file to write whose name ends in .parquet, which is what it is"
        )
    _, dataset = open_data(options)
    from rdl_core.database import load_task

    task = load_task(dataset, options.task)
    settings = {
        "task": options.task,
        "split": options.split,
        "regime": options.regime,
        "columns": dataclasses.asdict(options.columns),
        "out": str(options.out),
    }
    run = open_run(options, "features", dataset, settings)
    store = open_store(options, dataset)
    from rdl_core.statistics.columns import Columns
    from rdl_core.tasks.labels import read_split

    begun_s = time.monotonic()
    columns = Columns(store, task.entity_table, options.columns)
    names: list[str] = list(dict.fromkeys(options.split))
    splits = {name: read_split(task, name, options.regime, store.test_timestamp_s) for name in names}
    say(f"{columns.width:,} columns of {task.entity_table}, over paths of up to {columns.hops} keys")
    for key, why in columns.left_out.items():
        say(f"left out: {key}, {why}")
    _write(options.out, task, columns, splits)
    seconds = time.monotonic() - begun_s
    rows = {name: len(split) for name, split in splits.items()}
    say(f"{options.out}: {', '.join(f'{n:,} rows of {name}' for name, n in rows.items())}, in {seconds:.1f} s")
    return run.finish(
        {
            "out": str(options.out),
            "task": options.task,
            "regime": options.regime,
            "columns": columns.width,
            "hops": columns.hops,
            "rows": rows,
            "left_out": columns.left_out,
            "seconds": seconds,
        }
    )


def _write(path: Path, task: EntityTask, columns: Columns, splits: dict[str, Split]) -> None:
    """Writes the file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rdl_core.atomic_write import replace_file
    from rdl_core.tasks.labels import classes_of

    schema, classes = _file_schema(task, columns), classes_of(task)
    with (
        replace_file(path) as partial,
        _progress(sum(map(len, splits.values()))) as advance,
        pq.ParquetWriter(partial, schema, compression="zstd") as writer,
    ):
        for name, split in splits.items():
            for begin in range(0, len(split), ROWS_PER_GROUP):
                part = slice(begin, begin + ROWS_PER_GROUP)
                values = columns(split.entities[part], split.before_s[part], raw=True, advance=advance)
                target: Any = split.target[part]
                if classes:
                    target = [classes[int(place)] if place >= 0 else None for place in target]
                labels = [split.entities[part], split.time_s[part], [name] * len(values), target]
                arrays = zip([*labels, *values.T], schema.types, strict=True)
                writer.write_table(pa.table([pa.array(a, t, from_pandas=True) for a, t in arrays], schema=schema))


def _file_schema(task: EntityTask, columns: Columns) -> pa.Schema:
    """Returns the file's columns: the task's entity, time, split and target, then the features in 32-bit floats, null where undefined.

    The target of a multi-class task is the class as a text, null where train lacks it.
    """
    import pyarrow as pa

    from rdl_core.tasks.labels import is_multiclass

    kind = pa.string() if is_multiclass(task) else pa.float64()
    labels = [(task.entity_col, pa.int64()), (task.time_col, pa.timestamp("s")), ("split", pa.string())]
    return pa.schema([*labels, (task.target_col, kind), *((name, pa.float32()) for name in columns.names)])


@contextmanager
def _progress(num_rows: int) -> Iterator[Callable[[int], None]]:
    """Yields what is told of rows that are done: a bar on a terminal, a line now and then in a log."""
    done, logged_s = 0, time.monotonic()

    def advance(rows: int) -> None:
        nonlocal done, logged_s
        done += rows
        progress.update(shown, completed=done)
        if not console.is_terminal and time.monotonic() - logged_s >= LOG_INTERVAL_S:
            say(f"columns: {done:,} of {num_rows:,} rows ({done / max(num_rows, 1):.0%})")
            logged_s = time.monotonic()

    with bar() as progress:
        shown = progress.add_task("columns", total=num_rows, text="")
        yield advance
