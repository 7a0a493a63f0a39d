"""One staged column, typed without an import around it; and a CSV folder, imported."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from distributed.notations.null_values import null_values
from distributed.notations.types import typed_columns
from distributed.schema.declared_table import DeclaredTable
from distributed.schema.duckdb_sql import quoted
from distributed.schema.source_table import Kind, SourceTable, TextTypes
from distributed.schema.table_plan import plan_tables
from distributed.sources.arrow_values import ARROW_TYPES
from tests.distributed.importing.small_imports import run

DAYS = [datetime(2024, 1, 2) + timedelta(hours=29 * i) for i in range(300)]
"""300 times of the year 2024, days beyond the 12th among them."""


def typed(
    values: Sequence[object],
    name: str = "x",
    *,
    is_time: bool = False,
    kind: Kind = "text",
    text_types: TextTypes = "all",
    formats: dict[str, str] | None = None,
    nulls: Sequence[str] = (),
    decimal: Literal[".", ","] | None = None,
    key: str = "id",
) -> tuple[list[Any], list[str]]:
    """Returns the values of a column `name` of a table t, and the lines on it.

    Args:
        values: As they are staged; those of text are written by `str`.
        key: The table's key, `name` for a key column.
    """
    staged = [None if value is None else str(value) for value in values] if kind in ("text", "text_time") else values
    columns: dict[str, Kind] = {"id": "integer", name: kind}
    table = SourceTable(
        name="t",
        columns=columns,
        pkey=(key,),
        text_types=text_types,
        declared=DeclaredTable(formats=formats or {}, decimal=decimal),
    )
    plan = plan_tables({"t": table}, tables=None, exclude=())["t"]
    rows = list(range(len(values)))
    arrays = [pa.array(rows, pa.int64()), pa.array(staged, ARROW_TYPES[kind]), pa.array(rows, pa.int64())]
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'; SET threads = 1")
        con.register("staged", pa.table(arrays, names=["id", name, plan.row_source_col]))
        found = typed_columns(con, plan, "staged", name if is_time else None, null_values(nulls, {"t": plan}))
        query = f"SELECT {quoted(name)} FROM {found.relation(plan, 'staged')} ORDER BY {quoted(plan.row_source_col)}"
        return [row[0] for row in con.execute(query).fetchall()], found.lines("t")


def write_csv(folder: Path, name: str, rows: Sequence[tuple[object, ...]], header: str) -> None:
    """Writes one table."""
    folder.mkdir(exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def imported_folder(path: Path, schema: str = "t: {pkey: id, time_col: x}", **options: Any) -> list[str]:
    """Imports the folder `in`; returns the lines."""
    (path / "schema.yaml").write_text(schema)
    times = {"val_timestamp": "2024-01-03", "test_timestamp": "2024-01-04"}
    return run(str(path / "in"), path / "out", **{"schema_file": path / "schema.yaml", **times, **options})


def unix_us(moment: datetime) -> int:
    """Returns the UNIX microseconds of a time in UTC."""
    return int(moment.replace(tzinfo=UTC).timestamp()) * 10**6 + moment.microsecond
