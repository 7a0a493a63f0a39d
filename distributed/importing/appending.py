"""--append: a fresh import, joined to the one that is there before tasks and report are made."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
from relbench.manifest import TableSpec

from distributed.appending.appended_tables import append_tables
from distributed.appending.earlier_import import ANEW, EarlierImport, left_out_columns
from distributed.appending.row_order import out_of_order
from distributed.import_report.report import Growth
from distributed.importing.keys import OrderedTable
from distributed.schema.duckdb_sql import limit_memory, work_database
from distributed.schema.refusals import ImportRefused
from rdl_core.database.table_settings import TableSettings

_NEW = "new in the source; the rows imported before have no value of it (an import anew takes it)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joined:
    """The tables of a folder after --append, what was done, and the lines about it."""

    tables: dict[str, OrderedTable]
    growth: dict[str, Growth]
    notes: list[str]


def join_to_earlier(
    earlier: EarlierImport,
    folder: Path,
    tables: Mapping[str, OrderedTable],
    specs: Mapping[str, TableSpec],
    *,
    test_timestamp: str,
    has_tasks: bool,
    memory_bytes: int | None,
) -> Joined:
    """Rewrites the tables and keys of a fresh import as those of the earlier one with the new rows behind them.

    Args:
        earlier: The earlier import.
        folder: The fresh import's folder.
        tables: Its tables.
        specs: Their keys and times.
        test_timestamp: The cutoff at which RelBench cuts a database.
        has_tasks: Whether RelBench makes labels of it, which it can only of a folder that it can cut.
        memory_bytes: Memory of the joins.

    Raises:
        ImportRefused: The fresh import does not fit the earlier one; it holds all reasons.
    """
    left_out = left_out_columns(earlier, folder, specs)
    kept = {name: _without(table, left_out.get(name, [])) for name, table in tables.items()}
    kept_specs = {
        name: dataclasses.replace(spec, fkeys={c: p for c, p in spec.fkeys.items() if c not in left_out.get(name, [])})
        for name, spec in specs.items()
    }
    work = folder / "appending"
    work.mkdir()
    with work_database(work) as con:
        limit_memory(con, memory_bytes, work / "spill")
        growth = append_tables(con, earlier, folder, kept_specs)
        notes = [line for name, found in growth.items() for line in found.lines(name)]
        uncut = out_of_order(con, folder, kept_specs, test_timestamp)
    if has_tasks and uncut:
        raise ImportRefused(
            *(
                f"--append, {line}, and RelBench makes no labels of such a folder. Pass a --test-timestamp after the last row that was "
                f"there, if it has a time; or {ANEW}"
                for line in uncut
            )
        )
    notes += [
        f"{line}; rdl does not need that order, but RelBench's own get_db() takes this folder with upto_test_timestamp=False only"
        for line in uncut
    ]
    shutil.rmtree(work)
    grown = {
        name: dataclasses.replace(table, num_rows=pq.read_metadata(folder / "db" / f"{name}.parquet").num_rows)
        for name, table in kept.items()
    }
    return Joined(tables=grown, growth=growth, notes=notes)


def _without(table: OrderedTable, columns: list[str]) -> OrderedTable:
    plan = table.plan
    left_out = plan.left_out | dict.fromkeys(columns, _NEW)
    links = tuple(link for link in plan.links if link.out_column not in columns)
    return dataclasses.replace(table, plan=dataclasses.replace(plan, left_out=left_out, links=links))


def settings_without(settings: TableSettings, columns: Mapping[str, str]) -> TableSettings:
    """Returns the settings of a table without those of columns that are left out.

    A column whose cells are known from a column that is left out keeps its setting, which is then refused: it would be known too early.
    """
    return dataclasses.replace(
        settings,
        stypes={c: stype for c, stype in settings.stypes.items() if c not in columns},
        known_from={c: time for c, time in settings.known_from.items() if c not in columns},
        filled_later=tuple(c for c in settings.filled_later if c not in columns),
        known_with_row=tuple(c for c in settings.known_with_row if c not in columns),
    )
