"""The tables that RelBench itself cannot cut by time any more, once rows were appended.

RelBench cuts a database at its test timestamp and then wants primary keys 0..n-1: the rows up to that time must come first. A fresh import sorts them
so; behind earlier rows, a row that comes late, or one behind a row without time, breaks it. Nothing in rdl needs that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
from relbench.manifest import TableSpec

from distributed.schema.duckdb_sql import first_row, quoted


def out_of_order(
    con: duckdb.DuckDBPyConnection, folder: Path, specs: Mapping[str, TableSpec], test_timestamp: str
) -> list[str]:
    """Returns a line for each table with a primary key of which rows up to the test timestamp come after later ones."""
    lines = []
    for name, spec in specs.items():
        if spec.pkey is None or spec.time_col is None:
            continue
        path = str(folder / "db" / f"{name}.parquet").replace("'", "''")
        known = f"{quoted(spec.time_col)} <= TIMESTAMP '{test_timestamp}'"
        row = quoted(spec.pkey)
        rows = f"read_parquet(['{path}'])"
        first_later = f"(SELECT min({row}) FROM {rows} WHERE ({known}) IS NOT TRUE)"
        (num,) = first_row(con, f"SELECT count(*) FROM {rows} WHERE ({known}) AND {row} > {first_later}") or (0,)
        if num:
            lines.append(
                f"table {name!r}: {num:,} rows up to --test-timestamp {test_timestamp} come after later ones or such without time"
            )
    return lines
