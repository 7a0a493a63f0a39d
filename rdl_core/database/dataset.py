"""Opens a RelBench-3 folder or hub dataset and refuses, before any work starts, what later stages could not use.

In: a folder with manifest.yaml and db/<table>.parquet (RelBench 3's exchange format), or a hub name. Out: relbench's
own `RelBenchDataset`, for which this holds: every table of the manifest has a parquet file with rows; primary keys are
0..n-1 in row order; foreign keys are null or rows of their parent; times are timestamps; some dated row lies at or
before the validation timestamp. A table may lack times, a primary key or attributes. All problems are collected and
shown together (`DatabaseError`).

Cost: only key and time columns are read; 1.1 million rows (rel-retail) take about a tenth of a second.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import relbench
from relbench.hf import download_dataset_dir
from relbench.load import RelBenchDataset
from relbench.manifest import TableSpec

from rdl_core.database.column_checks import (
    IMPORT_REMEDY,
    DatabaseError,
    Problem,
    check_foreign_key,
    check_primary_key,
    check_time,
    shown,
)
from rdl_core.database.manifest_checks import check_manifest
from rdl_core.database.table_settings import read_table_settings, settings_problems
from rdl_core.place import Place, RemotePlace
from rdl_core.timestamps import NO_TIME, is_time, seconds_of, to_unix_seconds


def open_dataset(name_or_path: Place) -> RelBenchDataset:
    """Opens and validates a dataset.

    Args:
        name_or_path: A folder, or a hub name such as "stanford-star/relbench-v1/rel-f1" (downloaded once, then cached). A text is a folder if it
            exists, is absolute or starts with "." or "~"; otherwise it is a hub name. A remote folder is opened as this node's copy.

    Raises:
        DatabaseError: The folder breaks the contract at the top of this file; errors of a download come as they are.
    """
    folder = dataset_folder(name_or_path)
    check_manifest(folder)
    dataset = relbench.load_dataset(folder)
    _check_tables(dataset)
    return dataset


def dataset_folder(name_or_path: Place) -> Path:
    """Returns the folder of a dataset on this node, fetched or downloaded if it is not here yet; nothing in it is checked."""
    if isinstance(name_or_path, RemotePlace):
        return name_or_path.local()
    folder = Path(name_or_path).expanduser()
    is_path = isinstance(name_or_path, Path) or folder.is_absolute() or name_or_path.startswith(".") or folder.exists()
    return folder if is_path else Path(download_dataset_dir(str(name_or_path)))


def read_table(dataset: RelBenchDataset, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads the rows of one table by Arrow, in file order and with the types of the file.

    Args:
        dataset: The dataset.
        table: A table of its manifest.
        columns: Column names, in the order wanted; None for all.

    Raises:
        DatabaseError: The manifest has no such table.
    """
    if table not in dataset.manifest.tables:
        problem = Problem(
            place="manifest.yaml",
            expected=f"one of its tables: {', '.join(sorted(dataset.manifest.tables))}",
            got=repr(table),
            remedy="correct the name, or add the table to manifest.yaml and db/",
        )
        raise DatabaseError(str(dataset.dataset_dir), [problem])
    columns = None if columns is None else list(columns)
    return pq.read_table(dataset.db_dir / f"{table}.parquet", columns=columns)


def check_excluded_columns(dataset: RelBenchDataset, columns: Sequence[str]) -> None:
    """Raises ValueError for a column, as "table.column", that is no attribute of the dataset: a label's column would stay in."""
    for column in columns:
        table = next((t for t in dataset.manifest.tables if column.startswith(f"{t}.")), None)
        attributes: set[str] = set()
        if table is not None:
            spec = dataset.manifest.tables[table]
            attributes = set(pq.read_schema(dataset.db_dir / f"{table}.parquet").names) - {spec.pkey, *spec.fkeys}
        if column.removeprefix(f"{table}.") not in attributes:
            there = f"; attributes of {table!r}: {', '.join(sorted(attributes))}" if table else ""
            raise ValueError(
                f"StoreConfig.exclude_columns expects 'table.column' of attributes that exist, got {column!r}{there}"
            )


def _check_tables(dataset: RelBenchDataset) -> None:
    settings = read_table_settings(dataset.dataset_dir, dataset.manifest)
    problems: list[Problem] = []
    schemas: dict[str, pa.Schema] = {}
    num_rows: dict[str, int] = {}
    for table in dataset.manifest.tables:
        opened = _open_file(dataset, table)
        if isinstance(opened, Problem):
            problems.append(opened)
        else:
            schemas[table], num_rows[table] = opened
    for table, spec in dataset.manifest.tables.items():
        problems += _key_target_problems(dataset, table, spec)
        if table in schemas:
            problems += _missing_columns(table, spec, schemas[table])
            problems += _column_problems(dataset, table, schemas[table], num_rows)
            problems += settings_problems(table, spec, schemas[table], settings[table])
    problems += _cutoff_problems(dataset, schemas)
    if problems:
        raise DatabaseError(str(dataset.dataset_dir), problems)


