"""Label replay: a task is SQL over time, so it gives labels at more seed times than RelBench asked it for.

In: a task with SQL (kind "forecast") and a stride, the share of its timedelta from one seed time to the next. Out: the labels at the further seed
times. Promises: the window of each, its time to its time plus the timedelta, has closed by the validation timestamp, or by the test timestamp where
validation's labels are known, too; the SQL sees what RelBench shows it for these splits, rows up to the test timestamp without `remove_columns`, and
entities beyond the last row up to then are dropped; the task's own seed times are asked along with the others, and unless the SQL gives the
task's own labels there, no more and no fewer, all is refused. Same bits each time: one thread.

Cost: DuckDB reads the Parquet files of the tables that the SQL names, the columns that it needs, and spills to disk; one query. Numbers are
compared with a relative tolerance of 1e-9, since sums in another order differ in their last bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from relbench.base import EntityTask, TaskType

from rdl_core.database.column_checks import DatabaseError, Problem, check_classes, check_no_null, check_target
from rdl_core.database.label_checks import class_name

RELATIVE_TOLERANCE = 1e-9
SEED_TIMES = "timestamps"
"""RelBench's name of the relation of seed times in task SQL."""


def further_labels(task: EntityTask, stride: float, splits: Sequence[str] = ("train",)) -> pd.DataFrame:
    """Returns labels at seed times that are not the task's own, sorted by time and entity.

    Args:
        task: An entity task whose manifest has SQL.
        stride: Share of the task's timedelta between two seed times; above 0, whole seconds and at least one. They are counted from the validation
            timestamp, back to the first label of the task.
        splits: ("train",): windows close by the validation timestamp. ("train", "val"): by the test timestamp.

    Returns:
        The columns time_col, entity_col and target_col of the task.

    Raises:
        DatabaseError: The task has no SQL; DuckDB refuses it; it does not reproduce the task's own labels; it gives labels that are null, or at
            times that it was not asked for.
    """
    columns = [task.time_col, task.entity_col, task.target_col]
    own = pd.concat({split: task.get_table(split, mask_input_cols=False).df[columns] for split in splits})
    seeds = _seed_times(task, own[task.time_col], stride, splits)
    found = labels_at(task, seeds)
    if missing := [column for column in columns if column not in found]:
        raise _refused(
            task, expected=f"the SQL to give the columns {', '.join(columns)}", got=f"no {', '.join(missing)}"
        )
    found = found[columns].sort_values(columns[:2], kind="stable").reset_index(drop=True)
    _check(task, found, seeds)
    is_own = np.isin(_ticks(found[task.time_col]), _ticks(own[task.time_col]))
    _check_reproduced(task, found[is_own], own)
    return found[~is_own].reset_index(drop=True)


def _seed_times(task: EntityTask, own: pd.Series, stride: float, splits: Sequence[str]) -> pd.DatetimeIndex:
    """Returns the task's own seed times and those between them, ascending."""
    val, window = task.dataset.val_timestamp, pd.Timedelta(task.timedelta)
    last = (val if "val" not in splits else task.dataset.test_timestamp) - window
    step = pd.Timedelta(seconds=max(1, round(window.total_seconds() * stride)))
    own_times = pd.DatetimeIndex(own.unique())
    back = pd.date_range(start=val, end=own_times.min(), freq=-step)
    onwards = pd.date_range(start=val, end=max(last, val), freq=step)
    grid = back.union(onwards)
    return pd.DatetimeIndex(grid[grid <= last].union(own_times)).as_unit("us")


def labels_at(task: EntityTask, seeds: pd.DatetimeIndex, until: pd.Timestamp | None = None) -> pd.DataFrame:
    """Returns what the task's SQL gives at these times, as `relbench.load` runs it, without entities that RelBench drops.

    Args:
        task: An entity task whose manifest has SQL.
        seeds: The times.
        until: Only rows up to this time are there; None: the test timestamp.

    Raises:
        DatabaseError: The task has no SQL, or DuckDB refuses it.
    """
    until = task.dataset.test_timestamp if until is None else until
    sql: str | None = getattr(task, "_sql", None)  # RelBench 3.0.2 keeps a task's SQL in no public attribute
    if not sql:
        kind = getattr(task, "kind", None)
        raise _refused(task, expected="a task with SQL (kind 'forecast')", got=f"kind {kind!r}, which has none")
    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as con:
        con.execute("SET threads = 1")
        con.execute("SET TimeZone = 'UTC'")
        # Parquet's minima and maxima leave NaN out, from which DuckDB 2.0 concludes that a column has none, and drops isnan.
        con.execute("SET disabled_optimizers = 'statistics_propagation'")
        con.execute(f"SET temp_directory = {_text(spill)}")
        con.register(SEED_TIMES, pd.DataFrame({"timestamp": seeds}))
        for table in task.dataset.manifest.tables:
            if table.casefold() in sql.casefold() or table == task.entity_table:
                _create_view(con, task, table, until)
        try:
            found = con.execute(sql.replace("{timedelta}", str(task.timedelta))).df()
        except duckdb.Error as error:
            raise _refused(task, expected="SQL that DuckDB runs", got=str(error)) from error
        (num_entities,) = con.execute(f"SELECT count(*) FROM {_name(task.entity_table)}").fetchone() or (0,)
    return found[~(found[task.entity_col] >= num_entities)] if task.entity_col in found else found


