"""The rows of a source as Parquet files, read as the source delivers them; what they mean is settled later.

In: a source and the plan of one table. Out: a file and a view of it in DuckDB, rows numbered as in the source; NaN is no time. Memory: one batch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distributed.notations.epochs import by_name
from distributed.notations.types import TypedColumns
from distributed.schema.duckdb_sql import quoted
from distributed.schema.table_plan import TablePlan
from distributed.sources.arrow_values import ARROW_TYPES
from distributed.sources.source import Source

BLOCK_COLUMNS = 50
WIDE_COLUMNS = 100
"""Tables with more columns are copied into the work database, since every column is queried several times."""


def stage(con: duckdb.DuckDBPyConnection, source: Source, plan: TablePlan, work: Path) -> None:
    """Makes the relation `staged_<name>` of the source's rows, with their numbers as `plan.row_source_col`."""
    path = work / f"{plan.name}.parquet"
    num_rows = 0
    schema = pa.schema([(column, ARROW_TYPES[kind]) for column, kind in plan.columns.items()])
    with pq.ParquetWriter(path, schema.append(pa.field(plan.row_source_col, pa.int64())), compression="zstd") as writer:
        for batch in source.batches(plan):
            rows = pa.array(range(num_rows, num_rows + len(batch)), pa.int64())
            writer.write_batch(_without_nan(batch, plan).append_column(plan.row_source_col, rows))
            num_rows += len(batch)
    # DuckDB takes no parameters in CREATE VIEW, so the path is quoted by hand.
    literal = str(path).replace("'", "''")
    con.execute(f"CREATE {_kind(plan)} {quoted(f'staged_{plan.name}')} AS SELECT * FROM read_parquet('{literal}')")


def _without_nan(batch: pa.RecordBatch, plan: TablePlan) -> pa.RecordBatch:
    """Returns the batch with null for NaN in what may be times as numbers; of other numbers, NaN is counted as null later."""
    declared = {plan.schema.time_col, plan.schema.valid_from, plan.schema.valid_to}
    for position, field in enumerate(batch.schema):
        may_be_time = field.name in declared or bool(by_name(field.name))
        if may_be_time and pa.types.is_floating(field.type) and pc.any(pc.is_nan(batch.column(position))).as_py():
            values = batch.column(position)
            batch = batch.set_column(position, field, pc.if_else(pc.is_nan(values), None, values))
    return batch


def unstage(con: duckdb.DuckDBPyConnection, plan: TablePlan, work: Path) -> None:
    """Removes what `stage` has made."""
    con.execute(f"DROP {_kind(plan)} {quoted(f'staged_{plan.name}')}")
    (work / f"{plan.name}.parquet").unlink()


def typed_in_blocks(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, staged: str, columns: TypedColumns
) -> tuple[str, TypedColumns]:
    """Returns the staged relation and how its columns are read; a wide one with its types made, a block of columns at a time.

    Every step of every column's expression takes memory while a query runs (1.8 GB for 300 columns of text in DuckDB 2.0).
    """
    names = list(columns.columns)
    if _kind(plan) == "VIEW":
        return staged, columns
    blocks = []
    for number, begin in enumerate(range(0, len(names), BLOCK_COLUMNS)):
        block = {name: columns.columns[name] for name in names[begin : begin + BLOCK_COLUMNS]}
        rows, kept = TypedColumns(columns=block).relation(plan, staged), list(map(quoted, block))
        kept += [quoted(plan.row_source_col)] if number == 0 else []
        blocks.append(quoted(f"block_{number}_{plan.name}"))
        con.execute(f"CREATE TABLE {blocks[-1]} AS SELECT {', '.join(kept)} FROM {rows}")
    plain = {name: replace(c, expression=quoted(name), clean=None, null=None) for name, c in columns.columns.items()}
    return f"(SELECT * FROM {' POSITIONAL JOIN '.join(blocks)})", replace(columns, columns=plain)


def _kind(plan: TablePlan) -> str:
    # Each query of one column of a view looks at all its columns (25 ms for 2,000), of a table it does not (1.5 ms).
    return "TABLE" if len(plan.columns) > WIDE_COLUMNS else "VIEW"
