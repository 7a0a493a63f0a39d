"""Checks of the key, time and target columns of a RelBench folder, and the error that names what they find.

In: one Arrow column. Out: at most one `Problem` per column and check, which names place, column, first offending row (0-based), expected, got and
remedy. `DatabaseError` holds all problems of a folder, so that a user repairs it in one go.

The key contract is RelBench's (`Dataset.validate_and_correct_db`): primary keys are 0..n-1 in row order, foreign keys
hold those numbers or null. RelBench turns a foreign key beyond the last row into null, as it must in a database cut by
time; a whole folder has no reason to dangle, so here it is refused. Cost: one pass over the column in Arrow or numpy,
no Python objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rdl_core.problems import InputError, numbered
from rdl_core.timestamps import is_time

IMPORT_REMEDY = "`rdl import` does it"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong in a folder, and what to do about it.

    Args:
        place: Such as "table 'results'", "manifest.yaml" or "task 'driver-dnf', train.parquet".
        expected: The rule that is broken.
        got: The first value that breaks it.
        remedy: The repair.
        column: Column name, where it is a column's problem.
        row: Row number, 0-based, where it is a row's.
    """

    place: str
    expected: str
    got: str
    remedy: str
    column: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        column = "" if self.column is None else f", column {self.column!r}"
        row = "" if self.row is None else f", row {self.row}"
        return f"{self.place}{column}{row}\n   expected {self.expected}\n   got {self.got}\n   remedy: {self.remedy}"


class DatabaseError(InputError):
    """A RelBench folder that cannot be used as it is.

    Args:
        where: The folder.
        problems: All that was found.
    """

    def __init__(self, where: str, problems: Sequence[Problem]) -> None:
        ValueError.__init__(self, where, tuple(problems))  # the arguments, so that the error survives pickling
        self.where, self.problems = where, tuple(problems)

    def __str__(self) -> str:
        num = len(self.problems)
        return numbered(self.problems, f"{self.where}: {num} problem{'s' if num > 1 else ''}")


def check_primary_key(column: pa.ChunkedArray, place: str, name: str) -> list[Problem]:
    """Returns the problem of a primary key column that does not hold the integers 0..n-1 in row order."""
    expected = f"a primary key of integers 0..{len(column) - 1} in row order"
    remedy = f"renumber the rows 0..n-1 and the foreign keys to them; {IMPORT_REMEDY}"

    def problem(row: int, reason: str) -> Problem:
        got = f"{shown(column[row])} ({reason})"
        return Problem(place=place, column=name, row=row, expected=expected, got=got, remedy=remedy)

    if not len(column):
        return []
    if not pa.types.is_integer(column.type):
        return [problem(0, f"not integer: the column is {column.type}")]
    is_null = _nulls(column)
    values = column.fill_null(0).to_numpy()
    is_wrong = is_null | (values != np.arange(len(values)))
    if not is_wrong.any():
        return []
    row = int(is_wrong.argmax())
    if is_null[row]:
        return [problem(row, "null")]
    # the rows above hold 0..row-1, so a value among them is a duplicate
    return [problem(row, "duplicate" if 0 <= values[row] < row else "not consecutive")]


def check_foreign_key(
    column: pa.ChunkedArray, place: str, name: str, *, pkey_table: str, num_parents: int
) -> list[Problem]:
    """Returns the problem of a foreign key column that holds anything but null or row numbers of its parent table.

    Integral floats are allowed, with NaN as null, since pandas makes that of an integer column with nulls.

    Args:
        column: The keys.
        place, name: Place and column name, for the message.
        pkey_table: Name of the parent table.
        num_parents: Its rows.
    """
    is_null = _nulls(column)
    if is_null.all():
        return []
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        row, reason = int(is_null.argmin()), f"not a number: the column is {column.type}"
    else:
        values = column.fill_null(0).to_numpy()
        is_wrong = ~is_null & ((values < 0) | (values >= num_parents) | (values != np.floor(values)))
        if not is_wrong.any():
            return []
        row = int(is_wrong.argmax())
        in_range = "not integral" if values[row] < num_parents else "out of range"
        reason = "negative" if values[row] < 0 else in_range
    return [
        Problem(
            place=place,
            column=name,
            row=row,
            expected=f"null or an integer 0..{num_parents - 1}, a row number of table {pkey_table!r}",
            got=f"{shown(column[row])} ({reason})",
            remedy=f"replace keys by the parent's row number, and keys without parent by null; {IMPORT_REMEDY}",
        )
    ]


