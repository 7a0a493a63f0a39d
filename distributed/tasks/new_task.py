"""A target in a line to a task in a dataset's folder: its manifest with the SQL, and its labels.

In: an imported dataset (a RelBench folder) and what is asked. Out: `<data>/tasks/<name>/`, manifest.yaml and train/val/test.parquet, as an import
with `--tasks` would have written it. Promises: all or nothing; no other file of the folder is touched, so its stores and checkpoints stay valid.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.load import RelBenchDataset
from relbench.manifest import KIND_FORECAST, TaskManifest

from distributed.import_report.folder_tables import opened_tables, view
from distributed.importing.marks import TimeSpan, span_of_rows
from distributed.importing.tasks import write_labels
from distributed.selection.condition import check_condition
from distributed.tasks.command import Question
from distributed.tasks.key_path import KeyPath, find_key_path
from distributed.tasks.label_sql import LabelQuery
from distributed.tasks.target import Target, no_such, read_target
from rdl_core.atomic_write import replace_folder
from rdl_core.database.label_replay import SEED_TIMES
from rdl_core.file_names import EXPECTED_NAME, is_file_name
from rdl_core.problems import InputError

MAX_CLASSES = 200
"""A multi-class task with more is refused: its classes are names, most of them of one row."""
WORDS_OF_OPERATORS = {"=": "is", "<>": "is-not", "<": "below", "<=": "at-most", ">": "above", ">=": "at-least"}


def task_manifest(dataset: RelBenchDataset, question: Question) -> TaskManifest:
    """Returns the task that a question makes of a dataset.

    Raises:
        InputError: A table, column, key, window or condition does not exist or does not fit; it says what is near, or expected.
    """
    tables = dataset.manifest.tables
    schemas = {name: pq.read_schema(dataset.db_dir / f"{name}.parquet") for name in tables}
    columns = {name: {field.name: field.type for field in schema} for name, schema in schemas.items()}
    if question.entity not in tables:
        raise InputError(f"--entity: {no_such('table', question.entity, list(tables))}")
    pkey = tables[question.entity].pkey
    if pkey is None:
        keyed = ", ".join(name for name, spec in tables.items() if spec.pkey)
        raise InputError(
            f"--entity {question.entity}: has no primary key, so its rows cannot be entities; there are {keyed}"
        )
    if taken := [name for name in tables if name.casefold() == SEED_TIMES]:
        raise InputError(
            f"table {taken[0]!r} has the name of the relation of seed times in task SQL; rename it in the source, or import without it"
        )
    keys = {name: [*spec.fkeys, *([spec.pkey] if spec.pkey else [])] for name, spec in tables.items()}
    target = read_target(question.target, columns, keys)
    path = find_key_path(tables, target.table, question.entity, question.via)
    _check_where(question.where, target.table, columns)
    window = _span("--window", question.window)
    _check_window(dataset, window)
    active = None if question.active_within is None else _words(_span("--active-within", question.active_within))
    name = question.name or _name(question, target)
    if not is_file_name(name):
        raise InputError(f"--name {name!r} cannot name a folder; expected {EXPECTED_NAME}")
    query = LabelQuery(
        tables=tables,
        entity=question.entity,
        target=target,
        path=path,
        where=_as_sql(question.where),
        active_within=active,
        entity_col=pkey,
        time_col="timestamp" if pkey != "timestamp" else "seed_time",
        target_col=_target_col(name, pkey),
    )
    return TaskManifest(
        name=name,
        kind=KIND_FORECAST,
        task_type=target.task_type,
        description=_description(question, target, path, window),
        entity_table=question.entity,
        entity_col=query.entity_col,
        target_col=query.target_col,
        time_col=query.time_col,
        timedelta=_words(window),
        num_eval_timestamps=question.num_eval_timestamps,
        sql=query.sql(),
    )


def add_task(dataset: RelBenchDataset, manifest: TaskManifest, *, replaces: bool = False) -> dict[str, int]:
    """Makes the labels of a task and puts it into the dataset's folder; returns the number of labels per split.

    Args:
        replaces: Whether a task of this name may be there already, which goes.

    Raises:
        FileExistsError: Another task of this name is there.
        InputError: There are no labels, or they have too many classes; ImportRefused says what RelBench refuses.
        OSError: The folder cannot be written to.
    """
    folder = Path(dataset.dataset_dir) / "tasks" / manifest.name
    if folder.exists() and not replaces:
        raise FileExistsError(
            f"{folder}: there is a task of this name already. Remedy: --name NAME for another one, or --replace to make it again"
        )
    with replace_folder(folder) as partial:
        num_labels = write_labels(manifest, dataset, partial, folder_span(dataset), f"task {manifest.name}")
        if manifest.task_type == "multiclass_classification":
            _check_classes(manifest, partial)
        manifest.save(partial / "manifest.yaml")
    return num_labels


def folder_span(dataset: RelBenchDataset) -> TimeSpan:
    """Returns the first and the last time of a dataset's rows, marks such as 1900-01-01 left aside."""
    with opened_tables(Path(dataset.dataset_dir), dataset.manifest) as opened:
        times = {name: (view(name), spec.time_col) for name, spec in opened.specs.items() if spec.time_col is not None}
        span = span_of_rows(opened.con, times)
    zone = dataset.val_timestamp.tzinfo
    if zone is None or span.first is None or span.last is None:
        return span
    return replace(span, first=span.first.replace(tzinfo=zone), last=span.last.replace(tzinfo=zone))


