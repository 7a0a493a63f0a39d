"""Makes a REG store of a database: statistics, vocabularies and donors of rows up to the cutoff, arrays of all rows.

Promises: a store is made beside its place and renamed, so that it is whole or not there, and an error or Ctrl-C leaves nothing behind; it is named
by the hash of its source and settings, so that it is made once; the same source gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.config import StoreConfig
from rdl_core.database.dataset import check_excluded_columns, read_table
from rdl_core.database.table_settings import FILE_NAME as SETTINGS_FILE
from rdl_core.database.table_settings import read_table_settings
from rdl_core.graph.existence import existence_times
from rdl_core.graph.features import Arrays, encode
from rdl_core.graph.filled_later import LateKey, declared_late_keys, late_keys
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph, build_graph
from rdl_core.graph.schema import Schema, TableSchema, fit_columns
from rdl_core.graph.store import FORMAT_VERSION, Store, open_store, write_manifest
from rdl_core.graph.text_embedding import text_embedder
from rdl_core.timestamps import seconds_of, to_unix_seconds

EncodeTables = Callable[[list[tuple[str, NDArray[np.bool_], Path]]], Iterable[TableSchema]]


def materialize(
    dataset: RelBenchDataset,
    stores_dir: Path,
    config: StoreConfig | None = None,
    *,
    encode_tables: EncodeTables | None = None,
    progress: Callable[[str], None] = lambda table: None,
) -> Store:
    """Makes the store of a validated dataset, or opens it if it was made before.

    Args:
        dataset: A dataset from `open_dataset`.
        stores_dir: The store becomes a folder in it, `<database>-<hash of source and settings>`.
        config: Settings; None for the defaults.
        encode_tables: Maps [(table, visible rows, folder)] to the tables' schemas, in any order; a distributed run passes its own.
        progress: Called with the name of each finished table.

    Raises:
        ValueError: `exclude_columns` names something that is no attribute, so a label's column would stay in.
        OSError: The disk is full, or tables were encoded where this process cannot see them.
    """
    config = config or StoreConfig()
    check_excluded_columns(dataset, config.exclude_columns)
    path = Path(stores_dir) / store_name(dataset, config)
    if (path / "store.json").exists():
        return open_store(path)
    partial = path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:12]}")  # another process may make the same store
    try:
        _write_store(partial, dataset, config, encode_tables, progress)
        _take_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_store(path)


def _take_place(partial: Path, path: Path) -> None:
    try:
        partial.rename(path)
    except OSError:  # the other process was faster, with the same bytes
        if not (path / "store.json").exists():
            raise


def _write_store(
    partial: Path,
    dataset: RelBenchDataset,
    config: StoreConfig,
    encode_tables: EncodeTables | None,
    progress: Callable[[str], None],
) -> None:
    (partial / "graph").mkdir(parents=True)
    graph, late = _build_topology(dataset, config)
    cutoff_s = seconds_of(dataset.val_timestamp)
    work = []
    for number, table in enumerate(graph.node_types):
        folder = partial / "tables" / str(number)
        folder.mkdir(parents=True)
        work.append((table, graph.table_time(table) <= cutoff_s, folder))
    if encode_tables is None:
        encode_tables = lambda items: (encode_table(dataset, config, *item) for item in items)  # noqa: E731
    tables = {}
    for table_schema in encode_tables(work):
        tables[table_schema.name] = table_schema
        progress(table_schema.name)
    missing = [table for table, _, folder in work if not (folder / "donors_distinct.npy").exists()]
    if missing:
        raise OSError(
            f"the cells of {', '.join(missing)} were written where this process cannot see them; "
            f"put {partial.parent} on storage that every node shares"
        )
    for name, array in graph.arrays().items():
        np.save(partial / "graph" / f"{name}.npy", array)
    schema = Schema(
        database=dataset.manifest.name,
        cutoff_s=cutoff_s,
        text_embedder=config.text_embedder,
        timeless_rows=config.timeless_rows,
        tables={table: tables[table] for table in graph.node_types},
    )
    _describe(partial, schema, graph, late, dataset, config)


def encode_table(
    dataset: RelBenchDataset, config: StoreConfig, table: str, visible: NDArray[np.bool_], folder: Path
) -> TableSchema:
    """Fits and writes one table, which is the unit of parallel work.

    Args:
        dataset: A validated dataset.
        config: Settings of the store.
        table: Name of the table.
        visible: bool [rows], rows up to the cutoff.
        folder: Folder for the arrays.
    """
    spec = dataset.manifest.tables[table]
    data = read_table(dataset, table)
    excluded = {c.removeprefix(f"{table}.") for c in config.exclude_columns if c.startswith(f"{table}.")}
    columns, left_out = fit_columns(data, visible, {spec.pkey, *spec.fkeys} - {None} | excluded)
    embedder = text_embedder(config.text_embedder)
    columns = tuple(dataclasses.replace(c, channels=embedder.channels) if c.stype == "text" else c for c in columns)
    schema = TableSchema(
        name=table,
        num_rows=data.num_rows,
        num_rows_up_to_cutoff=int(visible.sum()),
        pkey_col=spec.pkey,
        time_col=spec.time_col,
        fkey_col_to_pkey_table=dict(spec.fkeys),
        columns=columns,
        left_out=left_out | dict.fromkeys(sorted(excluded), "excluded by the settings"),
    )
    _write_arrays(folder, encode(data, schema, visible, embedder))
    return schema


def store_name(dataset: RelBenchDataset, config: StoreConfig) -> str:
    """Returns the folder name of a store: the database's name and a hash of source and settings."""
    return f"{dataset.manifest.name}-{source_hash(dataset, config)[:16]}"


