"""What an import did: the report, its lines, and `import.json`, which tells a repeated import from another one.

In: ordered tables and their key counts. Out: `ImportReport`; JSON without passwords.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from distributed.import_keys import KeyCounts, OrderedTable


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """One imported table. `null_fkeys`: null in the source; `dangling_fkeys`: set to null; `left_out`: column ->
    reason.
    """

    num_rows: int
    num_columns: int
    pkey_col: str | None
    time_col: str | None
    fkey_col_to_pkey_table: dict[str, str]
    null_fkeys: dict[str, int]
    dangling_fkeys: dict[str, int]
    left_out: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What was imported. `is_reused`: `out` held this very import already. `tasks`: labels per task and split."""

    manifest: Path
    tables: dict[str, TableReport]
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    wall_s: float = 0.0
    is_reused: bool = False


def table_report(table: OrderedTable, counts: KeyCounts, folder: Path) -> TableReport:
    plan = table.plan
    return TableReport(
        num_rows=table.num_rows,
        num_columns=len(pq.read_schema(folder / "db" / f"{plan.name}.parquet")),
        pkey_col=plan.pkey_out,
        time_col=table.time_out,
        fkey_col_to_pkey_table={link.out_column: link.parent for link in plan.links},
        null_fkeys=counts.null,
        dangling_fkeys=counts.dangling,
        left_out=plan.left_out,
    )


def table_lines(tables: Mapping[str, TableReport]) -> list[str]:
    lines = []
    for name, table in tables.items():
        fkeys = ", ".join(f"{column} -> {parent}" for column, parent in table.fkey_col_to_pkey_table.items())
        lines.append(
            f"{name}: {table.num_rows:,} rows, {table.num_columns} columns, pkey {table.pkey_col}, "
            f"time_col {table.time_col}, fkeys {fkeys or None}"
        )
        lines += [f"{name}.{column}: left out, {reason}" for column, reason in table.left_out.items()]
        lines += [
            f"{name}.{column}: {n:,} dangling keys set to null" for column, n in table.dangling_fkeys.items() if n
        ]
    return lines


def read_report(out: Path, identity: Mapping[str, Any]) -> ImportReport:
    path = out / "import.json"
    if not path.is_file():
        raise FileExistsError(f"{out} exists and is no import; remove it, or choose another out")
    found = json.loads(path.read_text(encoding="utf-8"))
    for key, what in (
        ("config_hash", "with other options or task files"),
        ("source_hashes", "before the source changed"),
    ):
        if found[key] != identity[key]:
            raise FileExistsError(f"{out} was imported {what}; remove it, or choose another out")
    report = found["report"]
    tables = {name: TableReport(**table) for name, table in report["tables"].items()}
    notes = tuple(report["notes"])
    return ImportReport(
        manifest=out / "manifest.yaml", tables=tables, tasks=report["tasks"], notes=notes, is_reused=True
    )


def write_import_json(path: Path, identity: Mapping[str, Any], report: ImportReport) -> None:
    content = dataclasses.asdict(report)
    del content["manifest"], content["is_reused"]
    path.write_text(json.dumps({**identity, "report": content}, indent=1, ensure_ascii=False), encoding="utf-8")
