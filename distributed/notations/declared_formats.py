"""The notation of a column that the schema file says by `formats: {column: FORMAT}`; a value that is not written so is refused.

FORMAT is a strptime format ("%d/%m/%Y"), `iso`, `unix_s`, `unix_ms`, `unix_us`, `unix_ns`, `unix_days`, `excel` or `julian_day` for times; `number`,
`integer`, "1.234,5", "1,234.5", "1 234.5" or "1 234,5" for numbers; `text` for a column that stays as it is.
"""

from __future__ import annotations

import duckdb

from distributed.notations import epochs, numbers
from distributed.notations.column import ColumnType, StagedColumn
from distributed.notations.notation import Notation, Sql, first_of
from distributed.notations.null_values import literal, spelled_null
from distributed.notations.times import CERTAIN, DAY_FIRST, MONTH_FIRST, YEAR_MONTH, declared_time
from distributed.schema.refusals import ImportRefused
from distributed.schema.source_table import Kind

_NUMBERS = {n.declared: n for n in (numbers.INTEGERS_AS_FLOATS, numbers.FLOATS, *numbers.SEPARATED)} | {
    "integer": numbers.INTEGERS_AS_FLOATS
}
_READINGS = {reading.declared: reading for reading in (*epochs.READINGS, *epochs.DECLARED_ONLY)}
_DAYS = {notation.declared: notation for notation in (DAY_FIRST, MONTH_FIRST)}


def declared_type(column: StagedColumn, kind: Kind, declared: str) -> ColumnType:
    """Returns the type of a column that is written as `declared`.

    Raises:
        ImportRefused: There is no such format, or a value is not written so.
    """
    if kind in ("timestamp", "boolean", "unsupported"):
        raise ImportRefused(
            f"{column.where}: `formats: {{{column.name}: {declared}}}` is for text and numbers, and this column is of type {kind}; remove it"
        )
    if declared == "text":
        return _text(column)
    value, result, name = _value(column, kind, declared)
    total, read = column.counts("v", value("v"))
    if read < total:
        column.refuse_misfits(value("v"), f"values in the format {declared!r}", read, total, notation=f'"{declared}"')
    return ColumnType(
        expression=value(column.sql),
        clean=column.text if column.is_text else None,
        kind=result,
        reading=f"{name}, by the schema file",
        notes=(f"{column.label}: read as {name}, by the schema file",),
        nulls=column.spelled_nulls(is_typed=True) if column.is_text else {},
    )


def _text(column: StagedColumn) -> ColumnType:
    null = spelled_null(column.trimmed, column.added_nulls, is_typed=False)
    value = f"CAST({column.sql} AS VARCHAR)"
    return ColumnType(
        expression=value if null == "false" else f"CASE WHEN {null} THEN NULL ELSE {value} END",
        kind="text",
        reading="text, by the schema file",
        notes=(f"{column.label}: kept as text, by the schema file",),
        nulls={} if null == "false" else column.spelled_nulls(is_typed=False),
    )


def _value(column: StagedColumn, kind: Kind, declared: str) -> tuple[Sql, Kind, str]:
    """Returns the SQL of a value, its kind and its name."""
    make = {"integer": epochs.of_integers, "float": epochs.of_floats}.get(kind, epochs.of_text)
    if declared in _READINGS:
        reading = _READINGS[declared]
        return (
            (lambda text: reading.unbounded(make(text))),
            "timestamp",
            ", ".join(filter(None, (reading.name, reading.caution))),
        )
    if kind in ("integer", "float"):
        if "%" in declared:
            notation = _checked_time(column, declared)
            return (
                (lambda number: notation.value(f"CAST({make(number).integer} AS VARCHAR)")),
                "timestamp",
                notation.name,
            )
        raise ImportRefused(
            f"{column.where}: no format {declared!r} for a column of numbers; expected one of {sorted(_READINGS)} or text"
        )
    if declared in _DAYS:
        return _DAYS[declared].value, "timestamp", _DAYS[declared].name
    if declared == "iso":
        return first_of(*(notation.value for notation in (*CERTAIN, YEAR_MONTH))), "timestamp", "ISO 8601"
    if declared in _NUMBERS:
        return _NUMBERS[declared].value, _NUMBERS[declared].kind, _NUMBERS[declared].name
    if "%" not in declared:
        raise ImportRefused(
            f'{column.where}: no format {declared!r}; expected a strptime format such as "%d/%m/%Y", or one of '
            f"{sorted({'text', 'iso', *_NUMBERS, *_READINGS} - {''})}"
        )
    notation = _checked_time(column, declared)
    return notation.value, "timestamp", f"times of {notation.name}"


def _checked_time(column: StagedColumn, declared: str) -> Notation:
    try:
        column.con.execute(f"SELECT epoch_us(try_strptime('', {literal(declared)}))").fetchall()
        return declared_time(declared)
    except duckdb.Error as error:
        raise ImportRefused(f"{column.where}: format {declared!r}: {error}; expected a strptime format") from error
    except ValueError as error:
        raise ImportRefused(
            f"{column.where}: {error}, so that its values are no times of the calendar; keep the column as text by "
            f"`formats: {{{column.name}: text}}`, or leave it out by {column.exclude}"
        ) from error
