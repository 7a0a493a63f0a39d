"""Turns staged rows into typed columns, strictly: a value that its column's type cannot hold is named, never rounded.

In: staged rows. Out: a DuckDB expression per column, inferred over ALL rows, so that the type of a column never depends on where a sample ended, and
what was decided on the way. Cost: a few scans of each column that is text or is named like a time, in vectorised code.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import duckdb

from distributed.notations.column import ColumnType, StagedColumn
from distributed.notations.column_type import column_type
from distributed.notations.null_values import NullValues
from distributed.schema.duckdb_sql import quoted
from distributed.schema.refusals import Refusals
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan


@dataclass(frozen=True, kw_only=True)
class TypedColumns:
    """The way in which the columns of a table are read.

    Args:
        columns: By name.
        times: Times beside the columns, as expressions over the typed ones.
    """

    columns: dict[str, ColumnType] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)

    def with_time(self, name: str, expression: str) -> TypedColumns:
        """Returns the columns and a time beside them, an expression over typed ones."""
        return replace(self, times={**self.times, name: expression})

    def relation(self, plan: TablePlan, staged: str) -> str:
        """Returns the SQL of the typed columns of a staged relation, and its `plan.row_source_col`.

        Cleaned texts, values and nulls are layers, because a notation names the text that it reads a dozen times.
        """
        clean = [self._layer(name, column.clean) for name, column in self.columns.items()]
        values = [self._layer(name, column.expression) for name, column in self.columns.items()]
        nulls = [
            self._layer(name, column.null and f"CASE WHEN {column.null} THEN NULL ELSE {quoted(name)} END")
            for name, column in self.columns.items()
        ]
        beside = [quoted(name) for name in self.columns] + [self._layer(name, sql) for name, sql in self.times.items()]
        for layer in (clean, values, nulls, beside):
            staged = f"(SELECT {', '.join([*layer, quoted(plan.row_source_col)])} FROM {staged})"
        return staged

    @staticmethod
    def _layer(name: str, sql: str | None) -> str:
        return f"{sql} AS {quoted(name)}" if sql else quoted(name)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The type of each column."""
        return {name: column.kind for name, column in self.columns.items()} | dict.fromkeys(self.times, "timestamp")

    @property
    def notes(self) -> list[str]:
        """The decisions, for the report."""
        return [note for column in self.columns.values() for note in column.notes]

    def lines(self, table: str) -> list[str]:
        """Returns the lines of a report on table `table`: what counts as null, then what was decided."""
        nulls = [
            f"{table}.{name}: {sum(found.values()):,} values count as null: "
            + ", ".join(f"{spelling!r} ({number:,})" for spelling, number in found.items())
            for name, found in self.nulls.items()
        ]
        return nulls + self.notes

    @property
    def readings(self) -> dict[str, str]:
        """The notation of each column that is not written in the plain one."""
        return {name: column.reading for name, column in self.columns.items() if column.reading}

    @property
    def nulls(self) -> dict[str, dict[str, int]]:
        """The number of values that count as null, by column and spelling."""
        return {name: dict(column.nulls) for name, column in self.columns.items() if column.nulls}

    @property
    def weak_times(self) -> dict[str, tuple[str, str]]:
        """The columns that are a row's time only for want of another: the SQL of the time, and what it is."""
        return {name: column.weak_time for name, column in self.columns.items() if column.weak_time}


def typed_columns(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    staged: str,
    time_col: str | None,
    null_values: NullValues | None = None,
) -> TypedColumns:
    """Returns how every column of a table is read.

    Args:
        con: Connection to the work database.
        plan: Plan of the table.
        staged: The DuckDB relation that holds the staged rows, numbered by `plan.row_source_col`.
        time_col: The time column that the user or the source named, which must be one; None to judge by names and values alone.
        null_values: What the user counts as null.

    Raises:
        ImportRefused: Values cannot be read, or can be read in two ways; it holds the problems of all columns.
    """
    columns: dict[str, ColumnType] = {}
    times = {time_col, plan.schema.valid_from, plan.schema.valid_to}
    refusals = Refusals()
    for name, kind in plan.columns.items():
        column = StagedColumn(
            con=con,
            plan=plan,
            staged=staged,
            name=name,
            is_time=name in times,
            is_key=name in plan.key_cols,
            is_key_part=name in plan.key_part_cols,
            is_text=kind in ("text", "text_time"),
            added_nulls=(*(null_values or NullValues()).added(plan.name, name), *plan.schema.declared.null_values),
        )
        with refusals.each():
            columns[name] = column_type(column, kind, declares_types=plan.schema.text_types != "all")
    refusals.refuse()
    return TypedColumns(columns=columns)
