"""Makes a REG store of a database: statistics, vocabularies and donors of rows up to the cutoff, arrays of all rows.

Promises: a store is made beside its place and renamed, so that it is whole or not there; an error or Ctrl-C leaves nothing behind but the vectors of
texts that took long (`<store>.texts`), from which the next run goes on; what a killed process leaves, the next run removes. A store is named by the
hash of its source and settings, so that it is made once; the same source gives the same bytes, by any number of threads. Memory: keys and times of
all rows first (about 60 bytes a row at the peak), then one column for each thread.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
from numpy.typing import NDArray
from relbench.load import RelBenchDataset
from relbench.manifest import TableSpec

from rdl_core.config import StoreConfig, decode
from rdl_core.database.appended import earlier_state, file_digests
from rdl_core.database.column_values import read_column
from rdl_core.database.dataset import check_excluded_columns
from rdl_core.database.table_settings import TableSettings, read_table_settings
from rdl_core.graph.existence import existence_times
from rdl_core.graph.feature_rows import known_by_cutoff, late_times
from rdl_core.graph.filled_later import LateKey, declared_late_keys, late_keys
from rdl_core.graph.keys import read_keys, read_times
from rdl_core.graph.known_schema import check_known, known_digest, left_out_of, with_new_values
from rdl_core.graph.prefix_sums import write_prefix_sums
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph, build_graph, concatenate
from rdl_core.graph.schema import VALID_TO, Schema, TableSchema
from rdl_core.graph.store import FORMAT_VERSION, Store, open_store, write_manifest
from rdl_core.graph.table_writer import TableWriter
from rdl_core.text.text_embedding import KeptTexts, TextEmbedder, text_embedder
from rdl_core.timestamps import SECONDS_PER_DAY, seconds_of

COLUMNS_BYTES = 1_500_000_000
"""Memory for the columns that threads hold at a time, unless the number of threads is given."""
COLUMN_ROW_BYTES = 40
"""Bytes a row of one column takes while it is encoded, sorts and counts included."""

EncodeTables = Callable[[list[tuple[str, NDArray[np.bool_], Path]]], Iterable[TableSchema]]


def materialize(
    dataset: RelBenchDataset,
    stores_dir: Path,
    config: StoreConfig | None = None,
    *,
    model: Schema | None = None,
    earlier: Store | None = None,
    workers: int | None = None,
    encode_tables: EncodeTables | None = None,
    progress: Callable[[str], None] = lambda table: None,
    advance: Callable[[float], None] = lambda rows: None,
) -> Store:
    """Makes the store of a validated dataset, or opens it if it was made before.

    Args:
        dataset: A dataset from `open_dataset`.
        stores_dir: The store becomes a folder in it, `<database>-<hash of source and settings>`.
        config: Settings; None for the defaults.
        model: A model's schema: its statistics, vocabularies, tables and keys are taken, nothing is fitted (known_schema.py).
        earlier: The store of the dataset as it was before `import --append`: its schema is the model's, the cells of its rows are copied.
        workers: Threads, each of which holds one column in memory; None for as many as processors and COLUMNS_BYTES allow. No byte of the store
            depends on them.
        encode_tables: Maps [(table, visible rows, folder)] to the tables' schemas, in any order; a distributed run passes its own.
        progress: Called with the name of each finished table.
        advance: Called with a number of rows, of all tables, whenever a share of the work is done that corresponds to so many.

    Raises:
        ValueError: `exclude_columns` names something that is no attribute, so a label's column would stay in; or `earlier` is not that store.
        DatabaseError: The dataset lacks what `model` knows, or has it with another type.
        OSError: The disk is full, or tables were encoded where this process cannot see them.
    """
    model = earlier.schema if earlier is not None else model
    config = _as_known(config or StoreConfig(), model)
    check_excluded_columns(dataset, config.exclude_columns)
    if model is not None:
        check_known(dataset, model)
    path = Path(stores_dir) / store_name(dataset, config, model)
    if (path / "store.json").exists():
        return open_store(path)
    if earlier is not None:
        _check_earlier(dataset, earlier)
    _remove_left(path)
    # Another process may make the same store.
    partial = path.with_name(f"{path.name}.partial-{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:12]}")
    encode = encode_tables or (lambda work: _encode_tables(dataset, config, work, model, workers, advance, earlier))
    try:
        _write_store(partial, dataset, config, model, encode, progress, workers)
        _take_place(partial, path)
        shutil.rmtree(path.with_name(f"{path.name}.texts"), ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_store(path)


def _check_earlier(dataset: RelBenchDataset, earlier: Store) -> None:
    """Raises ValueError unless a store was made of the files that the dataset had before rows were appended, and these are still its first rows."""
    digests, rows = earlier_state(dataset)
    config = decode(StoreConfig, earlier.manifest["config"], "the earlier store's config")
    name = dataset.manifest.name
    expected = {f"{name}-{_digest(digests, config, model)[:16]}" for model in (None, earlier.schema)}
    counts = {table: schema.num_rows for table, schema in earlier.schema.tables.items()}
    if earlier.path.name not in expected or any(rows.get(table) != number for table, number in counts.items()):
        raise ValueError(
            f"--append: {earlier.path.name} is no store of {name} as it was before rows were appended; name that store, or leave --append out "
            "(--schema-of reads all rows with the schema of a model)"
        )


def _remove_left(path: Path) -> None:
    """Removes what processes of this machine that are no more left of this store."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.partial-{glob.escape(platform.node())}-*"):
        pid = partial.name.split("-")[-2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(partial, ignore_errors=True)


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
    model: Schema | None,
    encode_tables: EncodeTables,
    progress: Callable[[str], None],
    workers: int | None,
) -> None:
    (partial / "graph").mkdir(parents=True)
    graph, late = _build_topology(dataset, config, model)
    cutoff_s = seconds_of(dataset.val_timestamp)
    work = []
    for number, table in enumerate(graph.node_types):
        folder = partial / "tables" / str(number)
        folder.mkdir(parents=True)
        work.append((table, graph.table_time(table) <= cutoff_s, folder))
    for name, array in graph.arrays().items():
        np.save(partial / "graph" / f"{name}.npy", array)
    node_types, edge_types = graph.node_types, graph.edge_types
    time_span_s = _time_span_s(graph) if model is None else model.time_span_s
    del graph  # topology and cells are not in memory at the same time
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
    schema = Schema(
        database=dataset.manifest.name,
        cutoff_s=cutoff_s,
        time_span_s=time_span_s,
        text_embedder=config.text_embedder,
        timeless_rows=config.timeless_rows,
        tables={table: tables[table] for table in node_types},
    )
    write_prefix_sums(partial, schema, edge_types, workers)
    _describe(partial, schema, edge_types, late, dataset, config)


