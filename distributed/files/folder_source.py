"""A folder of CSV and Parquet files as an import source: which files are which table.

    orders.csv  orders.tsv  orders.csv.gz  orders.parquet    a table in one file
    orders.parquet/  orders.csv/  orders/                    a table in parts, perhaps below key=value folders

Keys come from a schema file or are proposed; files declare none. Promises: each file belongs to one table; what belongs to none is said; folders
that only their own software can read (Delta, Iceberg) are refused, since their files hold deleted rows, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import pyarrow as pa

from distributed.files.csv_file import CsvTable
from distributed.files.parquet_file import NO_VALUE, ParquetTable, Part
from distributed.schema.declared_table import DeclaredTable
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.schema_file import MINIMAL_SCHEMA
from distributed.schema.source_table import SourceTable
from distributed.schema.table_plan import TablePlan
from rdl_core.checksums import sha256_of

CSV_ENDINGS = tuple(ending + pressed for ending in (".csv", ".tsv") for pressed in ("", ".gz", ".bz2", ".zst"))
ENDINGS = (*CSV_ENDINGS, ".parquet")


class FolderSource:
    """A folder of files as a source; a context manager like `SqlSource`, though it holds nothing open.

    Args:
        source: The folder.
        declared: What the schema file says, by table.
        batch_rows: Rows of a batch, of Parquet.
        only: Tables that are imported, None for all; of others, not even errors matter.
        may_declare_nothing: Whether keys will be proposed, so that no schema file is needed.

    Raises:
        ImportRefused: There is no such folder, it holds no table, or two files are one table.
    """

    def __init__(
        self,
        source: str,
        declared: Mapping[str, DeclaredTable],
        batch_rows: int,
        *,
        only: Sequence[str] | None = None,
        may_declare_nothing: bool = False,
    ) -> None:
        self.folder = Path(source)
        self.display = self.folder.name
        self._declared, self._batch_rows, self._only = declared, batch_rows, only
        self._opened: dict[str, CsvTable | ParquetTable] = {}
        self._notes: list[str] = []
        if not self.folder.is_dir():
            raise ImportRefused(
                f"--source {source!r}: expected an SQLAlchemy URL (sqlite:///shop.db) or a folder of CSV/Parquet files"
            )
        self._parts = self._table_parts()
        if not self._parts:
            found = sorted(path.name for path in self.folder.iterdir())[:10]
            raise ImportRefused(f"--source {source!r}: no file ends in {', '.join(ENDINGS)}; the folder has {found}")
        if not declared and not may_declare_nothing:
            raise ImportRefused(
                f"--source {source!r}: files declare no keys. `--propose schema.yaml` writes a schema file from their names and values, "
                "to read and change; --accept takes what is certain of it at once; or pass --schema-file, a YAML that names "
                f"the keys, for example:\n{MINIMAL_SCHEMA}\n(tables found: {list(self._parts)}; a table without keys is written `name: {{}}`)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def schemas(self) -> dict[str, SourceTable]:
        """Returns every table of the folder, by name; one that is not imported and cannot be read has no columns.

        Raises:
            ImportRefused: A file of a table that is imported cannot be read.
        """
        refusals, schemas = Refusals(), {}
        for name in self._parts:
            is_wanted = self._only is None or name in self._only
            of_table = refusals if is_wanted else Refusals()
            schemas[name] = SourceTable(name=name, columns={}, declares_keys=False)
            with of_table.each():
                schemas[name] = self._table(name).schema()
        refusals.refuse()
        return schemas

    def batches(self, plan: TablePlan) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table in the files' order, columns in the order of `plan.columns`.

        Raises:
            ImportRefused: A file is not readable as CSV or Parquet, or a value does not fit its column.
        """
        return self._table(plan.name).batches(plan.columns)

    def notes(self) -> tuple[str, ...]:
        """Returns a line on what belongs to no table."""
        return tuple(self._notes)

    def fingerprint(self) -> dict[str, str]:
        """Returns the SHA-256 of each file of the tables that are imported, by its path in the folder."""
        names = [name for name in self._parts if self._only is None or name in self._only]
        paths = [part.path for name in names for part in self._parts[name]]
        return {str(path.relative_to(self.folder)): sha256_of(path) for path in paths}

    def _table(self, name: str) -> CsvTable | ParquetTable:
        if name not in self._opened:
            parts, declared = self._parts[name], self._declared.get(name, DeclaredTable())
            if parts[0].path.name.lower().endswith(".parquet"):
                self._opened[name] = ParquetTable(name, parts, declared, self._batch_rows)
            else:
                self._opened[name] = CsvTable(name, [part.path for part in parts], declared)
        return self._opened[name]

    def _table_parts(self) -> dict[str, list[Part]]:
        """Returns the files of each table, by name."""
        parts: dict[str, list[Part]] = {}
        places: dict[str, str] = {}
        refusals, ignored = Refusals(), []
        for path in sorted(self.folder.iterdir()):
            name = _without_ending(path.name)
            found: list[Part] = []
            with refusals.each():
                if path.name.startswith("."):
                    pass
                elif path.is_dir():
                    found = _parts_below(path, {})
                    _refuse_mixed(path, found)
                elif name != path.name:
                    found = [Part(path)]
                if not found:
                    ignored.append(path.name)
                elif name in parts:
                    raise ImportRefused(f"table {name!r}: both {places[name]} and {path.name}; remove one")
                else:
                    parts[name], places[name] = found, path.name
        if ignored:
            self._notes.append(f"no tables, and left out: {', '.join(ignored[:10])}{' ...' if ignored[10:] else ''}")
        refusals.refuse()
        return dict(sorted(parts.items()))


def _without_ending(name: str) -> str:
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def _parts_below(folder: Path, values: dict[str, str | None]) -> list[Part]:
    """Returns the part files of a folder and of its key=value folders; names that begin with . or _ are none (_SUCCESS)."""
    if (folder / "_delta_log").is_dir() or any((folder / "metadata").glob("*.metadata.json")):
        raise ImportRefused(
            f"table {folder.name!r}: {folder.name}/ is a Delta or Iceberg table, whose files hold deleted rows, too; read it with "
            "its own software and write plain Parquet"
        )
    parts: list[Part] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            key, equals, value = path.name.partition("=")
            if not equals:
                if not values and not parts and not any(p.is_file() for p in folder.iterdir()):
                    return []  # a folder of folders is no table
                raise ImportRefused(
                    f"table {_without_ending(folder.name)!r}: {folder.name}/ holds a folder {path.name}/ beside its parts; expected "
                    "files, or folders named key=value; move it away"
                )
            parts += _parts_below(path, {**values, key: None if value == NO_VALUE else unquote(value)})
        elif path.name.lower().endswith(ENDINGS):
            parts.append(Part(path, values))
    return parts


def _refuse_mixed(folder: Path, parts: list[Part]) -> None:
    are_parquet = {part.path.name.lower().endswith(".parquet") for part in parts}
    if len(are_parquet) > 1:
        raise ImportRefused(
            f"table {_without_ending(folder.name)!r}: {folder.name}/ holds CSV and Parquet files; expected one kind; a folder of "
            "several tables is a source of its own: --source with its path"
        )
    if parts and not are_parquet.pop() and any(part.values for part in parts):
        raise ImportRefused(
            f"table {_without_ending(folder.name)!r}: CSV files below key=value folders are not read; write the key as a column"
        )
