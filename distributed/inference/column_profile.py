"""Profiles of columns by one scan of a table: nulls, about how many distinct values, the range; what most pairs of columns are ruled out by.

In: a DuckDB relation with typed columns. Out: `ColumnProfile`s. Memory: a sketch per column; tables of thousands of columns are scanned a hundred
columns at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.source_table import Kind, SourceTable

_COLUMNS_PER_SCAN = 100
_LONGEST_KEY = 100
_EXACT = 2**53


@dataclass(frozen=True, kw_only=True)
class TypedRows:
    """A table to be looked at.

    Args:
        schema: What its source declares.
        relation: The DuckDB relation that holds its rows, quoted; its columns have the types of `kinds`.
    """

    schema: SourceTable
    relation: str
    kinds: Mapping[str, Kind]


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """One column.

    Args:
        num_distinct: About how many distinct values there are (HyperLogLog, within a few percent); `distinct_values` counts them.
        least, most: Range; None without values.
        is_whole: Whether all values are whole numbers that a float holds exactly.
        longest: Characters of the longest text.
        mean_length: Characters of a text.
    """

    table: str
    column: str
    kind: Kind
    num_rows: int
    num_values: int
    num_distinct: int
    least: Any
    most: Any
    is_whole: bool
    longest: int
    mean_length: float

    @property
    def is_key_like(self) -> bool:
        """Tells whether the values can be keys: whole numbers or short texts."""
        return self.num_values > 0 and (self.is_whole or (self.kind == "text" and self.longest <= _LONGEST_KEY))

    @property
    def is_number(self) -> bool:
        """Tells whether the values are whole numbers."""
        return self.is_whole

    @property
    def is_distinctive(self) -> bool:
        """Tells whether values of another kind would hardly lie among these by chance.

        Whole numbers without gaps from 1 on hold every count, every rank, every year and every other key; codes, big numbers and numbers with gaps do
        not.
        """
        if self.num_distinct < 10:
            return False
        if self.kind == "text":
            return self.mean_length >= 2
        span = int(self.most) - int(self.least) + 1
        return self.num_distinct < 0.2 * span or int(self.least) >= 10_000


def profile(con: duckdb.DuckDBPyConnection, table: TypedRows) -> dict[str, ColumnProfile]:
    """Returns the profile of every column."""
    columns = list(table.kinds.items())
    profiles: dict[str, ColumnProfile] = {}
    for start in range(0, len(columns), _COLUMNS_PER_SCAN):
        part = columns[start : start + _COLUMNS_PER_SCAN]
        figures = ", ".join(figure for column, kind in part for figure in _figures(quoted(column), kind))
        found = first_row(con, f"SELECT count(*), {figures} FROM {table.relation}") or ()
        for place, (column, kind) in enumerate(part):
            num_values, num_distinct, least, most, is_whole, longest, mean = found[1 + 7 * place : 8 + 7 * place]
            profiles[column] = ColumnProfile(
                table=table.schema.name,
                column=column,
                kind=kind,
                num_rows=found[0],
                num_values=num_values,
                num_distinct=min(num_distinct, num_values),
                least=least,
                most=most,
                is_whole=bool(is_whole),
                longest=longest or 0,
                mean_length=mean or 0.0,
            )
    return profiles


def _figures(column: str, kind: Kind) -> tuple[str, ...]:
    is_whole, longest, mean = "false", "0", "0.0"
    if kind == "integer":
        is_whole = f"count({column}) > 0"
    elif kind == "float":
        is_whole = f"bool_and(abs({column}) < {_EXACT} AND {column} = trunc({column}))"
    elif kind == "text":
        longest, mean = f"max(length({column}))", f"avg(length({column}))"
    text = "VARCHAR" if kind == "timestamp" else None  # Python has no year 10000
    least, most = (f"CAST({side}({column}) AS {text})" if text else f"{side}({column})" for side in ("min", "max"))
    return (
        f"count({column})",
        f"approx_count_distinct({column})",
        least,
        most,
        is_whole,
        longest,
        mean,
    )


class DistinctValues:
    """The distinct values of columns, each found once and kept in the work database."""

    def __init__(self, con: duckdb.DuckDBPyConnection, tables: Mapping[str, TypedRows]) -> None:
        self._con = con
        self._tables = tables
        self._found: dict[tuple[str, str, bool], tuple[str, int]] = {}

    def of(self, table: str, column: str, *, as_text: bool = False) -> tuple[str, int]:
        """Returns the relation of one column `value` that holds a column's distinct values, and their number; nulls are none."""
        key = (table, column, as_text)
        if key not in self._found:
            typed = self._tables[table]
            name = quoted(f"distinct_{len(self._found)}")
            value = quoted(column)
            if typed.kinds[column] == "float":
                value = f"CAST({value} AS BIGINT)"
            if as_text:
                value = f"CAST({value} AS VARCHAR)"
            self._con.execute(
                f"CREATE TEMP TABLE {name} AS SELECT DISTINCT {value} AS value FROM {typed.relation} WHERE {quoted(column)} IS NOT NULL"
            )
            (number,) = first_row(self._con, f"SELECT count(*) FROM {name}") or (0,)
            self._found[key] = (name, number)
        return self._found[key]

    def num_shared(self, child: tuple[str, str], parent: tuple[str, str], *, as_text: bool) -> int:
        """Returns how many of the child's distinct values are among the parent's."""
        left, _ = self.of(*child, as_text=as_text)
        right, _ = self.of(*parent, as_text=as_text)
        (number,) = first_row(
            self._con, f"SELECT count(*) FROM {left} SEMI JOIN {right} ON {left}.value = {right}.value"
        ) or (0,)
        return number

    def drop(self) -> None:
        """Drops the relations."""
        for name, _ in self._found.values():
            self._con.execute(f"DROP TABLE {name}")
        self._found.clear()
