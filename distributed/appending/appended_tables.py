"""The rows of a later import behind those of an earlier one, table by table.

In: the folder of an earlier import and that of a later one of the same source, each with row numbers of its own, related by the source keys in
keys/. Out: the later folder, rewritten: the earlier rows, unchanged and with their numbers, then the new ones in the order of the later import, all
keys as numbers of this folder. Promises: a row that changed in the source, or is gone from it, stays as it was imported and is counted, with its
first keys; of a table without a key, equal rows are the same row, so a changed one counts as gone and as new. Cost: joins on row numbers in DuckDB,
which spill; one copy of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.manifest import TableSpec

from distributed.appending.earlier_import import ANEW, EarlierImport
from distributed.import_report.report import Growth
from distributed.schema.duckdb_sql import first_row, quoted
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.row_groups import ROW_GROUP_ROWS, row_groups

_KEYS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One table of both imports; `old` is None for one that only the later import has."""

    name: str
    spec: TableSpec
    old: Path | None
    old_keys: Path
    new: Path
    new_keys: Path
    schema: pa.Schema

    @property
    def columns(self) -> str:
        return ", ".join(map(quoted, self.schema.names))


def append_tables(
    con: duckdb.DuckDBPyConnection, earlier: EarlierImport, later: Path, specs: Mapping[str, TableSpec]
) -> dict[str, Growth]:
    """Rewrites the tables and keys of the later folder as those of the earlier one with the new rows behind them.

    Args:
        con: A connection to an empty work database.
        earlier: The earlier import.
        later: The folder of the later one.
        specs: Keys and times of the tables, without what is left out.

    Returns:
        What was added, what changed and what is gone, by table.

    Raises:
        ImportRefused: A value does not fit the type that its column, or key, has in the earlier import; it holds all such columns.
    """
    refusals, tables = Refusals(), {}
    for name, spec in specs.items():
        with refusals.each():
            tables[name] = _table(con, earlier, later, name, spec)
            if spec.pkey is not None:
                _make_map(con, tables[name])
    refusals.refuse()
    growth = {name: _append(con, table) for name, table in tables.items()}
    for table in tables.values():
        for path in (table.new, table.new_keys):
            if _beside(path).exists():
                _beside(path).replace(path)
    return growth


def _table(con: duckdb.DuckDBPyConnection, earlier: EarlierImport, later: Path, name: str, spec: TableSpec) -> _Table:
    file = f"{name}.parquet"
    schema = pq.read_schema(later / "db" / file).remove_metadata()
    if name in earlier.manifest.tables:
        schema = _joint_schema(con, earlier, name, schema, later / "db" / file)
    return _Table(
        name=name,
        spec=spec,
        old=earlier.out / "db" / file if name in earlier.manifest.tables else None,
        old_keys=earlier.out / "keys" / file,
        new=later / "db" / file,
        new_keys=later / "keys" / file,
        schema=schema,
    )


def _joint_schema(
    con: duckdb.DuckDBPyConnection, earlier: EarlierImport, name: str, now: pa.Schema, path: Path
) -> pa.Schema:
    """Returns the earlier columns, of a type that holds the values of both imports."""
    refusals, fields = Refusals(), []
    for field in earlier.schema(name):
        kind, column = now.field(field.name).type, quoted(field.name)
        (has_now,) = first_row(con, f"SELECT count({column}) FROM {_read(path)}") or (0,)
        (had,) = first_row(con, f"SELECT count({column}) FROM {_read(earlier.out / 'db' / f'{name}.parquet')}") or (0,)
        joint = field.type if had or not has_now else kind
        if has_now and kind != joint:
            with refusals.each():
                _refuse_unfit(con, name, field.name, joint, kind, path)
        fields.append(pa.field(field.name, joint))
    refusals.refuse()
    return pa.schema(fields)


def _refuse_unfit(
    con: duckdb.DuckDBPyConnection, table: str, column: str, joint: pa.DataType, kind: pa.DataType, path: Path
) -> None:
    """Refuses values that a column of another type does not hold exactly: only integers become floats or text."""
    name, bad = quoted(column), None
    if pa.types.is_integer(kind) and pa.types.is_floating(joint):
        exact = f"CAST(CAST({name} AS DOUBLE) AS HUGEINT) = {name}"
        bad = first_row(con, f"SELECT {name} FROM {_read(path)} WHERE NOT ({exact}) LIMIT 1")
    elif not (pa.types.is_integer(kind) and pa.types.is_string(joint)):
        bad = first_row(con, f"SELECT {name} FROM {_read(path)} WHERE {name} IS NOT NULL LIMIT 1")
    if bad:
        raise ImportRefused(
            f"--append, table {table!r}, column {column!r}: {joint} in the earlier import and {kind} now, such as {bad[0]!r}; "
            f"correct the values, or {ANEW}"
        )