def _create_view(con: duckdb.DuckDBPyConnection, task: EntityTask, table: str, until: pd.Timestamp) -> None:
    """Makes a table's rows up to a time visible, their cells of the types that pandas would show to DuckDB.

    A column of integers with nulls is one of doubles in pandas, and NaN is null to DuckDB there.
    """
    if table.casefold() == SEED_TIMES:
        raise _refused(task, expected="tables of other names than the relation of seed times", got=f"a table {table!r}")
    file = f"read_parquet({_text(str(task.dataset.db_dir / f'{table}.parquet'))})"
    schema = pq.read_schema(task.dataset.db_dir / f"{table}.parquet")
    hidden = {column for name, column in task.remove_columns if name == table}
    columns = [field for field in schema if field.name not in hidden]
    integers = [field.name for field in columns if pa.types.is_integer(field.type)]
    counted = ", ".join(f"count(*) - count({_name(column)})" for column in integers)
    nulls = con.execute(f"SELECT {counted} FROM {file}").fetchone() if integers else ()
    with_nulls = {column for column, number in zip(integers, nulls or (), strict=True) if number}
    cells = []
    for field in columns:
        name = _name(field.name)
        if field.name in with_nulls:
            cells.append(f"CAST({name} AS DOUBLE) AS {name}")
        elif pa.types.is_floating(field.type):
            cells.append(f"CASE WHEN NOT isnan({name}) THEN {name} END AS {name}")
        else:
            cells.append(name)
    time_col = task.dataset.manifest.tables[table].time_col
    kind = "TIMESTAMP" if until.tzinfo is None else "TIMESTAMPTZ"
    where = f" WHERE {_name(time_col)} <= {kind} '{until.isoformat(' ')}'" if time_col else ""
    con.execute(f"CREATE TEMP VIEW {_name(table)} AS SELECT {', '.join(cells)} FROM {file}{where}")


def _check(task: EntityTask, found: pd.DataFrame, seeds: pd.DatetimeIndex) -> None:
    """Refuses labels at times that were not asked for, which could look past the last window, and labels that are none."""
    is_strange = ~np.isin(_ticks(found[task.time_col]), _ticks(seeds.to_series()))
    if is_strange.any():
        row = int(is_strange.argmax())
        raise _refused(
            task, expected="labels at the timestamps that the SQL was asked for", got=_shown(task, found, row)
        )
    problems = [*_label_problems(task, pa.Table.from_pandas(found, preserve_index=False))]
    if problems:
        raise DatabaseError(str(task.dataset.dataset_dir), problems)


def _label_problems(task: EntityTask, labels: pa.Table) -> Iterator[Problem]:
    place, target = f"task {task.name!r}, label replay", task.target_col
    yield from check_no_null(labels[task.entity_col], place, task.entity_col, "entity")
    yield from check_no_null(labels[target], place, target, "target")
    if task.task_type == TaskType.MULTICLASS_CLASSIFICATION:
        yield from check_classes(labels[target], place, target)
        return
    yield from check_target(labels[target], place, target, is_binary=task.task_type == TaskType.BINARY_CLASSIFICATION)


def _check_reproduced(task: EntityTask, found: pd.DataFrame, own: pd.DataFrame) -> None:
    """Refuses a replay that does not give the task's own labels at the task's own seed times, naming the first difference."""
    columns = [task.time_col, task.entity_col]
    found = found.sort_values(columns, kind="stable")
    ordered = own.sort_values(columns, kind="stable")
    num_both = min(len(found), len(ordered))
    keys = [(_ticks(f[task.time_col]), f[task.entity_col].to_numpy(dtype=np.float64)) for f in (found, ordered)]
    differs = _differ(task, *(f[task.target_col].iloc[:num_both] for f in (found, ordered)))
    for one, other in zip(*keys, strict=True):
        differs |= one[:num_both] != other[:num_both]
    if not differs.any() and len(found) == len(ordered):
        return
    at = int(differs.argmax()) if differs.any() else num_both
    expected = _shown(task, ordered, at) if at < len(ordered) else "no further label"
    got = _shown(task, found, at) if at < len(found) else "no further label"
    row = " (labels of {}, row {})".format(*ordered.index[at]) if at < len(ordered) else ""
    raise _refused(
        task,
        expected=f"the SQL to give the task's own {len(ordered):,} labels at their {ordered[task.time_col].nunique():,} seed times; first "
        f"difference: {expected}{row}",
        got=f"{got}, of {len(found):,} labels",
    )


def _differ(task: EntityTask, found: pd.Series, own: pd.Series) -> NDArray[np.bool_]:
    """Returns which labels are not the same: bool [n]."""
    if task.task_type == TaskType.MULTICLASS_CLASSIFICATION:
        return np.asarray(found.map(class_name).to_numpy() != own.map(class_name).to_numpy())
    one, other = (labels.to_numpy(dtype=np.float64) for labels in (found, own))
    return ~np.isclose(one, other, rtol=RELATIVE_TOLERANCE, atol=0.0)


def _shown(task: EntityTask, labels: pd.DataFrame, position: int) -> str:
    row = labels.iloc[position]
    return f"{task.entity_col} {row[task.entity_col]} at {row[task.time_col]}: {task.target_col} {row[task.target_col]}"


def _refused(task: EntityTask, *, expected: str, got: str) -> DatabaseError:
    problem = Problem(
        place=f"task {task.name!r}, label replay",
        expected=expected,
        got=got,
        remedy="leave out --label-stride, or correct the task's SQL or its label files",
    )
    return DatabaseError(str(task.dataset.dataset_dir), [problem])


def _ticks(times: pd.Series) -> NDArray[np.int64]:
    """Returns microseconds since 1970-01-01 UTC; int64 [n]."""
    return pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("us").asi8


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
