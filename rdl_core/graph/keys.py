"""Keys and times of all rows of a database, read by row groups: 4 bytes a key and 8 bytes a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.database.column_values import read_batches
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.schema import Schema
from rdl_core.timestamps import to_unix_seconds


@dataclass(frozen=True)
class Keys:
    """Keys and times of a database, of all rows.

    Args:
        num_rows: Rows per table.
        parents: Parent rows per key, int32 [child rows], -1 for null.
        own_times: UNIX seconds per table with a time column, int64 [rows].
    """

    num_rows: dict[str, int]
    parents: dict[EdgeType, NDArray[np.int32]]
    own_times: dict[str, NDArray[np.int64]]


def read_keys(dataset: RelBenchDataset, model: Schema | None = None) -> Keys:
    """Reads the key and time columns of a dataset, batch by batch; with a model's schema, of the tables and keys that it knows, in its order."""
    num_rows: dict[str, int] = {}
    parents: dict[EdgeType, NDArray[np.int32]] = {}
    own_times: dict[str, NDArray[np.int64]] = {}
    for table in dataset.manifest.tables if model is None else model.tables:
        spec = dataset.manifest.tables[table]
        fkeys = spec.fkeys if model is None else model.tables[table].fkey_col_to_pkey_table
        with pq.ParquetFile(dataset.db_dir / f"{table}.parquet") as file:
            num_rows[table] = file.metadata.num_rows
            for fkey_col, parent_table in fkeys.items():
                parents[table, fkey_col, parent_table] = _read(file, fkey_col, np.int32, _parent_rows)
            if spec.time_col:
                own_times[table] = read_times(file, spec.time_col)
    return Keys(num_rows, parents, own_times)


def read_times(file: pq.ParquetFile, column: str) -> NDArray[np.int64]:
    """Returns a column of row times, rounded up: int64 [rows], UNIX seconds, NO_TIME where null."""
    return _read(file, column, np.int64, partial(to_unix_seconds, round_up=True))


def _read(file: pq.ParquetFile, column: str, dtype: type, convert: Callable[[pa.Array], NDArray]) -> NDArray:
    rows, begin = np.empty(file.metadata.num_rows, dtype), 0
    for batch in read_batches(file, column):
        rows[begin : begin + len(batch)] = convert(batch)
        begin += len(batch)
    return rows


def _parent_rows(column: pa.Array) -> NDArray[np.int32]:
    values = column.to_numpy(zero_copy_only=False)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if values.dtype == object:
        missing, values = np.array([v is None for v in values]), np.array([0 if v is None else v for v in values])
    return np.where(missing, -1, np.nan_to_num(values)).astype(np.int32)
