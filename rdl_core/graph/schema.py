"""Semantic types, statistics and vocabularies of every column, fitted once on rows up to the cutoff, saved as JSON.

Promises: nothing here depends on a row after the cutoff; the same rows give the same schema in any process (no sampling). A model keeps the
schema that it was trained with, so that a category has one code for ever.

A column's schema also says what exact statistics of it need (measures.py): whether its numbers are skewed, and whether it has nulls up to the cutoff.

Rules (keys are no attributes; what a rule leaves out is listed in `left_out` with the reason):
  bool                                    categorical
  integer                                 categorical if its name says it is a code (statusId, country_code, type, ...) and it has at most
                                          1,000 values; categorical and ordinal if it has at most 10 values; else numerical
  float, decimal, duration, time of day   numerical
  timestamp, date                         timestamp
  string                                  categorical if it has at most 1,000 values that occur 4 times on average, else text
  list of strings or integers             multicategorical
  fixed-size list of floats               embedding
"""

from __future__ import annotations

import dataclasses
import hmac
import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rdl_core.config import checked, decode
from rdl_core.database.column_values import ColumnValues, column_of, is_number, is_string
from rdl_core.database.table_settings import StypeName
from rdl_core.timestamps import is_time

MAX_CATEGORIES = 10_000
MAX_STRING_CATEGORIES = 1_000
MAX_SMALL_INTEGERS = 10
MIN_ROWS_PER_CATEGORY = 4
MIN_SKEWNESS = 2.0
"""Numbers are skewed from this third standardised moment on, that of an exponential distribution."""
VALID_TO = "valid_to: it tells when a row ends"
"""The reason for which the column that settings.yaml names as `valid_to` is no attribute: its table holds versions of rows."""
CODE_NAME = re.compile(r"(?:^|_)(?:id|code|type|status|flag|kind)$|(?<=[a-z0-9])(?:Id|ID|Code|Type|Status|Flag|Kind)$")


@checked
class ColumnSchema:
    """One attribute.

    Args:
        name: Column name.
        stype: Semantic type; "text" is embedded when the store is written.
        mean, std: Mean and standard deviation of the finite values of a numerical or ordinal column (std 1.0 where it would be 0).
        is_ordinal: Whether the categories of a categorical column are integers that count or rank something, and no codes: each is a number, too.
        is_skewed: Whether a numerical column's values lie so far from symmetric that their logarithms say more.
        log_mean, log_std: Mean and standard deviation of a skewed column's signed logarithms, sign(x) log(1 + |x|).
        has_nulls: Whether a cell is null, or a number not finite, up to the cutoff.
        categories: Values of a categorical or multicategorical column as strings, most frequent first, ties by value.
        num_measured: Of how many categories, from the first on, measures are chosen (measures.py); None: of all. Those that a later pretraining found
            come behind them, so that statistics stay as wide as a model knows them.
        salt: Where it is not empty, `categories` are no values but their keyed SHA-256 (`hidden`): a model that is given away need not tell them.
        oldest_s, median_s, newest_s: Times of a timestamp column, UNIX seconds.
        channels: Length of a vector of a text or embedding column.
    """

    name: str
    stype: StypeName
    mean: float = 0.0
    std: float = 1.0
    is_ordinal: bool = False
    is_skewed: bool = False
    log_mean: float = 0.0
    log_std: float = 1.0
    has_nulls: bool = False
    categories: tuple[str, ...] = ()
    num_measured: int | None = None
    salt: str = ""
    oldest_s: int = 0
    median_s: int = 0
    newest_s: int = 0
    channels: int = 0

    def category_of(self, value: str) -> str:
        """Returns what `categories` call a value: itself, or its keyed SHA-256 in hex where the column has a salt."""
        return hmac.digest(self.salt.encode(), value.encode(), "sha256").hex() if self.salt else value

    def hidden(self, salt: str) -> ColumnSchema:
        """Returns the schema of a column without a salt with its values replaced by their keyed SHA-256; all else stays, the order too."""
        salted = replace(self, salt=salt)
        return replace(salted, categories=tuple(map(salted.category_of, self.categories)))

    def is_same_as(self, other: ColumnSchema) -> bool:
        """Returns whether both say the same of a column, where the values of one may be hidden."""
        mine, theirs = self, other
        if mine.salt and not theirs.salt and theirs.categories:
            theirs = theirs.hidden(mine.salt)
        elif theirs.salt and not mine.salt and mine.categories:
            mine = mine.hidden(theirs.salt)
        return mine == theirs


