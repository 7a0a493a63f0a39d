"""Turns Python objects from a database driver into Arrow arrays, strictly: a value that its column's kind cannot hold is refused, never rounded.

Arrays are int64, float64, bool, timestamp[us] in UTC, string, or lists
of string. Cost: vectorised; per-value code runs only on batches whose values are not
already of the expected Python type.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from distributed.schema.source_table import Kind

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "text": pa.string(),
    "text_time": pa.string(),
    "list": pa.list_(pa.string()),
}
_INT64 = range(-(2**63), 2**63)
_EXACT_FLOAT = 2**53


def to_arrow(values: Sequence[Any], kind: Kind) -> pa.Array:
    """Converts one column of a batch to Arrow.

    Raises:
        ValueError, TypeError, OverflowError: Some value does not fit; `first_misfit` tells which.
    """
    if kind == "timestamp":
        # Aware values of one batch may have different zones: each is moved to UTC; naive ones are taken as UTC.
        moments = [_convert(value, kind) for value in values]
        return pa.array(moments, pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    expected = {"integer": int, "float": float, "boolean": bool}.get(kind, str)
    if all(value is None or type(value) is expected for value in values):
        return pa.array(values, ARROW_TYPES[kind])
    return pa.array([_convert(value, kind) for value in values], ARROW_TYPES[kind])


def first_misfit(values: Sequence[Any], kind: Kind) -> int:
    """Returns the position of the first value that `to_arrow` cannot convert."""
    for position, value in enumerate(values):
        try:
            to_arrow([value], kind)
        except (ValueError, TypeError, OverflowError):
            return position
    raise AssertionError("to_arrow refused a batch of which it takes every value")


def _convert(value: Any, kind: Kind) -> Any:
    """Converts one value to the Python type of `kind`; raises TypeError where that would change its meaning."""
    if value is None:
        return None
    number = isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool)
    if kind == "integer" and number and _is_whole(value) and int(value) in _INT64:
        return int(value)
    if kind == "float" and number and (value != value or abs(value) <= _EXACT_FLOAT or _is_exact(value)):
        return float(value)
    if kind == "boolean" and value in (0, 1):
        return bool(value)
    if kind == "timestamp" and isinstance(value, datetime.datetime):
        return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    if kind == "timestamp" and isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    if kind in ("text", "text_time") and isinstance(value, str | uuid.UUID | datetime.time | datetime.timedelta):
        return str(value)
    if kind == "text_time" and type(value) in (int, float):
        # SQLite's DATETIME holds numbers, too (UNIX seconds or milliseconds, Julian days): `notations` tells which, from their text.
        return repr(value)
    if kind == "list" and isinstance(value, list | tuple):
        return [_convert(part, "text") for part in value]
    raise TypeError(f"{type(value).__name__} is not {kind}")


def _is_exact(value: int | float | decimal.Decimal) -> bool:
    """Returns whether a float holds a long integer with all its digits; digits after the point are rounded as floats are."""
    return not _is_whole(value) or int(float(value)) == value


def _is_whole(value: int | float | decimal.Decimal) -> bool:
    return isinstance(value, int) or (math.isfinite(value) and value == int(value))
