"""Semantic types, statistics and vocabularies of every column, fitted once on rows up to the cutoff, saved as JSON.

Promises: nothing here depends on a row after the cutoff; the same rows give the same schema in any process (no sampling). A model keeps the
schema that it was trained with, so that a category has one code for ever.

Rules (keys are no attributes; what a rule leaves out is listed in `left_out` with the reason):
  bool                                    categorical
  integer                                 categorical if its name says it is a code (statusId, country_code, type, ...) and it has at most
                                          1,000 values, or if it has at most 10 values; else numerical
  float, decimal, duration, time of day   numerical
  timestamp, date                         timestamp
  string                                  categorical if it has at most 1,000 values that occur 4 times on average, else text
  list of strings or integers             multicategorical
  fixed-size list of floats               embedding
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rdl_core.config import checked, decode
from rdl_core.database.table_settings import StypeName
from rdl_core.timestamps import to_unix_seconds

MAX_CATEGORIES = 10_000
MAX_STRING_CATEGORIES = 1_000
MAX_SMALL_INTEGERS = 10
MIN_ROWS_PER_CATEGORY = 4
CODE_NAME = re.compile(r"(?:^|_)(?:id|code|type|status|flag|kind)$|(?<=[a-z0-9])(?:Id|ID|Code|Type|Status|Flag|Kind)$")


@checked
class ColumnSchema:
    """One attribute.

    Args:
        name: Column name.
        stype: Semantic type; "text" is embedded when the store is written.
        mean, std: Mean and standard deviation of the finite values of a numerical column (std 1.0 where it would be 0).
        categories: Values of a categorical or multicategorical column as strings, most frequent first, ties by value.
        oldest_s, median_s, newest_s: Times of a timestamp column, UNIX seconds.
        channels: Length of a vector of a text or embedding column.
    """

    name: str
    stype: StypeName
    mean: float = 0.0
    std: float = 1.0
    categories: tuple[str, ...] = ()
    oldest_s: int = 0
    median_s: int = 0
    newest_s: int = 0
    channels: int = 0


@checked
class TableSchema:
    """One table: its keys, time and attributes."""

    name: str
    num_rows: int
    num_rows_up_to_cutoff: int
    pkey_col: str | None
    time_col: str | None
    fkey_col_to_pkey_table: dict[str, str]
    columns: tuple[ColumnSchema, ...]
    left_out: dict[str, str] = field(default_factory=dict)


@checked
class Schema:
    """All tables of a database as seen up to `cutoff_s` (UNIX seconds, inclusive)."""

    database: str
    cutoff_s: int
    text_embedder: str
    timeless_rows: str
    tables: dict[str, TableSchema]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Schema:
        return decode(cls, data, "schema")

    def differences(self, other: Schema) -> list[str]:
        """Returns one line per difference that keeps a model of this schema from reading a store of the other; row counts do not matter."""
        lines = [
            f"{name} is {getattr(self, name)} in the model and {getattr(other, name)} in the store"
            for name in ("cutoff_s", "timeless_rows")
            if getattr(self, name) != getattr(other, name)
        ]
        for name in sorted(set(self.tables) | set(other.tables)):
            mine, theirs = self.tables.get(name), other.tables.get(name)
            if mine is None or theirs is None:
                lines.append(f"table {name}: only in the {'store' if mine is None else 'model'}")
            elif mine.columns != theirs.columns:
                mine_columns, their_columns = ({c.name: c for c in t.columns} for t in (mine, theirs))
                changed = [c for c in mine_columns | their_columns if mine_columns.get(c) != their_columns.get(c)]
                lines.append(f"table {name}: columns differ: {', '.join(sorted(changed)) or 'order of columns'}")
            elif mine.fkey_col_to_pkey_table != theirs.fkey_col_to_pkey_table:
                lines.append(f"table {name}: foreign keys differ")
            elif mine.time_col != theirs.time_col:
                lines.append(
                    f"table {name}: the time column is {mine.time_col} in the model and {theirs.time_col} in the store"
                )
        has_text = any(c.stype == "text" for t in self.tables.values() for c in t.columns)
        if has_text and self.text_embedder != other.text_embedder:
            lines.append(
                f"the text embedder is {self.text_embedder} in the model and {other.text_embedder} in the store"
            )
        return lines


def fit_columns(
    table: pa.Table, visible: NDArray[np.bool_], keys: set[str]
) -> tuple[tuple[ColumnSchema, ...], dict[str, str]]:
    """Fits the schemas of a table's attributes on its visible rows.

    Args:
        table: All rows.
        visible: bool [rows], rows up to the cutoff.
        keys: Names of columns that are keys, hence no attributes.

    Returns:
        The columns in the table's order, and {column: why} for those left out.
    """
    columns, left_out = [], {}
    for name in table.column_names:
        if name in keys:
            continue
        values = table.column(name).filter(pa.array(visible))
        schema = _fit_column(name, values)
        if isinstance(schema, ColumnSchema):
            columns.append(schema)
        else:
            left_out[name] = schema
    return tuple(columns), left_out


def _fit_column(name: str, values: pa.ChunkedArray) -> ColumnSchema | str:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    if values.null_count == len(values):
        return "no value up to the cutoff"
    if pa.types.is_boolean(kind):
        return ColumnSchema(name=name, stype="categorical", categories=categories_of(values))
    if pa.types.is_integer(kind):
        return _fit_integer(name, values)
    if is_number(kind):
        return _fit_numerical(name, values)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        seconds = np.sort(to_unix_seconds(values.drop_null(), round_up=False))
        oldest, median, newest = (int(seconds[i]) for i in (0, len(seconds) // 2, -1))
        return ColumnSchema(name=name, stype="timestamp", oldest_s=oldest, median_s=median, newest_s=newest)
    if is_string(kind):
        return _fit_string(name, values)
    return _fit_list(name, values)


def _fit_integer(name: str, values: pa.ChunkedArray) -> ColumnSchema | str:
    distinct = pc.count_distinct(values).as_py()
    coded = CODE_NAME.search(name) is not None and distinct <= MAX_STRING_CATEGORIES
    if coded or distinct <= MAX_SMALL_INTEGERS:
        return ColumnSchema(name=name, stype="categorical", categories=categories_of(values))
    return _fit_numerical(name, values)


def _fit_numerical(name: str, values: pa.ChunkedArray) -> ColumnSchema | str:
    numbers = to_float(values)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return "no finite value up to the cutoff"
    std = float(numbers.std())
    return ColumnSchema(name=name, stype="numerical", mean=float(numbers.mean()), std=std if std > 0 else 1.0)


def _fit_string(name: str, values: pa.ChunkedArray) -> ColumnSchema:
    distinct = pc.count_distinct(values).as_py()
    present = len(values) - values.null_count
    if distinct <= MAX_STRING_CATEGORIES and distinct * MIN_ROWS_PER_CATEGORY <= present:
        return ColumnSchema(name=name, stype="categorical", categories=categories_of(values))
    return ColumnSchema(name=name, stype="text")


def _fit_list(name: str, values: pa.ChunkedArray) -> ColumnSchema | str:
    kind = values.type
    if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        return ColumnSchema(name=name, stype="embedding", channels=kind.list_size)
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (
        is_string(kind.value_type) or pa.types.is_integer(kind.value_type)
    ):
        flat = pc.list_flatten(values)
        categories = categories_of(flat)
        if not categories:
            return "no value up to the cutoff"
        return ColumnSchema(name=name, stype="multicategorical", categories=categories)
    return f"values of type {kind} are not supported"


def categories_of(values: pa.ChunkedArray) -> tuple[str, ...]:
    """Returns the MAX_CATEGORIES most frequent values as strings; ties by value, so that the codes do not depend on row order."""
    counts = pc.value_counts(pc.drop_null(values.cast(pa.string())))
    names, numbers = counts.field("values").to_pylist(), counts.field("counts").to_numpy()
    order = sorted(range(len(names)), key=lambda i: (-numbers[i], names[i]))
    return tuple(names[i] for i in order[:MAX_CATEGORIES])


def is_string(kind: pa.DataType) -> bool:
    """Returns whether an Arrow type holds strings."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_number(kind: pa.DataType) -> bool:
    """Returns whether `to_float` takes an Arrow type."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration, pa.types.is_time)
    return any(test(kind) for test in tests)


def to_float(values: pa.ChunkedArray) -> NDArray[np.float64]:
    """Returns float64 [rows]; durations and times of day in seconds; NaN for null and for what float32 cannot hold, infinities too."""
    kind = values.type
    scale = 1.0
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[kind.unit]
        values = values.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        values = values.cast(pa.float64())
    numbers = values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64, copy=False) * scale
    return np.where(np.abs(numbers) <= np.finfo(np.float32).max, numbers, np.nan)
