"""Turns task files (RelBench TaskManifest YAML) into `tasks/<name>/`: the manifest copied, the labels made by RelBench itself.

In: a folder of `*.yaml` and an imported database folder. Out: `manifest.yaml`, byte for byte, and
train/val/test.parquet in RelBench's canonical order (time, entity), times as timestamp[ns]. RelBench runs the SQL, cuts
the splits and drops entities that do not exist yet; nothing of that is done here again. Cost: per task, one load of the
database into pandas.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import relbench
import yaml
from relbench.base import Database, Table
from relbench.load import RelBenchDataset, build_task
from relbench.manifest import KIND_EXTERNAL, TableSpec, TaskManifest

from distributed.importing.marks import TimeSpan
from distributed.schema.refusals import ImportRefused, Refusals
from rdl_core.database.label_replay import SEED_TIMES
from rdl_core.file_names import EXPECTED_NAME, is_file_name

SPLITS = ("train", "val", "test")


def read_task_files(folder: Path | None) -> dict[Path, TaskManifest]:
    """Reads the task files of a folder, each of which must be valid by itself; {} for None.

    Raises:
        ImportRefused: There is no such folder or no YAML in it, a file is no task, a task is external, or a name comes twice.
    """
    if folder is None:
        return {}
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")) if folder.is_dir() else []
    if not paths:
        raise ImportRefused(f"--tasks: no *.yaml in {folder}; expected a folder of RelBench TaskManifest files")
    tasks = read_tasks(paths)
    names = [task.name for task in tasks.values()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ImportRefused(f"--tasks: {twice} named by two files of {folder.name}; rename one")
    return tasks


def read_tasks(paths: Iterable[Path]) -> dict[Path, TaskManifest]:
    """Reads task files, each of which must be valid by itself.

    Raises:
        ImportRefused: Files are no tasks; it holds all of them.
    """
    refusals, tasks = Refusals(), {}
    for path in paths:
        with refusals.each():
            tasks[path] = _read(path)
    refusals.refuse()
    return tasks


def _read(path: Path) -> TaskManifest:
    try:
        task = TaskManifest.load(path)
        task.validate()
        if task.timedelta is not None:
            pd.Timedelta(task.timedelta)
    except (yaml.YAMLError, TypeError, AttributeError, ValueError) as error:
        raise ImportRefused(f"task file {path.name}: {error}; expected a RelBench TaskManifest") from error
    if not isinstance(task.name, str) or not is_file_name(task.name):
        raise ImportRefused(f"task file {path.name}: name {task.name!r} cannot name a folder; expected {EXPECTED_NAME}")
    if task.kind == KIND_EXTERNAL:
        raise ImportRefused(
            f"task file {path.name}: kind 'external' has its labels made elsewhere; expected 'forecast' or 'autocomplete'"
        )
    return task


def notes_on_reserved_names(tasks: Mapping[Path, TaskManifest], tables: Collection[str]) -> list[str]:
    """Returns a line on a table that task SQL cannot see beside RelBench's own relation of that name.

    Raises:
        ImportRefused: There are tasks: the table would take the place of their seed times.
    """
    taken = next((name for name in tables if name.casefold() == SEED_TIMES), None)
    if taken is None:
        return []
    problem = f"table {taken!r} has the name of the relation of seed times in task SQL, whose place it would take"
    others = shlex.join(sorted(set(tables) - {taken}))
    if tasks:
        raise ImportRefused(
            f"{problem}; leave it out by --tables {others}, rename it in the source, or import without --tasks"
        )
    return [f"{problem}: no task can be made from this folder by SQL"]


def check_task_tables(tasks: Mapping[Path, TaskManifest], tables: Mapping[str, TableSpec]) -> None:
    """Refuses tasks whose entity table is missing or has no pkey, before any label is made."""
    refusals = Refusals()
    for path, task in tasks.items():
        for entity_table in (task.entity_table, task.src_entity_table, task.dst_entity_table):
            if entity_table is not None and entity_table not in tables:
                refusals.problems.append(
                    f"task file {path.name}: no table {entity_table!r}; expected one of {sorted(tables)}"
                )
            elif entity_table is not None and tables[entity_table].pkey is None:
                refusals.problems.append(
                    f"task file {path.name}: table {entity_table!r} has no pkey, so its rows cannot be entities"
                )
    refusals.refuse()


def write_tasks(tasks: Mapping[Path, TaskManifest], dataset: Path, span: TimeSpan) -> dict[str, dict[str, int]]:
    """Writes every task below `dataset/tasks`, seed times within `span`. Returns the number of labels per task and split.

    Raises:
        ImportRefused: SQL fails, an output column is missing, a label is null, a split has no rows, or the time span is too short.
    """
    refusals = Refusals()
    num_labels = {}
    for path, task in tasks.items():
        with refusals.each():
            num_labels[task.name] = _write_task(path, task, dataset, span)
    refusals.refuse()
    return num_labels


def _write_task(path: Path, manifest: TaskManifest, dataset: Path, span: TimeSpan) -> dict[str, int]:
    folder = dataset / "tasks" / manifest.name
    folder.mkdir(parents=True)
    num_rows = write_labels(manifest, relbench.load_dataset(dataset), folder, span, f"task file {path.name}")
    shutil.copyfile(path, folder / "manifest.yaml")
    return num_rows


def write_labels(
    manifest: TaskManifest, dataset: RelBenchDataset, folder: Path, span: TimeSpan, name: str
) -> dict[str, int]:
    """Writes the label files of one task into `folder`, and no manifest. Returns the number of labels per split.

    Args:
        manifest: The task.
        dataset: Its tables.
        folder: Where the files go.
        span: Seed times lie within it.
        name: Begins the text of a refusal, such as "task file churn.yaml".

    Raises:
        ImportRefused: As of `write_tasks`.
    """
    num_rows = {}
    try:
        bounds = _bounds(dataset.val_timestamp, dataset.test_timestamp)
        task = build_task(dataset, manifest, task_dir=folder, regenerate=True)
        db = _SpannedDatabase(task.get_db(upto_test_timestamp=False), span)
        for split in SPLITS:
            table = task.get_table(split, mask_input_cols=False, db=db)
            where = f"{name}, {split}"
            num_rows[split] = _write_split(table, manifest, where, folder / f"{split}.parquet")
            _check_seeds(table.df, manifest, where, *bounds[split])
    except duckdb.Error as error:
        raise ImportRefused(f"{name}: DuckDB refuses the SQL:\n{error}") from error
    except KeyError as error:
        raise ImportRefused(f"{name}: the SQL's result has no column {error}; add it to SELECT") from error
    except TypeError as error:  # what RelBench 3.0.2 raises where a split has no row
        raise ImportRefused(
            f"{name}: RelBench cannot use the SQL's result: {error}; usual cause: the SQL gives no row for "
            "a split; check its dates against --val-timestamp and --test-timestamp"
        ) from error
    except (RuntimeError, ValueError) as error:
        if isinstance(error, ImportRefused):
            raise
        raise ImportRefused(
            f"{name}: RelBench refuses the task: {error} Change timedelta or the timestamps"
            + _latest_test_timestamp(manifest, span)
        ) from error
    return num_rows


def _bounds(val: pd.Timestamp, test: pd.Timestamp) -> dict[str, tuple[pd.Timestamp | None, pd.Timestamp | None]]:
    """Returns per split the earliest time of a label, and the latest end of the window that it looks into."""
    return {"train": (None, val), "val": (val, test), "test": (test, None)}


def _check_seeds(
    frame: pd.DataFrame, manifest: TaskManifest, where: str, first: pd.Timestamp | None, last: pd.Timestamp | None
) -> None:
    """Refuses labels whose times the SQL has moved out of their split, and several labels of one entity at one time.

    Raises:
        ImportRefused: A window reaches into the next split, which would train on what is validated, or an entity has two labels.
    """
    times = pd.to_datetime(frame[manifest.time_col])
    ends = times + pd.Timedelta(manifest.timedelta or 0)
    outside = pd.Series(False, index=frame.index)
    if first is not None:
        outside |= times < first
    if last is not None and manifest.timedelta is not None:
        outside |= ends > last
    if outside.any():
        row = int(outside.to_numpy().argmax())
        raise ImportRefused(
            f"{where}, row {row}: the label of {times.iloc[row]} looks to {ends.iloc[row]}; expected times from {first or 'the first row'} "
            f"and windows that end by {last or 'the last row'}. The SQL must give each label the timestamp that it was asked for; "
            f"{int(outside.sum()):,} of {len(frame):,} rows are outside"
        )
    if manifest.entity_col is None:
        return
    twice = frame.duplicated([manifest.time_col, manifest.entity_col], keep=False)
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise ImportRefused(
            f"{where}, row {row}: {manifest.entity_col} {frame[manifest.entity_col].iloc[row]} has several labels at {times.iloc[row]}; expected one "
            f"per entity and time; GROUP BY both in the SQL ({int(twice.sum()):,} of {len(frame):,} rows)"
        )


def _latest_test_timestamp(manifest: TaskManifest, span: TimeSpan) -> str:
    """Returns what the rows allow, as the end of a refusal; "" for a task that does not look ahead."""
    if manifest.timedelta is None or span.first is None or span.last is None:
        return ""
    latest = pd.Timestamp(span.last) - pd.Timedelta(manifest.timedelta)
    return f": rows are from {span.first} to {span.last}, so --test-timestamp at most {str(latest)!r} for {manifest.timedelta}"


class _SpannedDatabase(Database):
    """A database whose first and last time are those of a span: RelBench takes its seed times from between them, and marks are no times."""

    def __init__(self, database: Database, span: TimeSpan) -> None:
        super().__init__(database.table_dict)
        self.span = span

    @property
    def min_timestamp(self) -> pd.Timestamp:
        """The first time, or the first of the span if that is later."""
        found = super().min_timestamp
        return found if self.span.first is None else max(found, pd.Timestamp(self.span.first))

    @property
    def max_timestamp(self) -> pd.Timestamp:
        """The last time, or the last of the span if that is earlier."""
        found = super().max_timestamp
        return found if self.span.last is None else min(found, pd.Timestamp(self.span.last))

    def upto(self, timestamp: pd.Timestamp) -> _SpannedDatabase:
        """Returns the rows up to a time, of the same span."""
        return _SpannedDatabase(super().upto(timestamp), self.span)


def _write_split(table: Table, manifest: TaskManifest, where: str, path: Path) -> int:
    frame = table.df
    if frame.empty:  # all entities newer than the split
        raise ImportRefused(f"{where}: no labels; check the SQL's dates against --val-timestamp and --test-timestamp")
    expected = [manifest.time_col, manifest.entity_col, manifest.src_entity_col, manifest.dst_entity_col]
    expected.append(manifest.target_col if manifest.src_entity_col is None else None)
    for column in [column for column in expected if column is not None]:
        if frame[column].isna().any():
            row = int(frame[column].isna().to_numpy().argmax())
            raise ImportRefused(
                f"{where}, column {column!r}, row {row}: null; expected a value; COALESCE it or filter it"
            )
    arrow = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for position, column in enumerate(arrow.schema):
        if pa.types.is_timestamp(column.type):
            arrow = arrow.set_column(position, column.name, arrow[position].cast(pa.timestamp("ns")))
    pq.write_table(arrow, path, compression="zstd")
    return len(frame)
