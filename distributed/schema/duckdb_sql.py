"""Means that every part of an import needs of DuckDB: a quoted name, the one row of a query, and a bound on its memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import duckdb


def quoted(name: str) -> str:
    """Returns `name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def first_row(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...] | None:
    """Returns the only row of a query that ends in LIMIT 1 or aggregates; it is fetched to the end, which frees the connection."""
    rows = con.execute(query).fetchall()
    return rows[0] if rows else None


def work_database(folder: Path) -> duckdb.DuckDBPyConnection:
    """Opens a database for the work in `folder`.

    DuckDB takes what follows a ? in a path for options. Below such a folder, the database is one in memory, which spills to the disk like all else.
    """
    path = folder.resolve() / "work.duckdb"
    return duckdb.connect() if "?" in str(path) else duckdb.connect(str(path))


def limit_memory(con: duckdb.DuckDBPyConnection, memory_bytes: int | None, spill: Path) -> None:
    """Bounds a connection's memory; beyond it, sorts, joins and groups spill to the disk, where no limit but the disk's holds.

    Args:
        con: The connection.
        memory_bytes: The bound. None: 2 GB, or a quarter of this machine's memory if that is less.
        spill: The folder for what does not fit; DuckDB makes it when it needs it.
    """
    if memory_bytes is None:
        memory_bytes = min(2_000_000_000, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    con.execute(f"SET memory_limit = '{memory_bytes}B'")
    con.execute(f"SET temp_directory = '{str(spill).replace(chr(39), chr(39) * 2)}'")
