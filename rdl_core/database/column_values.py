"""One column of a table in memory, read by row groups: numbers and times as arrays, strings as codes into the distinct ones.

Promises: what is here depends on the rows alone, not on the row groups or batches that they came in; a column takes at most 9 bytes a row (5 where
it holds strings, besides each distinct string once), and while it is read one batch more. Lists and vectors stay as Arrow holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rdl_core.timestamps import is_time, to_unix_seconds

BATCH_ROWS = 131_072
_PENDING_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ColumnValues:
    """The values of one column.

    Args:
        type: The Arrow type; of a dictionary, that of its values.
        array: [rows]. Integers in their own type; float64 of other numbers, NaN where float32 cannot hold them; int64 UNIX seconds of times, NO_TIME
            where null; int32 codes of strings and booleans, -1 where null. Else the Arrow column.
        valid: bool [rows], whether the value is not null.
        distinct: The strings of the codes, in order of appearance; None where there are no codes.
    """

    type: pa.DataType
    array: NDArray | pa.ChunkedArray
    valid: NDArray[np.bool_]
    distinct: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.valid)

    def counts(self, keep: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.int64]]:
        """Returns the distinct values among the rows of `keep`, which have no null, in ascending order, and how often each comes."""
        assert isinstance(self.array, np.ndarray)
        return counted(self.array[keep], self.distinct)

    def as_strings(self, values: NDArray) -> pa.Array:
        """Returns values of `array`, without null, as strings."""
        if self.distinct is not None:
            return self.distinct.take(pa.array(values)).cast(pa.string())
        if is_time(self.type):
            return pa.array(values, pa.timestamp("s")).cast(pa.string())
        return pa.array(values).cast(pa.string())


def counted(values: NDArray, distinct: pa.Array | None = None) -> tuple[NDArray, NDArray[np.int64]]:
    """Returns the distinct values in ascending order, and how often each comes; `distinct` is there where values are codes into it."""
    if distinct is None:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values, minlength=len(distinct))
    present = np.flatnonzero(counts)
    return present, counts[present]


def column_of(values: pa.ChunkedArray) -> ColumnValues:
    """Returns a column that is in memory already."""
    return collect(values.iterchunks(), values.type, len(values))


def read_column(path: Path, name: str, metadata: pq.FileMetaData | None = None) -> ColumnValues:
    """Returns a column of a Parquet file, whose metadata may be known."""
    with pq.ParquetFile(path, metadata=metadata, memory_map=False, pre_buffer=False) as file:
        kind = file.schema_arrow.field(name).type
        return collect(read_batches(file, name), kind, file.metadata.num_rows)


def read_batches(file: pq.ParquetFile, name: str) -> Iterator[pa.Array]:
    """Yields a column of an open file, batch by batch."""
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[name], use_threads=False):
        yield batch.column(batch.schema.get_field_index(name))


def collect(chunks: Iterable[pa.Array], kind: pa.DataType, num_rows: int) -> ColumnValues:
    """Returns the chunks of a column as one column."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    valid = np.empty(num_rows, bool)
    if is_string(kind) or pa.types.is_boolean(kind):
        return _codes(chunks, kind, valid)
    if pa.types.is_integer(kind):
        array: NDArray = np.empty(num_rows, kind.to_pandas_dtype())
    elif is_number(kind):
        array = np.empty(num_rows, np.float64)
    elif is_time(kind):
        array = np.empty(num_rows, np.int64)
    else:
        kept = [_noted(chunk, valid, begin) for begin, chunk in _placed(chunks, kind)]
        return ColumnValues(type=kind, array=pa.chunked_array(kept, kind), valid=valid)
    for begin, chunk in _placed(chunks, kind):
        _noted(chunk, valid, begin)
        here = array[begin : begin + len(chunk)]
        if pa.types.is_integer(kind):
            here[:] = chunk.fill_null(0).to_numpy(zero_copy_only=False) if chunk.null_count else chunk.to_numpy()
        elif is_number(kind):
            here[:] = to_float(chunk)
        else:
            here[:] = to_unix_seconds(chunk, round_up=False)
    return ColumnValues(type=kind, array=array, valid=valid)


def _placed(chunks: Iterable[pa.Array], kind: pa.DataType) -> Iterator[tuple[int, pa.Array]]:
    begin = 0
    for chunk in chunks:
        yield begin, chunk.cast(kind) if pa.types.is_dictionary(chunk.type) else chunk
        begin += len(chunk)


def _noted(chunk: pa.Array, valid: NDArray[np.bool_], begin: int) -> pa.Array:
    here = valid[begin : begin + len(chunk)]
    here[:] = chunk.is_valid().to_numpy(zero_copy_only=False) if chunk.null_count else True
    return chunk


def _codes(chunks: Iterable[pa.Array], kind: pa.DataType, valid: NDArray[np.bool_]) -> ColumnValues:
    """Returns codes into the distinct strings of all chunks. A chunk's own distinct strings are kept until they outgrow those of all before."""
    array = np.empty(len(valid), np.int32)
    distinct = pa.array([], pa.large_string())
    pending: list[tuple[NDArray[np.int32], pa.Array]] = []

    def merge() -> pa.Array:
        together = pa.concat_arrays([distinct, *(own for _, own in pending)]).dictionary_encode()
        code = together.indices.to_numpy()
        begin = len(distinct)
        for here, own in pending:
            of_own = np.append(code[begin : begin + len(own)], np.int32(-1))  # so that -1 stays -1
            here[:] = of_own[here]
            begin += len(own)
        pending.clear()
        return together.dictionary

    for begin, chunk in _placed(chunks, kind):
        _noted(chunk, valid, begin)
        encoded = chunk.cast(pa.large_string()).dictionary_encode()
        here = array[begin : begin + len(chunk)]
        here[:] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        pending.append((here, encoded.dictionary))
        if sum(own.nbytes for _, own in pending) > max(_PENDING_BYTES, distinct.nbytes):
            distinct = merge()
    return ColumnValues(type=kind, array=array, valid=valid, distinct=merge())


def is_string(kind: pa.DataType) -> bool:
    """Returns whether an Arrow type holds strings."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_number(kind: pa.DataType) -> bool:
    """Returns whether `to_float` takes an Arrow type."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration, pa.types.is_time)
    return any(test(kind) for test in tests)


def to_float(values: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    """Returns float64 [rows]; durations and times of day in seconds; NaN for null and for what float32 cannot hold, infinities too."""
    kind = values.type
    scale = 1.0
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[kind.unit]
        values = values.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        values = values.cast(pa.float64())
    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    numbers = numbers.astype(np.float64, copy=False) * scale
    return np.where(np.abs(numbers) <= np.finfo(np.float32).max, numbers, np.nan)
