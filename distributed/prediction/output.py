"""Predictions as one file: Parquet or CSV, there whole or not at all. Memory: one part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from rdl_core.atomic_write import replace_file


def write_file(parts: Iterable[Path], out: Path) -> int:
    """Writes the parts, one after the other, into a file; returns its number of rows.

    Args:
        parts: Parquet files of one schema, at least one.
        out: The file, by whose suffix its format is chosen.
    """
    files = list(parts)
    return write_tables(map(pq.read_table, files), pq.read_schema(files[0]), out)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> int:
    """Writes tables of one schema, one after the other, into a file by whose suffix its format is chosen; returns its number of rows."""
    schema, rows = _plain(schema), 0
    with replace_file(out) as partial, _writer(partial, schema) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))
            rows += len(table)
    return rows


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter | pa_csv.CSVWriter:
    if path.suffix == ".csv":
        return pa_csv.CSVWriter(path, schema)
    return pq.ParquetWriter(path, schema, compression="zstd")


def _plain(schema: pa.Schema) -> pa.Schema:
    """Returns a schema without dictionaries, whose values may differ from part to part."""
    kinds = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in schema]
    return pa.schema(list(zip(schema.names, kinds, strict=True)))
