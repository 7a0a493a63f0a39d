"""The two lines of DuckDB that every part of an import needs: a quoted name, and the one row of a query."""

from __future__ import annotations

from typing import Any

import duckdb


def quoted(name: str) -> str:
    """Returns `name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def first_row(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...] | None:
    """Returns the only row of a query that ends in LIMIT 1 or aggregates; it is fetched to the end, which frees the connection."""
    rows = con.execute(query).fetchall()
    return rows[0] if rows else None