def check_time(column: pa.ChunkedArray, place: str, name: str) -> list[Problem]:
    """Returns the problem of a time column that is not of timestamps or dates, or that is null in every row."""
    is_null = _nulls(column)
    row: int | None
    if len(column) and is_null.all():
        row, got = 0, f"null in all {len(column)} rows"
        remedy = "fill in the times, or name no time_col in the manifest"
    elif is_time(column.type):
        return []
    else:
        row = int(is_null.argmin()) if len(column) else None
        value = "no rows" if row is None else shown(column[row])
        got, remedy = f"{value} (the column is {column.type})", f"store it as a timestamp; {IMPORT_REMEDY}"
    expected = "a time column of timestamps or dates, not all of them null"
    return [Problem(place=place, column=name, row=row, expected=expected, got=got, remedy=remedy)]


def check_no_null(column: pa.ChunkedArray, place: str, name: str, what: str) -> list[Problem]:
    """Returns the problem of a column with a null or NaN; `what` it holds (a seed time, an entity, a target) goes into the message."""
    is_null = _nulls(column)
    if not is_null.any():
        return []
    row, got = int(is_null.argmax()), f"null ({int(is_null.sum())} of {len(column)} rows)"
    remedy = f"drop the rows without {what}, or fill them in"
    expected = f"no null: every row needs its {what}"
    return [Problem(place=place, column=name, row=row, expected=expected, got=got, remedy=remedy)]


def check_target(column: pa.ChunkedArray, place: str, name: str, *, is_binary: bool) -> list[Problem]:
    """Returns the problem of a target column with anything but null and 0 or 1 (binary classification) or finite numbers (regression)."""
    kind = column.type
    expected = "a target of 0 or 1" if is_binary else "a target that is a finite number"
    remedy = "correct the labels, or the task_type in the task's manifest.yaml"
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    is_null = _nulls(column)
    if is_null.all():
        return []
    if not is_number:
        row, got = int(is_null.argmin()), f" (the column is {kind})"
    else:
        values = pc.cast(column, pa.float64(), safe=False).to_numpy()
        is_wrong = ~is_null & (~np.isin(values, (0, 1)) if is_binary else ~np.isfinite(values))
        if not is_wrong.any():
            return []
        row, got = int(is_wrong.argmax()), ""
    got = shown(column[row]) + got
    return [Problem(place=place, column=name, row=row, expected=expected, got=got, remedy=remedy)]


def check_classes(column: pa.ChunkedArray, place: str, name: str) -> list[Problem]:
    """Returns the problem of a target column with anything but null and classes: texts, whole numbers, or yes and no."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_null = _nulls(column)
    if is_null.all() or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return []
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return []
    row = int(is_null.argmin())
    if pa.types.is_floating(kind):
        values = column.to_numpy()
        is_wrong = ~is_null & (np.floor(values) != values)
        if not is_wrong.any():
            return []
        row = int(is_wrong.argmax())
    return [
        Problem(
            place=place,
            column=name,
            row=row,
            expected="a target that is a class: a text, a whole number, or true and false",
            got=f"{shown(column[row])} (the column is {kind})",
            remedy="correct the labels, or the task_type in the task's manifest.yaml",
        )
    ]


def _nulls(column: pa.ChunkedArray) -> np.ndarray:
    """Returns bool [n]: whether each value is null; NaN counts as null."""
    return np.asarray(pc.is_null(column, nan_is_null=True))


def shown(value: pa.Scalar) -> str:
    """Returns the value as a user would write it, cut to 60 characters."""
    # Arrow writes times itself: Python's datetime overflows beyond year 9999
    text = str(value.cast(pa.string())) if is_time(value.type) else repr(value.as_py())
    return text if len(text) <= 60 else text[:57] + "..."
