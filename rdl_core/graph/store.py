"""The REG store: one folder with everything that sampling and training read, memory-mapped.

    store.json                 format version, schema, how it was made, bytes and SHA-256 of each file, content hash of all that
    graph/<array>.npy          topology and times (reg.py)
    tables/<number>/<array>.npy  column blocks of the table of that number (features.py)
    statistics/<number>.npy    running sums of the children's cells by the foreign key of that number (prefix_sums.py)

Promises: a store is opened only if its format is this one; arrays are mapped, not read, and cannot be written. Statistics, vocabularies and donors
come from rows up to the cutoff only; the store itself holds all rows, since a test row may see everything before its own time. materialization.py
makes it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdl_core.checksums import content_hash, file_entries
from rdl_core.graph.features import TableFeatures
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph, read_only
from rdl_core.graph.schema import Schema, TableSchema
from rdl_core.place import Place, RemotePlace, local_folder

FORMAT_VERSION = 4
NUM_TABLES_SHOWN = 4
"""The largest tables, in the text of a store."""


@dataclass(frozen=True, repr=False)
class Store:
    """An open store.

    Args:
        path: Its folder on this node.
        schema: The schema of all tables.
        manifest: The content of store.json.
        remote: The remote folder that it is a copy of, or None.
    """

    path: Path
    schema: Schema
    manifest: dict[str, Any]
    remote: RemotePlace | None = None

    def __repr__(self) -> str:
        tables = self.schema.tables.values()
        shown = sorted(tables, key=lambda table: -table.num_rows)[:NUM_TABLES_SHOWN]
        stypes = Counter(column.stype for table in tables for column in table.columns)
        columns = ", ".join(f"{number} {stype}" for stype, number in stypes.most_common()) or "none besides keys"
        lines = [
            f"Store of database {self.schema.database!r}, content {self.content_hash[:16]}",
            f"  path     {self.path}",
            f"  cutoff   {np.datetime64(self.schema.cutoff_s, 's')} UTC",
            f"  size     {self.num_bytes:,} bytes, {sum(table.num_rows for table in tables):,} rows",
            f"  columns  {columns}",
            f"  tables   {len(tables)}, with {len(self.manifest['edge_types'])} foreign keys",
            *(f"    {_shown_table(table)}" for table in shown),
        ]
        more = len(tables) - len(shown)
        return "\n".join([*lines, *([f"    ... and {more} smaller ones"] if more else [])])

    @property
    def place(self) -> Place:
        """The place by which another process, on any node, opens it."""
        return self.remote or str(self.path.resolve())

    @property
    def content_hash(self) -> str:
        return self.manifest["content_hash"]

    @property
    def test_timestamp_s(self) -> int:
        return self.manifest["test_timestamp_s"]

    @property
    def late_keys(self) -> dict[str, dict[str, Any]]:
        """Foreign keys that are, or may be, filled in later, as table.column: {"is_left_out", "line": what people read} (filled_later.py)."""
        return self.manifest.get("late_keys", {})

    @cached_property
    def graph(self) -> RelationalEntityGraph:
        """Topology and times, memory-mapped."""
        return mapped_graph(self.path, self.schema, [tuple(e) for e in self.manifest["edge_types"]])

    @cached_property
    def features(self) -> dict[str, TableFeatures]:
        """Attribute cells per table, memory-mapped."""
        return mapped_features(self.path, self.schema)

    def prefix_sums(self, edge_type: EdgeType) -> NDArray[np.float64]:
        """Running sums of the measures of a key's children, memory-mapped: float64 [children, measures] (prefix_sums.py).

        Raises:
            KeyError: The key has none, since a table of it holds versions.
        """
        path = sums_file(self.path, self.graph.edge_types.index(edge_type))
        if not path.exists():
            raise KeyError(
                f"key {'.'.join(edge_type[:2])} -> {edge_type[2]} has no running sums: a table of it holds versions (valid_to)"
            )
        return read_only(_mapped(path))

    def table_folder(self, table: str) -> Path:
        """Returns the folder of a table's arrays."""
        return self.path / "tables" / str(list(self.schema.tables).index(table))

    @cached_property
    def num_bytes(self) -> int:
        """The bytes of all arrays on the disk."""
        return sum(p.stat().st_size for p in self.path.rglob("*.npy"))


def open_store(place: Place) -> Store:
    """Opens a store; a remote one as this node's copy.

    Raises:
        FileNotFoundError: There is no store.
        ValueError: Another format version wrote it.
        OSError: A remote store cannot be fetched (distributed/storage).
    """
    path = local_folder(place)
    if not (path / "store.json").exists():
        raise FileNotFoundError(f"no REG store at {path} (no store.json); make one with `rdl materialize --data ...`")
    manifest = json.loads((path / "store.json").read_text())
    if manifest["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"store {path} has format {manifest['format_version']}, expected {FORMAT_VERSION}; delete it and materialize again"
        )
    remote = place if isinstance(place, RemotePlace) else None
    return Store(path, Schema.from_json(manifest["schema"]), manifest, remote)


def write_manifest(path: Path, about: dict[str, Any]) -> None:
    """Writes store.json into a folder that holds all its arrays: what it is about, their checksums and the hash of both."""
    manifest = {"format_version": FORMAT_VERSION, **about, "files": file_entries(path)}
    text = json.dumps({"content_hash": content_hash(manifest), **manifest}, indent=1)
    (path / "store.json").write_text(text)


def mapped_graph(path: Path, schema: Schema, edge_types: Sequence[EdgeType]) -> RelationalEntityGraph:
    """Returns the graph in the folder of a store."""
    arrays = {p.stem: _mapped(p) for p in sorted((path / "graph").glob("*.npy"))}
    return RelationalEntityGraph(
        node_types=tuple(schema.tables), edge_types=tuple(edge_types), cutoff_s=schema.cutoff_s, **arrays
    )


def mapped_features(path: Path, schema: Schema) -> dict[str, TableFeatures]:
    """Returns the cells of each table in the folder of a store."""
    folders = {t: path / "tables" / str(i) for i, t in enumerate(schema.tables)}
    return {
        table: TableFeatures(schema.tables[table], {p.stem: _mapped(p) for p in sorted(folder.glob("*.npy"))})
        for table, folder in folders.items()
    }


def sums_file(path: Path, key_number: int) -> Path:
    """Returns the file of a key's running sums in the folder of a store."""
    return path / "statistics" / f"{key_number}.npy"


def _shown_table(table: TableSchema) -> str:
    keys = ", ".join(f"{column} -> {parent}" for column, parent in table.fkey_col_to_pkey_table.items())
    text = f"{table.name}: {table.num_rows:,} rows, {len(table.columns)} columns, keys {keys or None}"
    return text if len(text) <= 120 else text[:117] + "..."


def _mapped(path: Path) -> NDArray:
    # A file of a page or less gains nothing from a map, and an empty array cannot be mapped at all.
    return np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None)