def _make_map(con: duckdb.DuckDBPyConnection, table: _Table) -> None:
    """Makes the table `map_<name>`: the later row numbers `fresh`, those of the joint folder `row`, and which rows are new."""
    name, num_old, joined = quoted(f"map_{table.name}"), 0, "SELECT row_number AS fresh, NULL AS old FROM later"
    later, old = _read(table.new_keys), ""
    if table.old is not None:
        num_old, old = pq.read_metadata(table.old_keys).num_rows, _read(table.old_keys)
        kinds = [pq.read_schema(path).field("source_key").type for path in (table.old_keys, table.new_keys)]
        same = "l.source_key = o.source_key"
        if kinds[0] != kinds[1]:
            if (
                not (pa.types.is_string(kinds[0]) and pa.types.is_integer(kinds[1]))
                and pq.read_metadata(table.new_keys).num_rows
            ):
                raise ImportRefused(
                    f"--append, table {table.name!r}: its keys were {kinds[0]} in the earlier import and are {kinds[1]}; "
                    f"correct them, or {ANEW}"
                )
            same = "CAST(l.source_key AS VARCHAR) = CAST(o.source_key AS VARCHAR)"
        joined = f"SELECT l.row_number AS fresh, o.row_number AS old FROM later l LEFT JOIN {old} o ON {same}"
    con.execute(
        f"CREATE TABLE {name} AS WITH joined AS MATERIALIZED (WITH later AS (FROM {later}) {joined}) "
        "SELECT fresh, old AS row, false AS is_new FROM joined WHERE old IS NOT NULL UNION ALL "
        f"SELECT fresh, {num_old} + row_number() OVER () - 1, true FROM (FROM joined WHERE old IS NULL ORDER BY fresh)"
    )


def _append(con: duckdb.DuckDBPyConnection, table: _Table) -> Growth:
    _make_current(con, table)
    current = quoted(f"current_{table.name}")
    if table.spec.pkey is not None:
        added = f"SELECT {table.columns} FROM {current} WHERE {_is_new(table)} ORDER BY {quoted(table.spec.pkey)}"
        growth = _growth_of_keyed(con, table)
    else:
        by = [column for column in (table.spec.time_col, *table.schema.names) if column is not None]
        order = ", ".join(f"{quoted(column)} NULLS LAST" for column in by)
        added = f"SELECT {table.columns} FROM ({_difference(con, table, new=True)}) ORDER BY {order}"
        growth = _growth_of_keyless(con, table)
    con.execute(f"CREATE TABLE added AS {added}")
    growth = _with_times(con, table, growth)
    _write(con, table.old, "added", table.new, table.schema)
    if table.spec.pkey is not None:
        _append_keys(con, table)
    con.execute("DROP TABLE added")
    con.execute(f"DROP TABLE {current}")
    return growth


def _is_new(table: _Table) -> str:
    """Returns a column name that no column has."""
    name = "is_new"
    while name in table.schema.names:
        name += "_"
    return quoted(name)


def _make_current(con: duckdb.DuckDBPyConnection, table: _Table) -> None:
    """Makes the table `current_<name>`: the later rows with numbers of the joint folder."""
    selected, joins = [], []
    for number, field in enumerate(table.schema):
        column = quoted(field.name)
        if field.name == table.spec.pkey:
            value = "m.row"
        elif (parent := table.spec.fkeys.get(field.name)) is not None:
            joins.append(f"LEFT JOIN {quoted(f'map_{parent}')} p{number} ON l.{column} = p{number}.fresh")
            value = f"p{number}.row"
        else:
            value = f"l.{column}"
        selected.append(f"CAST({value} AS {_sql_type(con, field.type)}) AS {column}")
    if table.spec.pkey is not None:
        joins.append(f"JOIN {quoted(f'map_{table.name}')} m ON l.{quoted(table.spec.pkey)} = m.fresh")
        selected.append(f"m.is_new AS {_is_new(table)}")
    con.execute(
        f"CREATE TABLE {quoted(f'current_{table.name}')} AS SELECT {', '.join(selected)} "
        f"FROM {_read(table.new)} l {' '.join(joins)}"
    )


def _sql_type(con: duckdb.DuckDBPyConnection, kind: pa.DataType) -> str:
    empty = pa.table({"x": pa.array([], kind)})
    con.register("typed", empty)
    (found,) = first_row(con, "SELECT column_type FROM (DESCRIBE FROM typed)") or ("VARCHAR",)
    con.unregister("typed")
    return str(found)


def _old_rows(con: duckdb.DuckDBPyConnection, table: _Table) -> str:
    assert table.old is not None
    typed = (f"CAST({quoted(f.name)} AS {_sql_type(con, f.type)}) AS {quoted(f.name)}" for f in table.schema)
    return f"(SELECT {', '.join(typed)} FROM {_read(table.old)})"


