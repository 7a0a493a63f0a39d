"""A folder of CSV and Parquet files as an import source: each file is a table, a schema file gives the keys.

In: `<table>.csv` (UTF-8, comma, a header line; empty = null) or `<table>.parquet`, and a YAML schema file, per table
`pkey`, `fkeys` {column: table} and `time_col`, as in a RelBench manifest's `tables`. Out: `SourceTable`s and Arrow
batches. CSV is read as text; its types are inferred later over all rows (`types.py`). Memory: one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from distributed.schema.declared_table import DeclaredTable
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.schema_file import MINIMAL_SCHEMA
from distributed.schema.source_table import Kind, SourceTable
from distributed.schema.table_plan import TablePlan
from distributed.sources.arrow_values import ARROW_TYPES
from rdl_core.checksums import sha256_of

_BLOCK_BYTES = 1 << 24  # a row must fit into one block


class FolderSource:
    """A folder of files as a source; a context manager like `SqlSource`, though it holds nothing open.

    Raises:
        ImportRefused: There is no such folder, or its schema file is missing or wrong.
    """

    def __init__(
        self, source: str, declared: Mapping[str, DeclaredTable], batch_rows: int, *, may_declare_nothing: bool = False
    ) -> None:
        self.folder = Path(source)
        self.display = self.folder.name
        self.batch_rows = batch_rows
        if not self.folder.is_dir():
            raise ImportRefused(
                f"--source {source!r}: expected an SQLAlchemy URL (sqlite:///shop.db) or a folder of CSV/Parquet files"
            )
        self._files = self._table_files()
        if not declared and not may_declare_nothing:
            raise ImportRefused(
                f"--source {source!r}: files declare no keys. `--propose schema.yaml` writes a schema file from their names and values, "
                "to read and change; --accept takes what is certain of it at once; or pass --schema-file, a YAML that names "
                f"the keys, for example:\n{MINIMAL_SCHEMA}\n(tables found: {sorted(self._files)}; a table without keys is written `name: {{}}`)"
            )
        self._declared = declared

    def __enter__(self) -> FolderSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _table_files(self) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for path in sorted(self.folder.iterdir()):
            if path.suffix.lower() not in (".csv", ".parquet"):
                continue
            if other := files.get(path.stem):
                raise ImportRefused(f"table {path.stem!r}: both {other.name} and {path.name}; remove one")
            files[path.stem] = path
        return files

    def schemas(self) -> dict[str, SourceTable]:
        """Returns every table of the folder, by name.

        Raises:
            ImportRefused: A file cannot be read.
        """
        refusals = Refusals()
        schemas = {}
        for name, path in sorted(self._files.items()):
            with refusals.each():
                columns, unsupported = _columns(path)
                schemas[name] = SourceTable(
                    name=name,
                    columns=columns,
                    text_types="all" if path.suffix.lower() == ".csv" else "declared",
                    unsupported=unsupported,
                    declares_keys=False,
                )
        refusals.refuse()
        return schemas

    def batches(self, plan: TablePlan) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table in the file's order, columns in the order of `plan.columns`.

        Raises:
            ImportRefused: The file is not readable as CSV or Parquet, or a value does not fit 64 bits.
        """
        path = self._files[plan.name]
        names = list(plan.columns)
        target = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in plan.columns.items()])
        try:
            if path.suffix.lower() == ".csv":
                yield from (batch.select(names).cast(target) for batch in _open_csv(path))
            else:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=self.batch_rows, columns=names):
                        yield _plain(batch.select(names)).cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ImportRefused(f"table {plan.name!r}, file {path.name}: {error}; correct the file") from error

    def notes(self) -> tuple[str, ...]:
        """Returns nothing yet: what a folder leaves out is refused."""
        return ()

    def fingerprint(self) -> dict[str, str]:
        """Returns the SHA-256 of each file by name."""
        return {path.name: sha256_of(path) for path in self._files.values()}


def _open_csv(path: Path) -> pa_csv.CSVStreamingReader:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = pa_csv.read_csv(pa.BufferReader(file.readline().encode())).column_names
    return pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.string() for name in header},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _columns(path: Path) -> tuple[dict[str, Kind], dict[str, str]]:
    """Returns the kind of each column, and the reason for those that cannot be imported."""
    try:
        schema = pq.read_schema(path) if path.suffix.lower() == ".parquet" else _open_csv(path).schema
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ImportRefused(f"file {path.name}: {error}; expected UTF-8 CSV with a header line, or Parquet") from error
    if len(set(schema.names)) < len(schema.names):
        raise ImportRefused(f"file {path.name}: a column name comes twice in {schema.names}; rename one")
    columns: dict[str, Kind] = {column.name: _kind(column.type) for column in schema}
    unsupported = {c.name: f"type {c.type} is not supported" for c in schema if columns[c.name] == "unsupported"}
    return columns, unsupported


def _kind(arrow_type: pa.DataType) -> Kind:
    value_type = arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
    tests: list[tuple[Any, Kind]] = [
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "float"),
        (pa.types.is_decimal, "float"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_date, "timestamp"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_string_view, "text"),
    ]
    return next((kind for test, kind in tests if test(value_type)), "unsupported")


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch with nanoseconds cut to microseconds, the one cast that may drop digits."""
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
