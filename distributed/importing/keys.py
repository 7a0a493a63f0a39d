"""Turns source keys into row numbers, and rows into their final order, in DuckDB: joins on columns, not loops over rows.

In: staged rows (Parquet, any order) and a `TablePlan` per table. Out: `db/<table>.parquet` and `keys/<table>.parquet`.
Promises: rows are sorted by (time, nulls last; source key), or by all columns where there is no key, so the server's
order leaves no trace and two imports are equal byte for byte; pkeys are 0..n-1 in row order; every foreign key is a row
number of its parent or null; all times are timestamp[ns] in UTC. Cost: sort + one hash join per foreign key, within DuckDB's
memory limit, beyond which it spills to the work folder; in memory one row group of a finished table at a time.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distributed.importing.orphans import Orphans, refuse_orphans
from distributed.notations.null_values import SPELLINGS, literal
from distributed.notations.types import TypedColumns
from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, Refusals, exclude_option
from distributed.schema.row_groups import ROW_GROUP_ROWS, row_groups
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import Link, TablePlan
from distributed.selection.typed_table import TypedTable, keys_equal

_FIRST_NS, _LAST_NS = -(2**63) // 1000 + 1, (2**63 - 1) // 1000  # in microseconds: years 1677 to 2262


@dataclass(frozen=True, kw_only=True)
class OrderedTable:
    """A table in the work database, `plan.row_col` its final row number, `plan.row_source_col` that in the source, which messages name.

    Args:
        time_out: The time column's name in the folder.
        is_part: Whether --where leaves rows out; the keys of these are in the table `unselected_<name>`.
    """

    plan: TablePlan
    kinds: dict[str, Kind]
    time_col: str | None
    time_out: str | None
    num_rows: int
    typed: TypedColumns
    is_part: bool = False


@dataclass(kw_only=True)
class KeyCounts:
    """Rows without a parent by foreign key column of one table: null in the source, dangling, or of a parent that --where leaves out."""

    null: dict[str, int] = field(default_factory=dict)
    dangling: dict[str, int] = field(default_factory=dict)
    unselected: dict[str, int] = field(default_factory=dict)
    spelled: dict[str, dict[str, int]] = field(default_factory=dict)

    def lines(self, table: str) -> list[str]:
        """Returns the lines of a report on keys that are written as NA and the like, and that no parent has."""
        return [
            f"{table}.{column}: {number:,} keys are {spelling!r}, which no parent is, and count as null"
            for column, found in self.spelled.items()
            for spelling, number in found.items()
        ]


def order_table(con: duckdb.DuckDBPyConnection, table: TypedTable) -> OrderedTable:
    """Creates the table `ordered_<name>` of the rows that are taken: sorted, numbered, their keys checked.

    Raises:
        ImportRefused: A primary key, or a unique column that a foreign key refers to, is null or comes twice.
    """
    plan, time_col = table.plan, table.time_col
    name = quoted(f"ordered_{plan.name}")
    order = ([time_col] if time_col else []) + list(plan.order_cols)
    if len(plan.pkey_cols) != 1:  # not known to be unique and not null: only equal rows may tie
        order += [column for column in plan.columns if column not in order]
    by = ", ".join(f"{quoted(column)} NULLS LAST" for column in order)
    # Sorted first, numbered then: a window over an order would hold the table in memory, while a sort spills.
    con.execute(
        f"CREATE TABLE {name} AS SELECT *, row_number() OVER () - 1 AS {quoted(plan.row_col)} FROM ("
        f"SELECT * FROM {table.rows} ORDER BY {by})"
    )
    (num_rows,) = first_row(con, f"SELECT count(*) FROM {name}") or (0,)
    if plan.pkey_cols:
        _refuse_bad_key(con, plan, plan.pkey_cols, may_be_null=len(plan.pkey_cols) > 1)
    time_out = None if time_col is None else _queryable(time_col, plan)
    return OrderedTable(
        plan=plan,
        kinds=table.kinds,
        time_col=time_col,
        time_out=time_out,
        num_rows=num_rows,
        typed=table.columns,
        is_part=table.is_part,
    )


def write_table(
    con: duckdb.DuckDBPyConnection,
    table: OrderedTable,
    ordered: Mapping[str, OrderedTable],
    folder: Path,
    *,
    dangling: Literal["error", "null"],
) -> KeyCounts:
    """Writes `db/<name>.parquet`, and `keys/<name>.parquet` (source_key, row_number) where there is a pkey.

    The source_key of a key of several columns is a struct of them.

    Raises:
        ImportRefused: Foreign key values have no parent and `dangling="error"`, or a time lies outside the years 1677 to 2262.
    """
    plan = table.plan
    counts = KeyCounts()
    selected: dict[str, str] = {}
    joins = []
    refusals = Refusals()
    for number, link in enumerate(plan.links):
        with refusals.each():
            parent = ordered[link.parent].plan
            if set(link.parent_columns) != set(parent.pkey_cols):
                _refuse_bad_key(con, parent, link.parent_columns, may_be_null=True)
            joins.append(_join(table, ordered[link.parent], link, number))
            parent_row = f"p{number}.{quoted(parent.row_col)}"
            _count(con, table, ordered[link.parent], link, joins[-1], parent_row, counts, dangling)
            selected[link.out_column] = parent_row
    refusals.refuse()
    row = quoted(plan.row_col)
    if plan.pkey_out is not None:
        selected[plan.pkey_out] = f"o.{row}"
    if table.time_col is not None and table.time_col not in plan.columns:  # the time of a key (key_times.py)
        selected[table.time_col] = f"o.{quoted(table.time_col)}"
    # Columns keep the source's order; added ones come last.
    names = [*plan.columns, *(name for name in selected if name not in plan.columns)]
    columns = ", ".join(f"{selected.get(name, 'o.' + quoted(name))} AS {quoted(name)}" for name in names)
    relation = quoted(f"ordered_{plan.name}")
    rows = con.sql(f"SELECT {columns} FROM {relation} o {' '.join(joins)} ORDER BY o.{row}")
    out_names = [str(table.time_out) if name == table.time_col else name for name in names]
    times = _Nanoseconds()
    _write(rows, out_names, folder / "db" / f"{plan.name}.parquet", times)
    times.refuse(con, plan, dict(zip(out_names, names, strict=True)))
    if plan.pkey_cols:
        parts = [quoted(column) for column in plan.pkey_cols]
        key = parts[0] if len(parts) == 1 else f"struct_pack({', '.join(f'{part} := {part}' for part in parts)})"
        keys = con.sql(f"SELECT {key}, {row} FROM {relation} ORDER BY {row}")
        _write(keys, ["source_key", "row_number"], folder / "keys" / f"{plan.name}.parquet", None)
    return counts


def _join(child: OrderedTable, parent: OrderedTable, link: Link, number: int) -> str:
    equal = keys_equal(link, child.kinds, parent.kinds, "o", f"p{number}")
    return f"LEFT JOIN {quoted('ordered_' + link.parent)} p{number} ON {equal}"


def _count(
    con: duckdb.DuckDBPyConnection,
    table: OrderedTable,
    parent: OrderedTable,
    link: Link,
    join: str,
    parent_row: str,
    counts: KeyCounts,
    dangling: Literal["error", "null"],
) -> None:
    """Adds the null keys of one foreign key, the dangling ones, and those of parents that --where leaves out to `counts`."""
    plan = table.plan
    columns = [f"o.{quoted(column)}" for column in link.columns]
    any_null = " OR ".join(f"{column} IS NULL" for column in columns)
    relation = f"{quoted('ordered_' + plan.name)} o"
    lost = f"FROM {relation} {join} WHERE NOT ({any_null}) AND {parent_row} IS NULL"
    (nulls,) = first_row(con, f"SELECT count(*) FROM {relation} WHERE {any_null}") or (0,)
    (num_lost,) = first_row(con, f"SELECT count(*) {lost}") or (0,)
    if parent.is_part:
        gone = f"FROM {quoted(f'unselected_{link.parent}')} u WHERE {keys_equal(link, table.kinds, parent.kinds, 'o', 'u')}"
        (num_gone,) = first_row(con, f"SELECT count(*) {lost} AND EXISTS ({gone})") or (0,)
        counts.unselected[link.out_column] = num_gone
        lost, num_lost = f"{lost} AND NOT EXISTS ({gone})", num_lost - num_gone
    if num_lost and len(columns) == 1 and table.kinds[link.columns[0]] == "text" and not plan.schema.declares_keys:
        spelled = f"lower(trim({columns[0]})) IN ({', '.join(map(literal, SPELLINGS))})"
        found = con.execute(f"SELECT {columns[0]}, count(*) {lost} AND {spelled} GROUP BY 1 ORDER BY 1").fetchall()
        counts.spelled[link.columns[0]] = dict(found)
        lost, num_lost = f"{lost} AND NOT {spelled}", num_lost - sum(number for _, number in found)
        nulls += sum(number for _, number in found)
    counts.null[link.out_column], counts.dangling[link.out_column] = nulls, num_lost
    orphans = Orphans(lost=lost, num_lost=num_lost, num_given=table.num_rows - nulls)
    refuse_orphans(con, table, parent, link, orphans, dangling=dangling)


def _refuse_bad_key(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, columns: tuple[str, ...], *, may_be_null: bool
) -> None:
    name, row_col = quoted(f"ordered_{plan.name}"), quoted(plan.row_source_col)
    for column in columns:
        null = first_row(con, f"SELECT {row_col} FROM {name} WHERE {quoted(column)} IS NULL ORDER BY {row_col} LIMIT 1")
        if null and not may_be_null:
            raise ImportRefused(
                f"table {plan.name!r}, key column {column!r}, row {null[0]} of the source: null; give every row a key, or "
                f"leave the column out by {exclude_option(f'{plan.name}.{column}')}"
            )
    _refuse_repeated(con, plan, columns)


def _refuse_repeated(con: duckdb.DuckDBPyConnection, plan: TablePlan, columns: tuple[str, ...]) -> None:
    row_col = quoted(plan.row_source_col)
    keys = ", ".join(quoted(column) for column in columns)
    not_null = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
    twice = first_row(
        con,
        f"SELECT min({row_col}), max({row_col}), count(*), {keys} FROM {quoted('ordered_' + plan.name)} WHERE {not_null} "
        f"GROUP BY {keys} HAVING count(*) > 1 ORDER BY 1 LIMIT 1",
    )
    if twice:
        raise ImportRefused(
            f"table {plan.name!r}, key {columns}, rows {twice[0]} and {twice[1]} of the source: {twice[3:]} comes {twice[2]} times; "
            "expected unique values; remove the repeated rows, or declare another key"
        )


class _Nanoseconds:
    """Casts the times of row groups, which come in order, to timestamp[ns], the unit of RelBench's own folders; collects what does not fit."""

    def __init__(self) -> None:
        self.misfits: dict[str, tuple[int, str]] = {}
        """Row number and day of the first time of a column that is out of range."""

    def cast(self, group: pa.Table, begin: int) -> pa.Table:
        """Returns a row group, from row `begin` on, with its times as timestamp[ns]; a column with times out of its range is refused at the end."""
        for position, column in enumerate(group.columns):
            name = group.column_names[position]
            if not pa.types.is_timestamp(column.type) or name in self.misfits:
                continue
            us = column.cast(pa.int64())
            outside = pc.fill_null(pc.or_(pc.less(us, _FIRST_NS), pc.greater(us, _LAST_NS)), False)
            if not pc.any(outside).as_py():
                group = group.set_column(position, name, column.cast(pa.timestamp("ns")))
                continue
            row = pc.index(outside, True).as_py()
            day = pc.strftime(column.slice(row, 1), "%Y-%m-%d")[0].as_py()
            self.misfits[name] = begin + row, day
        return group

    def refuse(self, con: duckdb.DuckDBPyConnection, plan: TablePlan, names: Mapping[str, str]) -> None:
        """Refuses the times that do not fit, by their rows in the source and its `names` of the columns."""
        refusals = Refusals()
        for out_name, (number, day) in self.misfits.items():
            name = names[out_name]
            rows = f"FROM {quoted(f'ordered_{plan.name}')} WHERE {quoted(plan.row_col)} = {number}"
            (row,) = first_row(con, f"SELECT {quoted(plan.row_source_col)} {rows}") or (number,)
            refusals.problems.append(
                f"table {plan.name!r}, column {name!r}, row {row} of the source: expected a time in the years 1677 to 2262 "
                f"(timestamp[ns]), got {day}; correct it, count it as null by --null-values "
                f"{shlex.quote(f'{plan.name}.{name}={day}')}, or leave the column out by {exclude_option(f'{plan.name}.{name}')}"
            )
        refusals.refuse()


def _queryable(time_col: str, plan: TablePlan) -> str:
    """Returns the time column's name in the folder: RelBench puts it into a pandas query, so it must be an identifier."""
    name = re.sub(r"\W", "_", time_col)
    name = f"_{name}" if not name.isidentifier() else name
    taken = {column for column in plan.columns if column != time_col}
    while keyword.iskeyword(name) or name in taken:
        name += "_"
    return name


def _write(rows: duckdb.DuckDBPyRelation, names: list[str], path: Path, times: _Nanoseconds | None) -> None:
    """Writes a query's rows, which are never in memory all at once, as Parquet in row groups of a fixed size.

    Args:
        times: Makes times timestamp[ns], and collects those that do not fit; None for keys, which stay as they are.
    """
    writer: pq.ParquetWriter | None = None
    num_rows = 0
    try:
        for group in row_groups(rows.to_arrow_reader(ROW_GROUP_ROWS)):
            group = group.rename_columns(names)
            if times is not None:
                group = times.cast(group, num_rows)
            num_rows += len(group)
            if times is not None and times.misfits:
                continue  # the other columns' faults are told, too
            writer = writer or pq.ParquetWriter(path, group.schema, compression="zstd")
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
    finally:
        if writer is not None:
            writer.close()
