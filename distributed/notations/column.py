"""One staged column: its texts without blanks around them and without spellings of null, counted and refused by name.

In: a staged relation whose rows are numbered by `plan.row_source_col`. Every count of several notations is one scan of the one column.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import duckdb

from distributed.notations.null_values import equal_to_null, spelled_null
from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, exclude_option
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan

REFUSED_SHARE = 0.9
"""A column of which so many values are read in one notation, but not all, is refused."""
NOTED_SHARE = 0.5
"""A column of which so many values are read in one notation, but not all, stays text with a note."""
_NUM_SHOWN = 3
_BLANKS = "' ' || chr(9) || chr(10) || chr(13) || chr(160)"


@dataclass(frozen=True, kw_only=True)
class ColumnType:
    """The way in which a column is read.

    Args:
        expression: The SQL of its values, over the column itself, of which `clean` is made first.
        clean: The SQL of the text to be read; None where the column is read as it is staged.
        null: The SQL, over the values, of those that the user calls null; None where there are none.
        kind: The type that results.
        reading: The notation, where it is not the plain one of its kind.
        notes: What was decided, for the report.
        nulls: How many values of the source count as null, by spelling.
        weak_time: The SQL of a time and what the numbers are then taken for, where the column is a row's time only for want of another.
    """

    expression: str
    kind: Kind
    clean: str | None = None
    null: str | None = None
    reading: str = ""
    notes: tuple[str, ...] = ()
    nulls: Mapping[str, int] = field(default_factory=dict)
    weak_time: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class StagedColumn:
    """A column before its type is known.

    Args:
        is_time: Whether the user or the source says that it is a time.
        is_key: Whether it becomes row numbers.
        is_key_part: Whether it is one of several columns of a key, which stay attributes.
        is_text: Whether it is staged as text.
        added_nulls: Spellings of null that the user added for it.
    """

    con: duckdb.DuckDBPyConnection
    plan: TablePlan
    staged: str
    name: str
    is_time: bool
    is_key: bool
    is_key_part: bool
    is_text: bool
    added_nulls: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The words with which a message begins."""
        return f"table {self.plan.name!r}, column {self.name!r}"

    @property
    def label(self) -> str:
        """The words with which a note begins."""
        return f"{self.plan.name}.{self.name}"

    @property
    def exclude(self) -> str:
        """The option that leaves the column out."""
        return exclude_option(self.label)

    @property
    def sql(self) -> str:
        """The quoted name."""
        return quoted(self.name)

    @property
    def row(self) -> str:
        """The quoted name of the column that numbers the rows of the source."""
        return quoted(self.plan.row_source_col)

    @property
    def trimmed(self) -> str:
        """The SQL of the text without blanks around it."""
        return f"trim({self.sql if self.is_text else f'CAST({self.sql} AS VARCHAR)'}, {_BLANKS})"

    @property
    def text(self) -> str:
        """The SQL of what is read: of a text, null where it is a spelling of null."""
        if not self.is_text:
            return self.sql
        return (
            f"CASE WHEN {spelled_null(self.trimmed, self.added_nulls, is_typed=True)} THEN NULL ELSE {self.trimmed} END"
        )

    def counts(self, *values: str) -> tuple[int, ...]:
        """Returns how many values of each SQL expression over `v`, what is read, and `raw`, what is staged, are not null: one scan."""
        columns = ", ".join(f"count({value})" for value in values)
        found = first_row(
            self.con, f"SELECT {columns} FROM (SELECT {self.sql} AS raw, {self.text} AS v FROM {self.staged})"
        )
        assert found is not None  # an aggregate without GROUP BY has one row
        return found

    def examples(self, condition: str, *values: str) -> list[tuple[Any, ...]]:
        """Returns the first rows that meet a condition over `v`: number in the source, value, key, then `values`."""
        key = [quoted(name) for name in self.plan.schema.pkey if name in self.plan.columns and name != self.name][:3]
        keys = f"[{', '.join(f'CAST({name} AS VARCHAR)' for name in key)}]" if key else "NULL"
        rows = f"SELECT {self.row} AS row_source, {self.sql} AS raw, {keys} AS key, {self.text} AS v FROM {self.staged}"
        columns = ", ".join(("row_source", "raw", "key", *values))
        return self.con.execute(
            f"SELECT {columns} FROM ({rows}) WHERE {condition} ORDER BY row_source LIMIT {_NUM_SHOWN}"
        ).fetchall()

    def place(self, row: Sequence[Any]) -> str:
        """Returns how a message names a row of `examples`."""
        key = f" (key {', '.join(map(str, row[2]))})" if row[2] else ""
        return f"row {row[0]} of the source{key}"

    def remedy(self, *, notation: str = "") -> str:
        """Returns what the user can do about a value that cannot be read."""
        ways = ["correct the values", f"count them as null by --null-values {shlex.quote(self.label + '=VALUE')}"]
        if notation:
            ways.append(
                f"give their notation in the schema file, under {self.plan.name}: `formats: {{{self.name}: {notation}}}`"
            )
        if not self.is_time:
            ways.append(f"keep the column as text by `formats: {{{self.name}: text}}` there")
        return f"{', '.join(ways)}, or leave the column out by {self.exclude}"

    def refuse_misfits(self, value: str, what: str, fitting: int, total: int, *, notation: str = "") -> NoReturn:
        """Refuses the values that a notation does not read, the first of them by row.

        Raises:
            ImportRefused: Always.
        """
        rows = self.examples(f"v IS NOT NULL AND ({value}) IS NULL")
        others = "; ".join(f"{self.place(row)}: {row[1]!r:.80}" for row in rows[1:])
        raise ImportRefused(
            f"{self.where}, {self.place(rows[0])}: {rows[0][1]!r:.80} is none of the {what} that {fitting:,} of {total:,} "
            f"values are{f' (nor {others})' if others else ''}; rows count from 0; {self.remedy(notation=notation)}"
        )

    def refuse_unsaid(
        self, number: int, total: int, what: str, notation: str | None, *, condition: str = "v IS NOT NULL"
    ) -> NoReturn:
        """Refuses a column of a notation that is recognised, but must be said.

        Raises:
            ImportRefused: Always.
        """
        row = self.examples(condition)[0]
        raise ImportRefused(
            f"{self.where}, {self.place(row)}: {row[1]!r:.80}: {number:,} of {total:,} values are {what}, which are not read by themselves; "
            f"{self.remedy(notation=notation or '')}"
        )

    def spelled_nulls(self, *, is_typed: bool) -> dict[str, int]:
        """Returns how many texts are spellings of null, by spelling, the most frequent first."""
        null = spelled_null(self.trimmed, self.added_nulls, is_typed=is_typed)
        return dict(
            self.con.execute(
                f"SELECT {self.trimmed} AS spelling, count(*) AS n FROM {self.staged} WHERE {null} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20"
            ).fetchall()
        )

    def finished(self, found: ColumnType) -> ColumnType:
        """Returns the type with the values that the user calls null taken out, and counted."""
        null = equal_to_null(self.sql, found.kind, self.added_nulls)
        if null == "false":
            return found
        relation = f"(SELECT {found.expression} AS {self.sql} FROM (SELECT {found.clean or self.sql} AS {self.sql} FROM {self.staged}))"
        (number,) = first_row(self.con, f"SELECT count(*) FILTER (WHERE {null}) FROM {relation}") or (0,)
        if not number:
            return found
        label = " or ".join(self.added_nulls)
        return replace(
            found,
            null=null,
            nulls={**found.nulls, label: found.nulls.get(label, 0) + number},
        )