def _check_classes(manifest: TaskManifest, folder: Path) -> None:
    labels = pq.read_table(folder / "train.parquet", columns=[manifest.target_col]).column(0)
    if (number := len(labels.unique())) > MAX_CLASSES:
        raise InputError(
            f"task {manifest.name}: {number:,} classes among {len(labels):,} train labels; expected at most {MAX_CLASSES}. "
            "Remedy: another column, or a comparison (= 'one value') behind the target"
        )


def _check_where(where: str | None, table: str, columns: Mapping[str, Mapping[str, pa.DataType]]) -> None:
    if where is None:
        return
    with duckdb.connect() as con:
        check_condition(con, table, list(columns[table]), where)


def _as_sql(where: str | None) -> str | None:
    """Returns a condition in parentheses; a comment in it ends with its line."""
    if where is None:
        return None
    return f"(\n    {where}\n)" if "--" in where or "\n" in where else f"({where})"


def _span(option: str, text: str) -> pd.Timedelta:
    expected = "expected a time span such as 60d, 12h or '2 weeks', in whole seconds and above 0"
    try:
        span = pd.Timedelta(re.sub(r"(?<=\d)\s*[dD]$", " days", text.strip()))
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {expected}") from error
    if not span > pd.Timedelta(0) or span != span.floor("s") or re.fullmatch(r"[\d.\s]*", text):
        raise InputError(f"{option} {text!r}: {expected}")
    return span


def _check_window(dataset: RelBenchDataset, window: pd.Timedelta) -> None:
    gap = dataset.test_timestamp - dataset.val_timestamp
    if window > gap:
        raise InputError(
            f"--window {_words(window)}: longer than the {_words(gap)} from the validation timestamp {dataset.val_timestamp} to the test timestamp "
            f"{dataset.test_timestamp}, so labels of val would look into test. Remedy: a shorter window, or an import with timestamps further apart"
        )


def _words(span: pd.Timedelta) -> str:
    """Returns "60 days", or pandas' own words for what is no whole number of days or hours."""
    for unit, name in ((pd.Timedelta(days=1), "days"), (pd.Timedelta(hours=1), "hours")):
        if span % unit == pd.Timedelta(0):
            return f"{span // unit} {name}"
    return str(span)


def _name(question: Question, target: Target) -> str:
    """Returns a name made of what is asked, such as customers-count-orders-is-0-60d."""
    parts = [question.entity, target.aggregate, target.table, target.column or ""]
    if target.operator is not None:
        parts += [WORDS_OF_OPERATORS[target.operator], str(target.value)]
    parts.append(question.window)
    words = [re.sub(r"[^\w.]+", "-", part).strip("-.").lower() for part in parts]
    return "-".join(word for word in words if word)


def _target_col(name: str, entity_col: str) -> str:
    column = re.sub(r"\W+", "_", name).strip("_") or "label"
    return f"{column}_label" if column.casefold() in (entity_col.casefold(), "timestamp", "seed_time") else column


def _description(question: Question, target: Target, path: KeyPath, window: pd.Timedelta) -> str:
    rows = f"rows of {target.table}" + (f" with {' '.join(question.where.split())}" if question.where else "")
    asked = f"every row of {question.entity} that is there at the seed time"
    if question.active_within is not None:
        active = _words(_span("--active-within", question.active_within))
        asked += f" and had such a row within {active} before it"
    if not target.is_asked_everywhere:
        asked += ", if there is such a row in the window"
    return textwrap.dedent(
        f"{target} over the {rows} in the {_words(window)} after the seed time, of {asked}. Rows belong to it by {path}."
    )