def _time_span_s(graph: RelationalEntityGraph) -> int:
    """Returns the seconds from the 5 % quantile of row times up to the cutoff, of tables with a time column, to the cutoff; at least a day."""
    dated = [t for t, has_time in zip(graph.node_types, graph.has_time_col, strict=True) if has_time]
    times = concatenate([of[of <= graph.cutoff_s] for of in map(graph.table_time, dated)], np.int64)
    if not len(times):
        return SECONDS_PER_DAY
    at = len(times) // 20
    return max(graph.cutoff_s - int(np.partition(times, at)[at]), SECONDS_PER_DAY)


def encode_table(
    dataset: RelBenchDataset,
    config: StoreConfig,
    table: str,
    visible: NDArray[np.bool_],
    folder: Path,
    model: Schema | None = None,
) -> TableSchema:
    """Fits and writes one table, which is the unit of work on several nodes.

    Args:
        dataset: A validated dataset.
        config: Settings of the store.
        table: Name of the table.
        visible: bool [rows], rows up to the cutoff.
        folder: Folder for the arrays.
        model: The schema that is taken instead of a fitted one.
    """
    (schema,) = _encode_tables(dataset, config, [(table, visible, folder)], model, 1, lambda rows: None)
    return schema


def _encode_tables(
    dataset: RelBenchDataset,
    config: StoreConfig,
    work: list[tuple[str, NDArray[np.bool_], Path]],
    model: Schema | None,
    workers: int | None,
    advance: Callable[[float], None],
    earlier: Store | None = None,
) -> Iterator[TableSchema]:
    """Fits and writes tables, the columns of all of them by the same threads; yields each table's schema when it is written."""
    embedder = text_embedder(config.text_embedder)
    threads = ThreadPoolExecutor(workers or _num_threads(max(len(visible) for _, visible, _ in work)))
    try:
        writers = [
            _started(dataset, config, *item, _known(model, item[0]), embedder, threads, advance, earlier)
            for item in work
        ]
        for writer in writers:
            yield _written(dataset, config, writer, _known(model, writer.table))
    finally:
        threads.shutdown(cancel_futures=True)  # waits for the columns that are being written


