"""Parquet files as a table: one file, or a folder of parts as Spark and Ray Data write it, with its key=value folders as columns.

In: paths. Out: the kind of each column and Arrow batches in the order of the parts. Promises: a value comes as it stands or is refused with column
and row: NaN in a key is null, 27.5 is refused; integers beyond 2**63 come as text; what no kind can hold is left out with the reason. Memory: one
batch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distributed.schema.declared_table import DeclaredTable
from distributed.schema.refusals import ImportRefused, exclude_option
from distributed.schema.source_table import Kind, SourceTable
from distributed.sources.arrow_values import ARROW_TYPES

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""The word that Hive and Spark write into a folder's name for null."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_EXACT = 2**53
"""Up to here, a float holds every integer."""
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, eq=False)
class Part:
    """One file of a table, and the values of its key=value folders, None for null."""

    path: Path
    values: dict[str, str | None] = field(default_factory=dict)


class ParquetTable:
    """A table in Parquet files.

    Args:
        name: Name of the table.
        parts: Its files, in order.
        declared: What the schema file says of it.
        batch_rows: Rows of a batch.

    Raises:
        ImportRefused: A file is no Parquet, names a column twice, or differs in its columns from the first.
    """

    def __init__(self, name: str, parts: Sequence[Part], declared: DeclaredTable, batch_rows: int) -> None:
        self.name, self.parts, self.batch_rows = name, tuple(parts), batch_rows
        self.notes: list[str] = []
        self._named = {column for columns in declared.columns_by_field().values() for column in columns}
        self._keys = {*declared.pkey, *(column for key in declared.fkeys for column in key.columns)}
        self._kinds: dict[str, Kind] = {}
        self._why: dict[str, str] = {}
        schemas = {part: self._schema(part) for part in parts}
        for part, schema in schemas.items():
            if set(schema.names) != set(schemas[parts[0]].names):
                odd = sorted(set(schema.names) ^ set(schemas[parts[0]].names))
                raise ImportRefused(
                    f"{self._where(part)}: columns {odd} are not in this part and in {parts[0].path.name} alike; expected the same "
                    "columns in every part; write the parts anew with one schema"
                )
        for column in schemas[parts[0]].names:
            self._settle(column, {part: schema.field(column).type for part, schema in schemas.items()})
        for column in [name for name in parts[0].values if name not in self._kinds]:
            self._settle_folder(column)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(part.path for part in self.parts)

    def schema(self) -> SourceTable:
        """Returns the table's columns and their kinds; text may hold times."""
        return SourceTable(
            name=self.name,
            columns=self._kinds,
            text_types="time",
            unsupported=self._why,
            declares_keys=False,
            notes=tuple(self.notes),
        )

    def batches(self, kinds: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
        """Yields the columns `kinds` as those kinds, in the order of the parts.

        Raises:
            ImportRefused: A value does not fit its kind, or a file cannot be read to its end.
        """
        begin = 0
        for part in self.parts:
            try:
                with pq.ParquetFile(part.path) as file:
                    inside = [column for column in kinds if column in file.schema_arrow.names]
                    for batch in file.iter_batches(batch_size=self.batch_rows, columns=inside):
                        yield self._converted(batch, part, kinds, begin)
                        begin += len(batch)
            except (pa.ArrowException, OSError) as error:
                raise ImportRefused(
                    f"{self._where(part)}, after row {begin} of the source: {error}; write the file anew"
                ) from error

    def _where(self, part: Part) -> str:
        shown = part.path.name if len(self.parts) == 1 else f"{part.path.parent.name}/{part.path.name}"
        return f"table {self.name!r}, file {shown}"

    def _schema(self, part: Part) -> pa.Schema:
        try:
            schema = pq.read_schema(part.path)
        except (pa.ArrowException, OSError) as error:
            raise ImportRefused(f"{self._where(part)}: {error}; expected a Parquet file; write it anew") from error
        if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise ImportRefused(f"{self._where(part)}: several columns are named {twice[0]!r}; rename all but one")
        if lost := _unwritten_index(schema) - set(schema.names):
            index = sorted(lost)[0]
            raise ImportRefused(
                f"{self._where(part)}: pandas' index {index!r} is in the file's metadata only, without its values; write the file anew with "
                "it as a column: reset_index()"
            )
        return schema

    def _settle(self, column: str, types: Mapping[Part, pa.DataType]) -> None:
        """Finds the kind of a column, which all parts must share, or why it is left out."""
        if not column or (_PANDAS_INDEX.fullmatch(column) and column not in self._named):
            self.notes.append(f"{self.name}: the column {column!r} is pandas' index without a name, and is left out")
            return
        kinds = {part: self._kind(kind, column) for part, kind in types.items() if not pa.types.is_null(_plain(kind))}
        if {"integer", "float"} == set(kinds.values()):
            kinds = dict.fromkeys(kinds, "float")  # pandas: an integer column with nulls in one part
        if len(set(kinds.values())) > 1:
            first, other = next((a, b) for a in kinds for b in kinds if kinds[a] != kinds[b])
            raise ImportRefused(
                f"{self._where(other)}, column {column!r}: {types[other]}, in {first.path.name} {types[first]}; expected one type "
                "in all parts; write the parts anew with one schema"
            )
        self._kinds[column] = next(iter(kinds.values()), "text")
        if self._kinds[column] == "unsupported":
            self._why[column] = f"type {next(iter(types.values()))} is not supported"

    def _kind(self, arrow_type: pa.DataType, column: str) -> Kind:
        kind, types = _plain(arrow_type), pa.types
        if types.is_boolean(kind):
            return "boolean"
        if types.is_uint64(kind) or (types.is_decimal(kind) and kind.scale <= 0):
            return self._big_integer(column, is_decimal=types.is_decimal(kind))
        if types.is_integer(kind):
            return "integer"
        if types.is_floating(kind) or types.is_decimal(kind):
            return "float"
        if types.is_time(kind) or types.is_duration(kind):
            self.notes.append(f"{self.name}.{column}: {kind} is read as a number of seconds")
            return "float"
        if types.is_timestamp(kind) or types.is_date(kind):
            return "timestamp"
        if _is_text(kind):
            return "text"
        if types.is_list(kind) or types.is_large_list(kind):
            value = _plain(kind.value_type)
            return "list" if _is_text(value) or types.is_integer(value) else "unsupported"
        return "unsupported"

    def _big_integer(self, column: str, *, is_decimal: bool) -> Kind:
        """Returns the kind that holds all integers of a column exactly; one look at its values."""
        for part in self.parts:
            with pq.ParquetFile(part.path) as file:
                for batch in file.iter_batches(columns=[column]):
                    values = batch.column(0)
                    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
                    bounds = pc.min_max(values).as_py()
                    if any(bound is not None and not -(2**63) <= bound < 2**63 for bound in bounds.values()):
                        if is_decimal and column not in self._keys:
                            return "float"
                        self.notes.append(f"{self.name}.{column}: integers beyond 2**63 are read as text, exactly")
                        return "text"
        return "integer"

    def _settle_folder(self, column: str) -> None:
        """Finds the kind of a column that folders' names hold."""
        if any(list(part.values) != list(self.parts[0].values) for part in self.parts):
            raise ImportRefused(
                f"table {self.name!r}: the parts lie in folders of different keys, such as {list(self.parts[0].values)}; expected "
                "the same key=value folders above every part"
            )
        values = [value for part in self.parts if (value := part.values[column]) is not None]
        is_integer = bool(values) and all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", value) for value in values)
        self._kinds[column] = "integer" if is_integer else "text"
        self.notes.append(f"{self.name}.{column}: read from the names of the folders, {column}=...")

    def _converted(self, batch: pa.RecordBatch, part: Part, kinds: Mapping[str, Kind], begin: int) -> pa.RecordBatch:
        columns = []
        for name, kind in kinds.items():
            if name not in batch.schema.names:
                value = part.values[name]
                typed = int(value) if kind == "integer" and value is not None else value
                columns.append(pa.array([typed] * len(batch), ARROW_TYPES[kind]))
                continue
            values, target = _decoded(batch.column(name)), ARROW_TYPES[kind]
            try:
                columns.append(_cast(values, target))
            except (pa.ArrowException, ValueError) as error:
                row = _first_misfit(values, target)
                option = exclude_option(f"{self.name}.{name}")
                raise ImportRefused(
                    f"{self._where(part)}, column {name!r}, row {begin + row} of the source: expected {_expected(kind)}, got "
                    f"{values[row].as_py()!r:.80}; correct the value, or leave the column out by {option}"
                ) from error
        return pa.RecordBatch.from_arrays(columns, names=list(kinds))


def _unwritten_index(schema: pa.Schema) -> set[str]:
    """Returns the names of the indices that pandas has not written, since they only count: RangeIndex."""
    index = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    return {level["name"] for level in index if isinstance(level, dict) and level.get("name")}


def _plain(kind: pa.DataType) -> pa.DataType:
    """Returns the type of the values below dictionaries, run lengths and extensions."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) or isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type
    return kind


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _decoded(values: pa.Array) -> pa.Array:
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values.cast(_plain(values.type)) if pa.types.is_dictionary(values.type) else values


def _cast(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Casts values exactly; ValueError or ArrowInvalid where one does not fit."""
    kind = values.type
    if pa.types.is_floating(kind) and pa.types.is_integer(target):
        values = values.cast(pa.float64())
        if pc.any(pc.greater_equal(pc.abs(values), float(_EXACT))).as_py():
            raise ValueError("a float beyond 2**53 does not tell neighbouring integers apart")
        return pc.if_else(pc.is_nan(values), None, values).cast(target)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":  # the one cast that may drop digits
        return values.cast(pa.timestamp("us", kind.tz), safe=False).cast(target)
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        numbers = values.cast(pa.int64() if kind.bit_width == 64 else pa.int32()).cast(pa.float64())
        return pc.multiply(numbers, _SECONDS[kind.unit])
    if pa.types.is_decimal(kind) and pa.types.is_string(target):
        texts: list[Any] = [None if value is None else str(int(value)) for value in values.to_pylist()]
        return pa.array(texts, target)
    if pa.types.is_integer(kind) and pa.types.is_floating(target):
        return values.cast(target, safe=False)
    return values.cast(target)


def _first_misfit(values: pa.Array, target: pa.DataType) -> int:
    """Returns the position of the first value that cannot be cast, by halving."""
    begin, end = 0, len(values)
    while end - begin > 1:
        middle = (begin + end) // 2
        try:
            _cast(values.slice(begin, middle - begin), target)
            begin = middle
        except (pa.ArrowException, ValueError):
            end = middle
    return begin


def _expected(kind: Kind) -> str:
    return {"integer": "a whole number, exactly held (text, or an integer below 2**63)", "timestamp": "a time"}.get(
        kind, kind
    )
