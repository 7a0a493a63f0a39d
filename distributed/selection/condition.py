"""Only some rows of a table: the conditions of --where, checked before a row is read and applied to the typed rows.

In: (table, condition) pairs. Out: tables with the condition, and the line that says how many rows it keeps. Promises: a condition is one boolean
expression on the columns of its table, which reads nothing else and gives the same rows on any day; whatever DuckDB says against it is told with the
table and the condition.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import duckdb

from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.table_plan import TablePlan
from distributed.selection.typed_table import TypedTable


def check_conditions(where: Sequence[tuple[str, str]], plans: Mapping[str, TablePlan]) -> dict[str, str]:
    """Returns the condition of every table that has one.

    Raises:
        ImportRefused: A table does not exist or is named twice, a condition is not one expression, names a column that there is not, has a query in
            it, or calls a function whose value changes by itself; it holds all such problems.
    """
    refusals, conditions = Refusals(), {}
    with duckdb.connect() as con:
        for table, condition in where:
            with refusals.each():
                if table not in plans:
                    raise ImportRefused(f"--where: no table {table!r}; expected some of {sorted(plans)}")
                if table in conditions:
                    raise ImportRefused(f"--where: {table!r} is named twice; give one condition, joined by AND or OR")
                check_condition(con, table, plans[table].columns, condition)
                conditions[table] = condition
    refusals.refuse()
    return conditions


def with_condition(
    con: duckdb.DuckDBPyConnection, table: TypedTable, condition: str, keys: Collection[str], notes: list[str]
) -> TypedTable:
    """Returns the table cut to the rows for which the condition is true, and appends the line that says how many they are.

    The other rows' `keys`, the columns that foreign keys refer to, go into the table `unselected_<name>`, so that a key to a row that was left out
    is told from a key to nowhere.

    Raises:
        ImportRefused: DuckDB cannot evaluate the condition, or it is no boolean.
    """
    name = table.plan.name
    sql = f"(\n{condition}\n)"  # a comment at its end stays its own
    try:
        (kind,) = first_row(con, f"SELECT typeof({sql}) FROM {table.all_rows} LIMIT 1") or ("BOOLEAN",)
        if kind != "BOOLEAN":
            raise ImportRefused(
                f"--where {name} {condition!r}: expected a condition that is true or false, got {kind}; "
                "compare it with a value"
            )
        counts = f"count(*) FILTER ({sql}), count(*) FILTER ({sql} IS NULL), count(*)"
        kept, unknown, total = first_row(con, f"SELECT {counts} FROM {table.all_rows}") or (0, 0, 0)
        columns = ", ".join(map(quoted, keys)) or "1"
        con.execute(
            f"CREATE TABLE {quoted(f'unselected_{name}')} AS SELECT DISTINCT {columns} FROM {table.all_rows} "
            f"WHERE {sql} IS NOT TRUE"
        )
    except duckdb.Error as error:
        raise ImportRefused(
            f"--where {name} {condition!r}: DuckDB cannot evaluate it: {error}; columns: "
            + ", ".join(f"{column} ({kind})" for column, kind in table.kinds.items())
        ) from error
    because = f"; {unknown:,} of the others because the condition is null for them" if unknown else ""
    notes.append(f"{name}: --where keeps {kept:,} of {total:,} rows{because}")
    return dataclasses.replace(table, condition=f"{table.condition} AND {sql}", is_part=True)


def check_condition(
    con: duckdb.DuckDBPyConnection, table: str, columns_of_table: Collection[str], condition: str
) -> None:
    """Refuses what is not one condition on the columns of its table.

    Raises:
        ImportRefused: It says why; `check_conditions` lists the reasons.
    """
    where = f"--where {table} {condition!r}"
    parsed, one = _parsed(con, condition), _parsed(con, "true")
    if parsed["error"]:
        words = {word for (word,) in con.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()}
        odd = ", ".join(quoted(column) for column in columns_of_table if column.casefold() in words)
        remark = f"; a column named like a word of SQL stands in double quotes: {odd}" if odd else ""
        raise ImportRefused(
            f"{where}: DuckDB cannot read it: {parsed['error_message']}; expected one condition such as amount > 10{remark}"
        )
    expressions = parsed["statements"][0]["node"].get("select_list", [])
    if len(expressions) == 1:
        one["statements"][0]["node"]["select_list"] = expressions
    if parsed != one:  # besides the expression, there is something else
        raise ImportRefused(f"{where}: expected one condition and no further clause of SQL")
    nodes = list(_nodes(expressions))
    if any(node.get("class") in ("SUBQUERY", "STAR", "POSITIONAL_REFERENCE") for node in nodes):
        raise ImportRefused(
            f"{where}: a condition compares columns of its own table, each by its name, and holds no query; put what it "
            "needs of other tables into a column of the source"
        )
    columns = {column.casefold() for column in columns_of_table}
    unknown = sorted(
        {
            node["column_names"][-1]
            for node in nodes
            if node.get("class") == "COLUMN_REF" and node["column_names"][-1].casefold() not in columns
        }
    )
    changing = _changing_functions(con)
    called = {node["function_name"] for node in nodes if node.get("class") == "FUNCTION"} | set(unknown)
    if found := sorted(name for name in called if name.casefold() in changing):
        raise ImportRefused(
            f"{where}: {', '.join(found)} changes by itself, so that two imports of one source would differ; write "
            "the value out, such as DATE '2024-06-01'"
        )
    if unknown and not any(node.get("class") == "LAMBDA" for node in nodes):
        raise ImportRefused(f"{where}: table {table!r} has no column {unknown}; it has {list(columns_of_table)}")


def _parsed(con: duckdb.DuckDBPyConnection, condition: str) -> dict[str, Any]:
    rows = con.execute("SELECT json_serialize_sql(?)", [f"SELECT (\n{condition}\n)"]).fetchall()
    parsed: dict[str, Any] = json.loads(rows[0][0])
    return parsed


def _changing_functions(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Returns the functions whose value is not settled by their arguments; the last two are macros on the current time."""
    rows = con.execute("SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'").fetchall()
    return {name for (name,) in rows} | {"current_timestamp", "ago", "age"}


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yields every mapping of a tree of lists and mappings."""
    if isinstance(tree, dict):
        yield tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(below)
