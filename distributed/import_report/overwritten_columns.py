"""Columns whose names say that they are overwritten in place: `updated_at`, `last_login`, `current_balance`, `lifetime_value`.

Such a cell holds what was known when the database was copied, not what was known at a seed's time. Reported are times so named in tables whose rows
have no time (where they have one, a time after it is reported by itself), and numbers and text so named in tables that other tables refer to: the
balance of an account is overwritten, that of a booking is not. The name is the only evidence. Cost: nothing but counts of nulls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from distributed.import_report.folder_tables import FolderTables, view
from distributed.import_report.recent_rows import snake_case
from distributed.import_report.report import Finding
from distributed.schema.duckdb_sql import quoted
from distributed.schema.refusals import exclude_option

_TIME_NAME = re.compile(
    r"(^|_)(updated|modified|changed|edited|refreshed|synced|last|latest|recent)(_|$)|(^|_)(update|modification)_(time|date|ts)$"
)
_STATE_NAME = re.compile(r"(^|_)(lifetime|latest|running|current|to_date|so_far)(_|$)")


def overwritten_columns(tables: FolderTables, table: str) -> Iterator[Finding]:
    """Yields a finding per attribute whose name tells of an update in place."""
    is_dated = tables.specs[table].time_col is not None
    is_parent = any(table in spec.fkeys.values() for spec in tables.specs.values())
    for column, kind in tables.attributes(table).items():
        pattern, applies = (_TIME_NAME, not is_dated) if pa.types.is_timestamp(kind) else (_STATE_NAME, is_parent)
        found = pattern.search(snake_case(column)) if applies else None
        if found is None:
            continue
        (num_filled,) = tables.one(f"SELECT count({quoted(column)}) FROM {view(table)}")
        if not num_filled:
            continue
        yield Finding(
            kind="overwritten",
            table=table,
            column=column,
            num_rows=num_filled,
            text=f"is overwritten in place, by its name ({found.group().strip('_')}): {num_filled:,} rows hold what was "
            "known when the database was copied",
            remedy=f"leave it out: {exclude_option(f'{table}.{column}')}; or keep its versions in a table of their own "
            "(valid_from, valid_to in the schema file)",
        )
