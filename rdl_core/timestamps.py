"""The one conversion of times to UNIX seconds (int64).

In: an Arrow column of type timestamp (s, ms, us or ns; with or without time zone), date32 or date64; or a pandas Series
or a single timestamp. Out: whole seconds since 1970-01-01 00:00 UTC. A time without zone is taken as UTC, a date as
its midnight UTC.

Rounding is part of the promise: the times of rows are rounded up, seed times and cutoffs down. For a row at r and a
seed or cutoff at s, both with fractions,
    ceil(r) <  floor(s)  implies  r <  s:  no row at or after the true seed time becomes visible,
    ceil(r) <= floor(s)  implies  r <= s:  no row after the cutoff is kept.
The price: a row less than two seconds before its seed can stay hidden when one of the two times has a fraction; whole
seconds lose nothing. A lost row is a little less context, a row too many a leaked label. Rounding is floor and ceil,
not truncation, so that all this holds before 1970 too.

A null becomes NO_TIME, the largest int64: as a row time it is never visible. As a seed time it would see everything,
so `series_to_unix_seconds` refuses it, and so must whoever converts seed times with `to_unix_seconds`.

Cost: a few passes over the integers of the column, no Python objects. RelBench 3.0.2's `to_unix_time` divides the
integers of any unit by 10^9, which is wrong by powers of 1000 for all but nanoseconds (pandas 3 keeps other units).
"""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

SECONDS_PER_DAY = 86_400
NO_TIME: int = int(np.iinfo(np.int64).max)

_TICKS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def is_time(arrow_type: pa.DataType) -> bool:
    """Returns whether `to_unix_seconds` takes an Arrow type: timestamp, date32 or date64."""
    return bool(pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type))


def to_unix_seconds(column: pa.Array | pa.ChunkedArray, *, round_up: bool) -> np.ndarray:
    """Converts a column of times to UNIX seconds.

    Args:
        column: n times; timestamp of any unit and zone, date32 or date64.
        round_up: True for the times of rows, False for seed times and cutoffs (see the top of this file).

    Returns:
        int64 [n], seconds since 1970-01-01 UTC; NO_TIME where the column is null.

    Raises:
        TypeError: The column's type is not a time.
    """
    if not is_time(column.type):
        raise TypeError(f"expected a column of timestamps or dates, got {column.type}; store the times as timestamps")
    if pa.types.is_date32(column.type):  # days; Arrow casts them to integers only by way of a timestamp
        column = column.cast(pa.timestamp("s"))
    elif pa.types.is_date64(column.type):
        column = column.cast(pa.timestamp("ms"))
    ticks_per_s = _TICKS_PER_S[column.type.unit]
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    ticks = column.cast(pa.int64()).fill_null(0).to_numpy()
    seconds = ticks // ticks_per_s
    if round_up:
        seconds += ticks % ticks_per_s != 0
    return np.where(is_null, NO_TIME, seconds)


def seconds_of(timestamp: pd.Timestamp | str) -> int:
    """Converts one seed time or cutoff to UNIX seconds, rounded down.

    Args:
        timestamp: A time or its ISO text, such as "2005-01-01"; a datetime or date of the standard library will do.

    Raises:
        TypeError: It is not a time (a number, an empty or unreadable text, NaT).
    """
    remedy = 'pass a pd.Timestamp or ISO text such as "2005-01-01 12:00"'
    if not isinstance(timestamp, (str, datetime.date)):  # pd.Timestamp is a datetime, datetime a date
        raise TypeError(f"expected a time, got {timestamp!r} of type {type(timestamp).__name__}; {remedy}")
    try:
        parsed = pd.Timestamp(timestamp)
    except ValueError as error:
        raise TypeError(f"expected a time, got {timestamp!r}; {remedy}") from error
    if parsed is pd.NaT:
        raise TypeError(f"expected a time, got {timestamp!r}, which is no time; {remedy}")
    return int(to_unix_seconds(pa.array(np.array([parsed.to_datetime64()])), round_up=False)[0])


def series_to_unix_seconds(series: pd.Series) -> np.ndarray:
    """Converts the seed times of a label table to UNIX seconds, rounded down.

    Args:
        series: n times; datetime64 of any unit and zone, Arrow-backed, or objects (datetime, date).

    Returns:
        int64 [n], seconds since 1970-01-01 UTC.

    Raises:
        TypeError: The values are not times, or not all of one kind.
        ValueError: A value is null; a seed without a time would see the whole database, its own label included.
    """
    if len(series) == 0 and series.dtype == object:  # nothing to infer a type from, and nothing to convert
        return np.empty(0, dtype=np.int64)
    try:
        column = pa.Array.from_pandas(series)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TypeError(f"column {series.name!r}: expected times of one kind: {error}") from error
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"column {series.name!r}, row {row}: expected a seed time, got null; drop the row or date it")
    if not is_time(column.type):
        raise TypeError(f"column {series.name!r}: expected times, got {column.type}; convert with pd.to_datetime")
    return to_unix_seconds(column, round_up=False)