def _num_threads(max_rows: int) -> int:
    """Returns as many threads as there are processors, but no more than columns of the largest table fit into COLUMNS_BYTES."""
    return max(1, min(os.cpu_count() or 1, COLUMNS_BYTES // (COLUMN_ROW_BYTES * max(max_rows, 1))))


def _started(
    dataset: RelBenchDataset,
    config: StoreConfig,
    table: str,
    visible: NDArray[np.bool_],
    folder: Path,
    known: TableSchema | None,
    embedder: TextEmbedder,
    threads: Executor,
    advance: Callable[[float], None],
    earlier: Store | None,
) -> TableWriter:
    spec, path = dataset.manifest.tables[table], dataset.db_dir / f"{table}.parquet"
    settings = read_table_settings(dataset.dataset_dir, dataset.manifest)[table]
    late = _late_columns(config, table, spec, settings)
    by_cutoff = {}
    if late:
        times = late_times(path, late)
        np.save(folder / "known_from.npy", np.stack(list(times.values()), axis=1))
        by_cutoff = known_by_cutoff(late, times, visible, seconds_of(dataset.val_timestamp))
    writer = TableWriter(
        path,
        table,
        keys={spec.pkey, settings.valid_to, *spec.fkeys, *_excluded(config, table)},
        visible=visible,
        given=None if known is None else {column.name: column for column in known.columns},
        known_by_cutoff=by_cutoff,
        stypes=settings.stypes,
        folder=folder,
        texts=KeptTexts(embedder, _kept_texts(folder)),
        threads=threads,
        earlier=None if earlier is None else earlier.table_folder(table),
        num_earlier=0 if earlier is None else earlier.schema.tables[table].num_rows,
        advance=advance,
    )
    writer.start()
    return writer


def _known(model: Schema | None, table: str) -> TableSchema | None:
    return None if model is None else model.tables[table]


def _written(
    dataset: RelBenchDataset, config: StoreConfig, writer: TableWriter, known: TableSchema | None
) -> TableSchema:
    columns, left_out = writer.finish()
    if known is not None:
        left_out = left_out_of(known, left_out)
    spec, excluded = dataset.manifest.tables[writer.table], _excluded(config, writer.table)
    settings = read_table_settings(dataset.dataset_dir, dataset.manifest)[writer.table]
    return TableSchema(
        name=writer.table,
        num_rows=len(writer.visible),
        num_rows_up_to_cutoff=int(writer.visible.sum()),
        pkey_col=spec.pkey,
        time_col=spec.time_col,
        fkey_col_to_pkey_table=dict(spec.fkeys if known is None else known.fkey_col_to_pkey_table),
        columns=columns,
        left_out=left_out
        | dict.fromkeys(excluded, "excluded by the settings")
        | ({} if settings.valid_to is None else {settings.valid_to: VALID_TO}),
        unknown_values=writer.unknown_values,
        known_from=_late_columns(config, writer.table, spec, settings),
    )


def _late_columns(config: StoreConfig, table: str, spec: TableSpec, settings: TableSettings) -> dict[str, str]:
    """Returns the column of times from which a column's cells are known, by column, without what is left out (feature_rows.py)."""
    excluded = {*_excluded(config, table), settings.valid_to}
    return {c: time for c, time in settings.late_columns(spec.time_col).items() if c not in excluded}


def _excluded(config: StoreConfig, table: str) -> list[str]:
    return sorted({c.removeprefix(f"{table}.") for c in config.exclude_columns if c.startswith(f"{table}.")})


def _kept_texts(folder: Path) -> Path | None:
    """Returns where the vectors of a store's texts are kept until it is done, given a table's folder in it; None for a folder elsewhere."""
    store, partial, _ = folder.parents[1].name.partition(".partial-")
    return folder.parents[1].with_name(f"{store}.texts") if partial else None


def _as_known(config: StoreConfig, model: Schema | None) -> StoreConfig:
    """Returns the settings with those of the model, by which its statistics were made."""
    if model is None:
        return config
    known = {"text_embedder": model.text_embedder, "timeless_rows": model.timeless_rows}
    return decode(StoreConfig, dataclasses.asdict(config) | known, "the model's schema")


def with_new_categories(dataset: RelBenchDataset, model: Schema, config: StoreConfig | None = None) -> Schema:
    """Returns a model's schema with the categories behind its own that the dataset's cells up to the cutoff have besides; else it is the model's.

    Raises:
        DatabaseError: The dataset lacks what the model knows, or has it with another type.
    """
    config, cutoff_s = _as_known(config or StoreConfig(), model), seconds_of(dataset.val_timestamp)
    check_known(dataset, model)
    graph, _ = _build_topology(dataset, config, model)
    settings = read_table_settings(dataset.dataset_dir, dataset.manifest)
    tables = {}
    for name, table in model.tables.items():
        path, visible = dataset.db_dir / f"{name}.parquet", graph.table_time(name) <= cutoff_s
        late = _late_columns(config, name, dataset.manifest.tables[name], settings[name])
        by_cutoff = known_by_cutoff(late, late_times(path, late), visible, cutoff_s) if late else {}
        columns = (
            with_new_values(c, read_column(path, c.name), by_cutoff.get(c.name, visible)) if c.categories else c
            for c in table.columns
        )
        tables[name] = dataclasses.replace(table, columns=tuple(columns))
    return dataclasses.replace(model, tables=tables)


def store_name(dataset: RelBenchDataset, config: StoreConfig, model: Schema | None = None) -> str:
    """Returns the folder name of a store: the database's name and a hash of source, settings and the model's schema, if one is taken."""
    return f"{dataset.manifest.name}-{source_hash(dataset, config, model)[:16]}"


def source_hash(dataset: RelBenchDataset, config: StoreConfig, model: Schema | None = None) -> str:
    """Returns the hex digest over the manifest, settings.yaml if there is one, the Parquet files, the settings and the model's schema."""
    return _digest(file_digests(dataset.dataset_dir, list(dataset.manifest.tables)), config, model)


def _digest(file_digests: Iterable[str], config: StoreConfig, model: Schema | None) -> str:
    settings = dataclasses.asdict(_as_known(config, model))
    identity = (FORMAT_VERSION, settings) if model is None else (FORMAT_VERSION, settings, known_digest(model))
    digest = hashlib.sha256(repr(identity).encode())
    for file_digest in file_digests:
        digest.update(bytes.fromhex(file_digest))
    return digest.hexdigest()


def _build_topology(
    dataset: RelBenchDataset, config: StoreConfig, model: Schema | None
) -> tuple[RelationalEntityGraph, list[LateKey]]:
    """Returns the graph, and the keys that are, or may be, filled in later."""
    keys = read_keys(dataset, model)
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
    cutoff_s = seconds_of(dataset.val_timestamp)
    graph = build_graph(keys.num_rows, shown, times, has_time_col, cutoff_s=cutoff_s, expiry=_expiry(dataset, settings))
    return graph, late


def _expiry(dataset: RelBenchDataset, settings: Mapping[str, TableSettings]) -> dict[str, NDArray[np.int64]]:
    """Returns, per table that holds versions, the UNIX seconds up to which each row is valid: int64 [rows]."""
    expiry = {}
    for table, of_table in settings.items():
        if of_table.valid_to is not None:
            with pq.ParquetFile(dataset.db_dir / f"{table}.parquet") as file:
                expiry[table] = read_times(file, of_table.valid_to)
    return expiry


def _describe(
    path: Path,
    schema: Schema,
    edge_types: Sequence[EdgeType],
    late: list[LateKey],
    dataset: RelBenchDataset,
    config: StoreConfig,
) -> None:
    about = {
        "config": dataclasses.asdict(config),
        "edge_types": [list(e) for e in edge_types],
        "test_timestamp_s": seconds_of(dataset.test_timestamp),
        "schema": schema.to_json(),
    }
    if late:
        about["late_keys"] = {key.name: {"is_left_out": key.is_left_out, "line": str(key)} for key in late}
    write_manifest(path, about)