def _open_file(dataset: RelBenchDataset, table: str) -> tuple[pa.Schema, int] | Problem:
    """Returns schema and number of rows of a table's file, or the problem that it cannot be opened."""
    name = f"db/{table}.parquet"
    path = dataset.db_dir / f"{table}.parquet"

    def problem(expected: str, got: str, remedy: str) -> Problem:
        return Problem(place=f"table {table!r}", expected=expected, got=got, remedy=remedy)

    drop = f"or drop table {table!r} and the keys to it from manifest.yaml"
    if not path.is_file():
        return problem(f"the file {name}", "no such file", f"add the file, {drop}")
    try:
        with pq.ParquetFile(path) as file:
            schema, num_rows = file.schema_arrow, file.metadata.num_rows
    except pa.ArrowInvalid as error:
        return problem(f"{name} to be a parquet file", str(error), f"write it again, {drop}")
    if len(schema) == 0:
        return problem(f"columns in {name}", "a file with no columns", f"write it again with its columns, {drop}")
    return schema, num_rows


def _key_target_problems(dataset: RelBenchDataset, table: str, spec: TableSpec) -> Iterator[Problem]:
    """Yields foreign keys that do not lead to a table of the manifest with a primary key."""
    tables = dataset.manifest.tables
    for column, pkey_table in spec.fkeys.items():
        if pkey_table not in tables:
            expected, got = f"a foreign key to one of: {', '.join(sorted(tables))}", f"unknown table {pkey_table!r}"
            remedy = "correct the name in manifest.yaml, or drop the key from fkeys"
        elif tables[pkey_table].pkey is None:
            expected, got = "a foreign key to a table with a primary key", f"table {pkey_table!r}, which has none"
            remedy = f"name the pkey of {pkey_table!r} in manifest.yaml, or drop the key from fkeys"
        else:
            continue
        yield Problem(place=f"table {table!r}", column=column, expected=expected, got=got, remedy=remedy)


def _missing_columns(table: str, spec: TableSpec, schema: pa.Schema) -> Iterator[Problem]:
    for role, column in (("pkey", spec.pkey), ("time_col", spec.time_col), *(("fkeys", name) for name in spec.fkeys)):
        if column is None or schema.names.count(column) == 1:
            continue
        yield Problem(
            place=f"table {table!r}",
            column=column,
            expected=f"one column of this name in db/{table}.parquet (the manifest names it under {role})",
            got=f"{schema.names.count(column)} of them; columns: {', '.join(schema.names)}",
            remedy=f"correct the name in manifest.yaml or the file; {IMPORT_REMEDY}",
        )


def _column_problems(
    dataset: RelBenchDataset, table: str, schema: pa.Schema, num_rows: dict[str, int]
) -> Iterator[Problem]:
    """Yields the problems of those key and time columns of a table that are there."""
    spec, place = dataset.manifest.tables[table], f"table {table!r}"
    named = dict.fromkeys(
        column for column in (spec.pkey, spec.time_col, *spec.fkeys) if schema.names.count(column) == 1
    )
    rows = read_table(dataset, table, list(named))
    if spec.pkey in named:
        yield from check_primary_key(rows[spec.pkey], place, spec.pkey)
    for column, parent in spec.fkeys.items():
        if column in named and parent in num_rows:
            yield from check_foreign_key(rows[column], place, column, pkey_table=parent, num_parents=num_rows[parent])
    if spec.time_col in named:
        yield from check_time(rows[spec.time_col], place, spec.time_col)


def _cutoff_problems(dataset: RelBenchDataset, schemas: dict[str, pa.Schema]) -> Iterator[Problem]:
    """Yields a problem if all times lie after the validation timestamp: there is nothing to pretrain on."""
    earliest: list[tuple[int, str, str, int, str]] = []
    for table, schema in schemas.items():
        time_col = dataset.manifest.tables[table].time_col
        if time_col is None or schema.names.count(time_col) != 1 or not is_time(schema.field(time_col).type):
            continue
        times = read_table(dataset, table, [time_col])[time_col]
        if not len(times):
            continue
        seconds = to_unix_seconds(times, round_up=True)
        row = int(np.argmin(seconds))
        earliest.append((int(seconds[row]), table, time_col, row, shown(times[row])))
    if not earliest:
        return
    first_s, table, time_col, row, value = min(earliest)
    if NO_TIME > first_s > seconds_of(dataset.val_timestamp):  # NO_TIME: all null, which check_time reports
        yield Problem(
            place=f"table {table!r}",
            column=time_col,
            row=row,
            expected=f"a row at or before val_timestamp {dataset.val_timestamp} to pretrain on",
            got=f"{value}, the earliest time of all tables",
            remedy="set a later val_timestamp in manifest.yaml, or correct the times",
        )