def _growth_of_keyed(con: duckdb.DuckDBPyConnection, table: _Table) -> Growth:
    current, pkey, is_new = quoted(f"current_{table.name}"), quoted(str(table.spec.pkey)), _is_new(table)
    (num_new,) = first_row(con, f"SELECT count(*) FROM {current} WHERE {is_new}") or (0,)
    if table.old is None:
        return Growth(num_new=num_new)
    num_old = pq.read_metadata(table.old).num_rows
    others = [name for name in table.schema.names if name != table.spec.pkey]
    differs = {name: f"c.{quoted(name)} IS DISTINCT FROM o.{quoted(name)}" for name in others}
    changed = (
        f"FROM {current} c JOIN {_old_rows(con, table)} o ON c.{pkey} = o.{pkey} "
        f"WHERE NOT c.{is_new} AND ({' OR '.join(differs.values()) or 'false'})"
    )
    counts = ["count(*)", *(f"count(*) FILTER ({sql})" for sql in differs.values())]
    num_changed, *per_column = first_row(con, f"SELECT {', '.join(counts)} {changed}") or (0,)
    gone = f"FROM {_read(table.old_keys)} k ANTI JOIN {current} c ON k.row_number = c.{pkey}"
    (num_gone,) = first_row(con, f"SELECT count(*) {gone}") or (0,)
    keys_of_changed = f"FROM {_read(table.old_keys)} k WHERE k.row_number IN (SELECT c.{pkey} {changed})"
    return Growth(
        num_old=num_old,
        num_new=num_new,
        num_changed=num_changed,
        changed_columns={name: number for name, number in zip(others, per_column, strict=True) if number},
        first_changed=_first_keys(con, keys_of_changed),
        num_gone=num_gone,
        first_gone=_first_keys(con, gone),
    )


def _first_keys(con: duckdb.DuckDBPyConnection, rows: str) -> tuple[str, ...]:
    query = f"SELECT CAST(k.source_key AS VARCHAR) {rows} ORDER BY k.row_number LIMIT {_KEYS_SHOWN}"
    return tuple(key for (key,) in con.execute(query).fetchall())


def _growth_of_keyless(con: duckdb.DuckDBPyConnection, table: _Table) -> Growth:
    (num_new,) = first_row(con, f"SELECT count(*) FROM ({_difference(con, table, new=True)})") or (0,)
    if table.old is None:
        return Growth(num_new=num_new, has_key=False)
    (num_gone,) = first_row(con, f"SELECT count(*) FROM ({_difference(con, table, new=False)})") or (0,)
    num_old = pq.read_metadata(table.old).num_rows
    return Growth(num_old=num_old, num_new=num_new, num_gone=num_gone, has_key=False)


def _difference(con: duckdb.DuckDBPyConnection, table: _Table, *, new: bool) -> str:
    """Returns the query of the rows that only the later import has, or only the earlier one; equal rows count one by one."""
    current = f"SELECT {table.columns} FROM {quoted(f'current_{table.name}')}"
    if table.old is None:
        return current
    old = f"SELECT {table.columns} FROM {_old_rows(con, table)}"
    return f"{current} EXCEPT ALL {old}" if new else f"{old} EXCEPT ALL {current}"


def _with_times(con: duckdb.DuckDBPyConnection, table: _Table, growth: Growth) -> Growth:
    """Adds how many new rows, in the table `added`, are older than rows that were there."""
    if table.spec.time_col is None or table.old is None:
        return growth
    time = quoted(table.spec.time_col)
    last = f"(SELECT max({time}) FROM {_read(table.old)})"
    (num_older,) = first_row(con, f"SELECT count(*) FROM added WHERE {time} < {last}") or (0,)
    return replace(growth, num_older=num_older)


def _append_keys(con: duckdb.DuckDBPyConnection, table: _Table) -> None:
    old = table.old_keys if table.old is not None else None
    schema = pq.read_schema(old or table.new_keys).remove_metadata()
    kind = _sql_type(con, schema.field("source_key").type)
    con.execute(
        f"CREATE TABLE added_keys AS SELECT CAST(k.source_key AS {kind}) AS source_key, m.row AS row_number "
        f"FROM {_read(table.new_keys)} k JOIN {quoted(f'map_{table.name}')} m ON k.row_number = m.fresh WHERE m.is_new ORDER BY m.row"
    )
    _write(con, old, "added_keys", table.new_keys, schema)
    con.execute("DROP TABLE added_keys")


def _write(con: duckdb.DuckDBPyConnection, old: Path | None, added: str, path: Path, schema: pa.Schema) -> None:
    """Writes the old rows and the added ones beside `path`."""

    def batches() -> Iterator[pa.RecordBatch]:
        if old is not None:
            with pq.ParquetFile(old) as file:
                for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=schema.names):
                    yield batch.select(schema.names).cast(schema)
        for batch in con.sql(f"FROM {added}").to_arrow_reader(ROW_GROUP_ROWS):
            yield batch.cast(schema)

    with pq.ParquetWriter(_beside(path), schema, compression="zstd") as writer:
        for group in row_groups(pa.RecordBatchReader.from_batches(schema, batches())):
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.joint")


def _read(path: Path) -> str:
    literal = str(path).replace("'", "''")
    return f"read_parquet(['{literal}'])"
