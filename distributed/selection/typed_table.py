"""A staged table whose columns have their types, and the part of its rows that an import takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distributed.notations.types import TypedColumns
from distributed.schema.duckdb_sql import quoted
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import Link, TablePlan


@dataclass(frozen=True, kw_only=True)
class TypedTable:
    """The rows of a table in the work database, before they are ordered.

    Args:
        plan: The plan of the table.
        staged: The DuckDB relation of its staged rows, which `plan.row_source_col` numbers.
        columns: How every column is read.
        time_col: The column of its rows' times, or None.
        condition: SQL that only rows to be taken fulfil; it may name the columns and `plan.row_source_col`.
        is_part: Whether --where leaves rows out; the keys of these are in the table `unselected_<name>`.
    """

    plan: TablePlan
    staged: str
    columns: TypedColumns
    time_col: str | None
    condition: str = "true"
    is_part: bool = False

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of every column."""
        return self.columns.kinds

    @property
    def all_rows(self) -> str:
        """The typed rows and `plan.row_source_col` as an item of FROM, named like the table."""
        return f"{self.columns.relation(self.plan, self.staged)} AS {quoted(self.plan.name)}"

    @property
    def rows(self) -> str:
        """The rows that are taken, typed, and `plan.row_source_col`, as an item of FROM, named like the table."""
        return f"(SELECT * FROM {self.all_rows} WHERE {self.condition}) AS {quoted(self.plan.name)}"


def keys_equal(
    link: Link, child_kinds: Mapping[str, Kind], parent_kinds: Mapping[str, Kind], child: str, parent: str
) -> str:
    """Returns the condition that a row of the alias `child` refers by this foreign key to a row of the alias `parent`."""
    equal = []
    for column, parent_column in zip(link.columns, link.parent_columns, strict=True):
        left, right = f"{child}.{quoted(column)}", f"{parent}.{quoted(parent_column)}"
        if child_kinds[column] != parent_kinds[parent_column]:
            # Compared as text: DuckDB would cast text to numbers, and stop at the first that is none.
            left, right = f"CAST({left} AS VARCHAR)", f"CAST({right} AS VARCHAR)"
        equal.append(f"{left} = {right}")
    return " AND ".join(equal)