@checked
class TableSchema:
    """One table: its keys, time and attributes.

    Args:
        left_out: Why a column is no attribute.
        known_from: The column of times from which a late column's cells are known, by column.
        unknown_values: In a store that was made with a model's schema, how many values of a column are none of its categories.
    """

    name: str
    num_rows: int
    num_rows_up_to_cutoff: int
    pkey_col: str | None
    time_col: str | None
    fkey_col_to_pkey_table: dict[str, str]
    columns: tuple[ColumnSchema, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    known_from: dict[str, str] = field(default_factory=dict)
    unknown_values: dict[str, int] = field(default_factory=dict)

    @property
    def holds_versions(self) -> bool:
        """Tells whether rows end at a time of their own (`valid_to`)."""
        return VALID_TO in self.left_out.values()


@checked
class Schema:
    """All tables of a database as seen up to `cutoff_s` (UNIX seconds, inclusive).

    Args:
        time_span_s: Seconds of the past that the data covers: from the 5 % quantile of the row times up to the cutoff to the cutoff.
    """

    database: str
    cutoff_s: int
    time_span_s: int
    text_embedder: str
    timeless_rows: str
    tables: dict[str, TableSchema]

    def to_json(self) -> dict[str, Any]:
        data = dataclasses.asdict(self)
        for table in data["tables"].values():
            if not table["known_from"]:  # so that a store without late cells is what it was before there were any
                del table["known_from"]
            for column in table["columns"]:
                for name in ("salt", "num_measured"):  # likewise
                    if not column[name]:
                        del column[name]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Schema:
        return decode(cls, data, "schema")

    def differences(self, other: Schema) -> list[str]:
        """Returns one line per difference that keeps a model of this schema from reading a store of the other; row counts do not matter.

        A later cutoff does not matter either where statistics and vocabularies are the model's: `materialize --schema-of` makes such a store.
        """
        lines = []
        if self.timeless_rows != other.timeless_rows:
            lines.append(f"timeless_rows is {self.timeless_rows} in the model and {other.timeless_rows} in the store")
        if self.cutoff_s > other.cutoff_s:  # the model has seen rows that this store counts as the future
            ends = [np.datetime64(schema.cutoff_s, "s") for schema in (self, other)]
            lines.append(f"the model has seen rows up to {ends[0]}, after the cutoff of the store, {ends[1]}")
        if self.time_span_s != other.time_span_s:
            lines.append(
                f"time_span_s, by which windows are scaled, is {self.time_span_s} in the model and {other.time_span_s} in the store"
            )
        for name in sorted(set(self.tables) | set(other.tables)):
            mine, theirs = self.tables.get(name), other.tables.get(name)
            if mine is None or theirs is None:
                lines.append(f"table {name}: only in the {'store' if mine is None else 'model'}")
            elif (changed := _changed_columns(mine, theirs)) is not None:
                lines.append(f"table {name}: columns differ: {', '.join(changed) or 'order of columns'}")
            elif mine.fkey_col_to_pkey_table != theirs.fkey_col_to_pkey_table:
                lines.append(f"table {name}: foreign keys differ")
            elif mine.known_from != theirs.known_from:
                lines.append(
                    f"table {name}: known_from is {mine.known_from} in the model and {theirs.known_from} in the store"
                )
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


def _changed_columns(mine: TableSchema, theirs: TableSchema) -> list[str] | None:
    """Returns the names of columns that differ, none where only their order does; None where all are the same."""
    mine_columns, their_columns = ({c.name: c for c in t.columns} for t in (mine, theirs))
    same = {c for c in mine_columns if c in their_columns and mine_columns[c].is_same_as(their_columns[c])}
    changed = sorted({*mine_columns, *their_columns} - same)
    return None if not changed and list(mine_columns) == list(their_columns) else changed


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
        schema = fit_column(name, column_of(table.column(name)), visible)
        if isinstance(schema, ColumnSchema):
            columns.append(schema)
        else:
            left_out[name] = schema
    return tuple(columns), left_out


def fit_column(
    name: str, values: ColumnValues, visible: NDArray[np.bool_], stype: StypeName | None = None
) -> ColumnSchema | str:
    """Fits the schema of one column on the rows of `visible`, bool [rows]; returns the reason where it has none.

    Args:
        stype: The semantic type that settings.yaml gives, which fits the column; None: by the rules at the top of this file.
    """
    keep = visible & values.valid
    if not keep.any():
        return "no value up to the cutoff"
    schema = _fit_known(name, values, keep, stype)
    if isinstance(schema, str):
        return schema
    num_known = int(keep.sum())
    if schema.stype == "numerical" and not pa.types.is_integer(values.type):
        num_known = int(np.isfinite(_array(values)[keep]).sum())
    return replace(schema, has_nulls=num_known < int(visible.sum()))


def _fit_known(name: str, values: ColumnValues, keep: NDArray[np.bool_], stype: StypeName | None) -> ColumnSchema | str:
    """Fits a column on the rows of `keep`, which have a value."""
    kind = values.type
    if stype == "numerical":
        return _fit_numerical(name, values, keep)
    if stype == "categorical":
        return _categorical(name, values, keep)
    if stype == "text":
        return ColumnSchema(name=name, stype="text")
    if pa.types.is_boolean(kind):
        return _categorical(name, values, keep)
    if pa.types.is_integer(kind):
        return _fit_integer(name, values, keep)
    if is_number(kind):
        return _fit_numerical(name, values, keep)
    if is_time(kind):
        seconds = np.sort(_array(values)[keep])
        oldest, median, newest = (int(seconds[i]) for i in (0, len(seconds) // 2, -1))
        return ColumnSchema(name=name, stype="timestamp", oldest_s=oldest, median_s=median, newest_s=newest)
    if is_string(kind):
        return _fit_string(name, values, keep)
    return _fit_list(name, values, keep)


def _array(values: ColumnValues) -> NDArray:
    assert isinstance(values.array, np.ndarray)  # or it holds lists
    return values.array


def _categorical(name: str, values: ColumnValues, keep: NDArray[np.bool_]) -> ColumnSchema:
    return ColumnSchema(name=name, stype="categorical", categories=frequent_values("categorical", values, keep))


def _fit_integer(name: str, values: ColumnValues, keep: NDArray[np.bool_]) -> ColumnSchema | str:
    distinct, _ = values.counts(keep)
    if CODE_NAME.search(name) is not None and len(distinct) <= MAX_STRING_CATEGORIES:
        return _categorical(name, values, keep)
    if len(distinct) <= MAX_SMALL_INTEGERS:
        mean, std = _moments(_array(values)[keep].astype(np.float64))
        return replace(_categorical(name, values, keep), is_ordinal=True, mean=mean, std=std)
    return _fit_numerical(name, values, keep)


def _fit_numerical(name: str, values: ColumnValues, keep: NDArray[np.bool_]) -> ColumnSchema | str:
    numbers = _array(values)[keep].astype(np.float64, copy=False)
    if not pa.types.is_integer(values.type):
        numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return "no finite value up to the cutoff"
    mean, std = _moments(numbers)
    column = ColumnSchema(name=name, stype="numerical", mean=mean, std=std)
    if abs(_third_moment(numbers, mean, std)) < MIN_SKEWNESS:
        return column
    log_mean, log_std = _moments(signed_log(numbers))
    return replace(column, is_skewed=True, log_mean=log_mean, log_std=log_std)


def _moments(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """Returns mean and standard deviation, 1.0 where that would be 0."""
    std = float(numbers.std())
    return float(numbers.mean()), std if std > 0 else 1.0


def _third_moment(numbers: NDArray[np.float64], mean: float, std: float) -> float:
    scaled = numbers - mean
    scaled /= std
    cubes = scaled * scaled
    cubes *= scaled
    return float(cubes.mean())


def signed_log(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns sign(x) log(1 + |x|) of each number."""
    return np.copysign(np.log1p(np.abs(numbers)), numbers)


def _fit_string(name: str, values: ColumnValues, keep: NDArray[np.bool_]) -> ColumnSchema:
    distinct, counts = values.counts(keep)
    if len(distinct) <= MAX_STRING_CATEGORIES and len(distinct) * MIN_ROWS_PER_CATEGORY <= counts.sum():
        return _categorical(name, values, keep)
    return ColumnSchema(name=name, stype="text")


def _fit_list(name: str, values: ColumnValues, keep: NDArray[np.bool_]) -> ColumnSchema | str:
    kind = values.type
    if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        return ColumnSchema(name=name, stype="embedding", channels=kind.list_size)
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (
        is_string(kind.value_type) or pa.types.is_integer(kind.value_type)
    ):
        categories = frequent_values("multicategorical", values, keep)
        if not categories:
            return "no value up to the cutoff"
        return ColumnSchema(name=name, stype="multicategorical", categories=categories)
    return f"values of type {kind} are not supported"


def frequent_values(stype: StypeName, values: ColumnValues, keep: NDArray[np.bool_]) -> tuple[str, ...]:
    """Returns the MAX_CATEGORIES most frequent values of a categorical or multicategorical column in the rows of `keep`, which have no null.

    Ties go by value, so that the codes do not depend on the order of rows.
    """
    if stype == "multicategorical":
        assert isinstance(values.array, pa.ChunkedArray)
        flat = pc.drop_null(pc.list_flatten(values.array.filter(pa.array(keep))).cast(pa.string()))
        found = pc.value_counts(flat)
        names, counts = found.field("values"), found.field("counts").to_numpy()
    else:
        distinct, counts = values.counts(keep)
        names = values.as_strings(distinct)
    strings = names.to_pylist()
    order = sorted(range(len(strings)), key=lambda i: (-counts[i], strings[i]))
    return tuple(strings[i] for i in order[:MAX_CATEGORIES])
