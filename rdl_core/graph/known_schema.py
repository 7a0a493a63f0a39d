"""New data read as a model knows it: the statistics, vocabularies, tables and keys of the schema that it was trained with.

In: a dataset, whose rows may be others, and a `Schema`. Promises: what the model needs and the dataset lacks, or has with another meaning, is refused
with table, column and remedy, all of it together; what the dataset has besides (a table, a key, a column) is left out and said; a category that the
model has not seen is its unknown value, and these are counted; or, where pretraining goes on, it gets a code behind those that the model knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.database.column_checks import DatabaseError, Problem
from rdl_core.database.column_values import ColumnValues, is_number, is_string
from rdl_core.graph.schema import MAX_CATEGORIES, ColumnSchema, Schema, TableSchema, frequent_values
from rdl_core.timestamps import is_time, seconds_of

FRESH = "materialize without --schema-of and train a model of its own"


def check_known(dataset: RelBenchDataset, model: Schema) -> list[str]:
    """Returns a line for each table, key and column that the model does not know, and that is therefore left out.

    Raises:
        DatabaseError: The dataset lacks what the model knows, or has it with another type or meaning.
    """
    tables = dataset.manifest.tables
    if not set(tables) & set(model.tables):
        problem = Problem(
            place="the tables",
            expected=f"those of {model.database}, the database of the model: {', '.join(sorted(model.tables))}",
            got=f"another database, of the tables {', '.join(sorted(tables))}",
            remedy="the model's own database, or a model of this one",
        )
        raise DatabaseError(str(dataset.dataset_dir), [problem])
    problems, lines = list(_cutoff_problems(dataset, model)), []
    for name, known in model.tables.items():
        if name not in tables:
            problems.append(
                Problem(
                    place=f"table {name!r}",
                    expected="this table, which the model knows",
                    got=f"tables {', '.join(sorted(tables))}",
                    remedy=f"import it again, without rows if there are none; or {FRESH}",
                )
            )
            continue
        problems += _table_problems(dataset, known)
        file = pq.read_schema(dataset.db_dir / f"{name}.parquet")
        keys = {tables[name].pkey, *tables[name].fkeys, *known.fkey_col_to_pkey_table}
        attributes = {column.name for column in known.columns}
        lines += [
            f"{name}.{column}: a key that the model does not know; left out"
            for column in tables[name].fkeys
            if column not in known.fkey_col_to_pkey_table
        ]
        lines += [
            f"{name}.{column}: {known.left_out.get(column, 'a column that the model does not know')}; left out"
            for column in file.names
            if column not in attributes | keys
        ]
    lines += [f"{name}: a table that the model does not know; left out" for name in tables if name not in model.tables]
    if problems:
        raise DatabaseError(str(dataset.dataset_dir), problems)
    return lines


def left_out_of(known: TableSchema, columns: Iterable[str]) -> dict[str, str]:
    """Returns why columns are left out that are not among those of the model: its own reasons, or that it does not know them."""
    return {name: known.left_out.get(name, "the model does not know it") for name in columns}


def known_digest(model: Schema) -> str:
    """Returns a hash of all of a schema that the cells of a store depend on; numbers of rows, cutoff and name of the database do not count."""
    whole = model.to_json()
    tables = {
        name: {key: table[key] for key in ("time_col", "fkey_col_to_pkey_table", "columns")}
        for name, table in whole["tables"].items()
    }
    dumped = json.dumps([list(tables), tables, whole["text_embedder"], whole["timeless_rows"], whole["time_span_s"]])
    return hashlib.sha256(dumped.encode()).hexdigest()


def with_new_values(column: ColumnSchema, values: ColumnValues, visible: NDArray[np.bool_]) -> ColumnSchema:
    """Returns the schema of a column with the values behind its categories that it lacks, most frequent first, up to MAX_CATEGORIES in all.

    Args:
        visible: bool [rows], cells up to the cutoff; no other is looked at.
    """
    if not column.categories:
        return column
    known = set(column.categories)
    found = map(column.category_of, frequent_values(column.stype, values, visible & values.valid))
    new = tuple(value for value in found if value not in known)[: MAX_CATEGORIES - len(known)]
    if not new:
        return column
    num_measured = len(column.categories) if column.num_measured is None else column.num_measured
    return replace(column, categories=column.categories + new, num_measured=num_measured)


def without_new_values(schema: Schema, model: Schema) -> Schema:
    """Returns a schema as it was before `with_new_values`, as far as its tables and columns are the model's."""
    tables = {}
    for name, table in schema.tables.items():
        known = {c.name: c for c in model.tables[name].columns} if name in model.tables else {}
        columns = tuple(_as_short_as(known.get(c.name, c), c) for c in table.columns)
        tables[name] = replace(table, columns=columns)
    return replace(schema, tables=tables)