def source_hash(dataset: RelBenchDataset, config: StoreConfig) -> str:
    """Returns the hex digest over the manifest, settings.yaml if there is one, the Parquet files and the settings."""
    digest = hashlib.sha256(repr((FORMAT_VERSION, dataclasses.asdict(config))).encode())
    settings_file = dataset.dataset_dir / SETTINGS_FILE
    for path in [
        dataset.dataset_dir / "manifest.yaml",
        *([settings_file] if settings_file.is_file() else []),
        *(dataset.db_dir / f"{t}.parquet" for t in dataset.manifest.tables),
    ]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Keys:
    """Keys and times of a database, of all rows.

    Args:
        num_rows: Rows per table.
        parents: Parent rows per key, int32 [child rows], -1 for null.
        own_times: UNIX seconds per table with a time column, int64 [rows].
    """

    num_rows: dict[str, int]
    parents: dict[EdgeType, NDArray[np.int32]]
    own_times: dict[str, NDArray[np.int64]]


def read_keys(dataset: RelBenchDataset) -> Keys:
    """Reads the key and time columns of a dataset."""
    num_rows: dict[str, int] = {}
    parents: dict[EdgeType, NDArray[np.int32]] = {}
    own_times: dict[str, NDArray[np.int64]] = {}
    for table, spec in dataset.manifest.tables.items():
        needed = [*spec.fkeys, *([spec.time_col] if spec.time_col else [])]
        data = read_table(dataset, table, columns=needed or None)
        num_rows[table] = data.num_rows
        for fkey_col, parent_table in spec.fkeys.items():
            parents[table, fkey_col, parent_table] = _parent_rows(data.column(fkey_col))
        if spec.time_col:
            own_times[table] = to_unix_seconds(data.column(spec.time_col), round_up=True)
    return Keys(num_rows, parents, own_times)


def _build_topology(dataset: RelBenchDataset, config: StoreConfig) -> tuple[RelationalEntityGraph, list[LateKey]]:
    """Returns the graph, and the keys that are, or may be, filled in later."""
    keys = read_keys(dataset)
    settings = read_table_settings(dataset.dataset_dir, dataset.manifest)
    if config.timeless_rows == "always":
        late = declared_late_keys(keys.parents, settings)
    else:
        late = late_keys(keys.num_rows, keys.parents, keys.own_times, settings)
    hidden = {key.edge_type for key in late if key.is_left_out}
    dating = {e: p for e, p in keys.parents.items() if e not in hidden}
    times = existence_times(keys.num_rows, dating, keys.own_times, timeless=config.timeless_rows)
    shown = {e: np.full_like(p, -1) if e in hidden else p for e, p in keys.parents.items()}
    has_time_col = {t: t in keys.own_times for t in keys.num_rows}
    graph = build_graph(keys.num_rows, shown, times, has_time_col, cutoff_s=seconds_of(dataset.val_timestamp))
    return graph, late


def _parent_rows(column: pa.ChunkedArray) -> NDArray[np.int32]:
    values = column.to_numpy()
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if values.dtype == object:
        missing, values = np.array([v is None for v in values]), np.array([0 if v is None else v for v in values])
    return np.where(missing, -1, np.nan_to_num(values)).astype(np.int32)


def _write_arrays(folder: Path, arrays: Arrays) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _describe(
    path: Path,
    schema: Schema,
    graph: RelationalEntityGraph,
    late: list[LateKey],
    dataset: RelBenchDataset,
    config: StoreConfig,
) -> None:
    about = {
        "config": dataclasses.asdict(config),
        "edge_types": [list(e) for e in graph.edge_types],
        "test_timestamp_s": seconds_of(dataset.test_timestamp),
        "schema": schema.to_json(),
    }
    if late:
        about["late_keys"] = {key.name: {"is_left_out": key.is_left_out, "line": str(key)} for key in late}
    write_manifest(path, about)
