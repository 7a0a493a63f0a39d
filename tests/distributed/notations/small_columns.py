"""One column of a small CSV, imported: what it became, or why it was refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.distributed.importing.small_imports import column, run

DAYS = [datetime(2024, 1, 2) + timedelta(hours=29 * i) for i in range(300)]
"""300 times of the year 2024, days beyond the 12th among them."""


def write_csv(folder: Path, name: str, rows: Sequence[tuple[object, ...]], header: str) -> None:
    """Writes one table; fields with commas or quotes are quoted."""
    folder.mkdir(exist_ok=True)
    texts = (",".join(f'"{field}"' if set(str(field)) & set(',"\n') else str(field) for field in row) for row in rows)
    (folder / f"{name}.csv").write_text("\n".join([header, *texts]) + "\n", encoding="utf-8")


def imported(
    path: Path, values: Sequence[object], name: str = "x", *, is_time: bool = False, **options: Any
) -> list[str]:
    """Imports a table t of an id, the values, and a time beside them unless the values are the time; returns the lines."""
    beside = [] if is_time else [f"{day:%Y-%m-%d}" for day in DAYS[: len(values)]]
    rows = [(i, value, *beside[i : i + 1]) for i, value in enumerate(values)]
    write_csv(path / "in", "t", rows, f"id,{name}" + ("" if is_time else ",at"))
    return imported_folder(path, is_time=is_time, name=name, **options)


def imported_folder(
    path: Path, *, name: str = "x", is_time: bool = False, formats: dict[str, str] | None = None, **options: Any
) -> list[str]:
    """Imports the folder `in` of a table t with a pkey `id`."""
    time = f", time_col: {name}" if is_time else ""
    (path / "schema.yaml").write_text(f"t: {{pkey: id{time}, formats: {formats or {}}}}\n")
    times = {"val_timestamp": "2024-01-03", "test_timestamp": "2024-01-04"}
    return run(str(path / "in"), path / "out", **{"schema_file": path / "schema.yaml", **times, **options})


def read(path: Path, name: str = "x") -> list[Any]:
    """Returns the imported values in the order of `id`: times as datetimes."""
    table = pq.read_table(path / "out" / "db" / "t.parquet")
    if pa.types.is_timestamp(table[name].type):
        values: list[Any] = table[name].cast(pa.timestamp("us")).to_pylist()
    else:
        values = column(path / "out", "t", name)
    keys = pq.read_table(path / "out" / "keys" / "t.parquet")["source_key"].to_pylist()
    return [value for _, value in sorted(zip(keys, values, strict=True), key=lambda pair: pair[0])]


def unix_us(moment: datetime) -> int:
    """Returns the UNIX microseconds of a time in UTC."""
    return int(moment.replace(tzinfo=UTC).timestamp()) * 10**6 + moment.microsecond