def _as_short_as(known: ColumnSchema, column: ColumnSchema) -> ColumnSchema:
    num_measured = len(known.categories) if known.num_measured is None else known.num_measured
    if len(column.categories) == len(known.categories) or column.num_measured != num_measured:
        return column
    return replace(column, categories=column.categories[: len(known.categories)], num_measured=known.num_measured)


def _cutoff_problems(dataset: RelBenchDataset, model: Schema) -> Iterator[Problem]:
    if seconds_of(dataset.val_timestamp) < model.cutoff_s:
        yield Problem(
            place="manifest.yaml",
            expected=f"a val_timestamp not before the model's, {_date(model.cutoff_s)}: the model has seen rows up to that",
            got=str(dataset.val_timestamp),
            remedy="import with a later --val-timestamp",
        )


def _date(seconds: int) -> str:
    return str(pa.scalar(seconds, pa.timestamp("s")))


def _table_problems(dataset: RelBenchDataset, known: TableSchema) -> Iterator[Problem]:
    spec = dataset.manifest.tables[known.name]
    file = pq.read_schema(dataset.db_dir / f"{known.name}.parquet")
    place = f"table {known.name!r}"
    if spec.time_col != known.time_col:
        yield Problem(
            place=place,
            expected=f"the model's time column, {known.time_col}",
            got=str(spec.time_col),
            remedy=f"name it at import (--time-cols {known.name} {known.time_col}), or {FRESH}",
        )
    for fkey_col, parent in known.fkey_col_to_pkey_table.items():
        if spec.fkeys.get(fkey_col) != parent:
            yield Problem(
                place=place,
                column=fkey_col,
                expected=f"a foreign key to {parent!r}, as the model knows it",
                got=f"one to {spec.fkeys[fkey_col]!r}" if fkey_col in spec.fkeys else "no foreign key",
                remedy=f"declare it at import, or {FRESH}",
            )
    for column in known.columns:
        if column.name not in file.names:
            yield Problem(
                place=place,
                column=column.name,
                expected=f"this column, which the model reads as {column.stype}",
                got=f"columns {', '.join(file.names)}",
                remedy=f"import the column, with nulls if it has no values any more; or {FRESH}",
            )
        elif not _fits(column, file.field(column.name).type) or column.name in {spec.pkey, *spec.fkeys}:
            is_key = column.name in {spec.pkey, *spec.fkeys}
            yield Problem(
                place=place,
                column=column.name,
                expected=f"a column that the model can read as {column.stype}",
                got="a key" if is_key else f"values of type {file.field(column.name).type}",
                remedy=f"import it with the type that it had, or {FRESH}",
            )


def _fits(column: ColumnSchema, kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if column.stype == "numerical":
        return is_number(kind)
    if column.stype == "timestamp":
        return is_time(kind)
    if column.stype == "text":
        return is_string(kind)
    if column.stype == "embedding":
        return bool(pa.types.is_fixed_size_list(kind) and kind.list_size == column.channels)
    if column.stype == "multicategorical":
        return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
    return bool(is_string(kind) or pa.types.is_boolean(kind) or is_number(kind) or is_time(kind))
