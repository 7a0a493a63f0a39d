"""A sample of entities with all that belongs to them: --sample-entities customers:10000.

In: all typed tables in the work database. Out: the rows of each that are taken: the entities, every row that refers to them, directly or through such
rows (down), and every row that those need as a parent (up), whose other children stay behind. Promises: no key dangles that did not before; the
entities are those with the smallest hash of seed and source key, so they do not depend on the order of the rows or on the engine that holds them.
Cost: one hash join per foreign key, then passes over row numbers only, in DuckDB, which may spill to the disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import duckdb

from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused
from distributed.schema.table_plan import TablePlan
from distributed.selection.entity_sample import EntitySample
from distributed.selection.typed_table import TypedTable, keys_equal


def check_sample(sample: EntitySample, plans: Mapping[str, TablePlan]) -> None:
    """Refuses entities that cannot be chosen.

    Raises:
        ImportRefused: There is no such table, or it has no key.
    """
    if sample.table not in plans:
        raise ImportRefused(f"--sample-entities: no table {sample.table!r}; expected one of {sorted(plans)}")
    if not plans[sample.table].pkey_cols:
        keyed = sorted(name for name, plan in plans.items() if plan.pkey_cols)
        raise ImportRefused(
            f"--sample-entities: table {sample.table!r} has no primary key, so its rows cannot be told apart; expected one of "
            f"{keyed}, or declare its key"
        )


def sample_entities(
    con: duckdb.DuckDBPyConnection, tables: Mapping[str, TypedTable], sample: EntitySample, notes: list[str]
) -> dict[str, TypedTable]:
    """Returns the tables cut to the sample, and appends what was taken of each."""
    numbers = {name: number for number, name in enumerate(tables)}
    _make_edges(con, tables, numbers)
    entity = tables[sample.table]
    key = ", ".join(f"coalesce(CAST({quoted(column)} AS VARCHAR), '')" for column in entity.plan.pkey_cols)
    row = quoted(entity.plan.row_source_col)
    con.execute(
        f"CREATE TABLE taken AS SELECT {numbers[sample.table]} AS t, {row} AS row, 'chosen' AS why FROM {entity.rows} "
        f"ORDER BY md5(concat_ws(chr(31), '{sample.seed}', {key})), {row} LIMIT {sample.count}"
    )
    _grow(con, "referring", "parent", "child")
    _grow(con, "needed", "child", "parent")
    selected = {}
    for name, table in tables.items():
        notes.append(_line(con, sample, table, numbers[name]))
        rows = f"SELECT row FROM taken WHERE t = {numbers[name]}"
        condition = f"{table.condition} AND {quoted(table.plan.row_source_col)} IN ({rows})"
        selected[name] = dataclasses.replace(table, condition=condition)
    con.execute("DROP TABLE edges")
    return selected


def _make_edges(con: duckdb.DuckDBPyConnection, tables: Mapping[str, TypedTable], numbers: Mapping[str, int]) -> None:
    """Makes the table `edges`: every reference of a row to a row, as numbers of tables and rows of the source."""
    con.execute("CREATE TABLE edges (child_t INTEGER, child BIGINT, parent_t INTEGER, parent BIGINT)")
    for name, table in tables.items():
        for link in table.plan.links:
            parent = tables[link.parent]
            child_row, parent_row = (quoted(end.plan.row_source_col) for end in (table, parent))
            con.execute(
                f"INSERT INTO edges SELECT {numbers[name]}, c.{child_row}, {numbers[link.parent]}, p.{parent_row} "
                f"FROM (SELECT * FROM {table.rows}) c JOIN (SELECT * FROM {parent.rows}) p "
                f"ON {keys_equal(link, table.kinds, parent.kinds, 'c', 'p')}"
            )


def _grow(con: duckdb.DuckDBPyConnection, why: str, start: str, end: str) -> None:
    """Adds to `taken` all rows that edges lead to from those in it, from their `start` to their `end`, transitively."""
    con.execute("CREATE TABLE front AS SELECT t, row FROM taken")
    while (first_row(con, "SELECT count(*) FROM front") or (0,))[0]:
        con.execute(
            f"CREATE TABLE next AS SELECT DISTINCT e.{end}_t AS t, e.{end} AS row FROM edges e "
            f"JOIN front f ON e.{start}_t = f.t AND e.{start} = f.row ANTI JOIN taken k ON e.{end}_t = k.t AND e.{end} = k.row"
        )
        con.execute(f"INSERT INTO taken SELECT t, row, '{why}' FROM next")
        con.execute("DROP TABLE front")
        con.execute("ALTER TABLE next RENAME TO front")
    con.execute("DROP TABLE front")


def _line(con: duckdb.DuckDBPyConnection, sample: EntitySample, table: TypedTable, number: int) -> str:
    counts = ", ".join(f"count(*) FILTER (why = '{why}')" for why in ("chosen", "referring", "needed"))
    chosen, referring, needed = first_row(con, f"SELECT {counts} FROM taken WHERE t = {number}") or (0, 0, 0)
    (total,) = first_row(con, f"SELECT count(*) FROM {table.rows}") or (0,)
    taken = chosen + referring + needed
    parts = [f"{chosen:,} chosen"] if table.plan.name == sample.table else []
    parts += [f"{referring:,} that refer to them"] if referring else []
    parts += [f"{needed:,} that others refer to"] if needed else []
    fewer = f"; there are no more, {sample.count:,} were asked for" if chosen and chosen < sample.count else ""
    return f"{table.plan.name}: --sample-entities takes {taken:,} of {total:,} rows{': ' if parts else ''}{', '.join(parts)}{fewer}"
