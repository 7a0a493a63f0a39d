"""From a command's options to what it works on: the data, its run folder, its store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from relbench.load import RelBenchDataset

from distributed.cluster.session import start_ray
from distributed.commands.shared_options import StoreOptions
from distributed.console import bar, say
from distributed.runs.folder import Run, resolve_data
from distributed.runs.folder import open_run as open_run_folder
from distributed.storage.folder_cache import FolderCache
from distributed.storage.materialize import materialize_in_parallel
from distributed.storage.remote_files import is_url
from distributed.storage.remote_folder import find_folder
from distributed.storage.remote_store import materialize_at_url
from rdl_core.config import StoreConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize, store_name
from rdl_core.graph.store import Store
from rdl_core.place import Place


def cache_of(options: StoreOptions) -> FolderCache:
    """Where copies of what is at URLs are kept."""
    return FolderCache(directory=options.cache_dir)


def store_config(options: StoreOptions) -> StoreConfig:
    """What decides the store, besides the data."""
    return StoreConfig(
        text_embedder=options.text_embedder,
        timeless_rows=options.timeless_rows,
        exclude_columns=options.exclude_columns,
    )


def open_data(options: StoreOptions) -> tuple[Place, RelBenchDataset]:
    """(where the data is, the validated dataset)."""
    data: Place | None = None
    if options.data is not None and is_url(options.data):
        data = find_folder(options.data, "dataset", cache_of(options))
        if data is None:
            raise FileNotFoundError(f"no files at {options.data}; expected a RelBench folder: manifest.yaml, db/")
    data = data or resolve_data(options.data)
    return data, open_dataset(data)


def open_run(options: StoreOptions, command: str, dataset: RelBenchDataset, settings: dict[str, Any]) -> Run:
    """The run folder; its identity holds the store's name, hence the database's content and the store's settings."""
    identity = {"store": store_name(dataset, store_config(options)), **settings}
    return open_run_folder(options.runs_dir, options.run_name, command, dataset.manifest.name, identity)


def open_store(
    options: StoreOptions, dataset: RelBenchDataset, *, workers: int = 1, data: Place | None = None
) -> Store:
    """The dataset's store, made if it is not there yet.

    Args:
        workers: Above 1, tables are encoded by so many through Ray Data; a store at a URL is made in this process.
        data: Where the dataset is, for these workers.
    """
    stores_dir = options.stores_dir or str(options.runs_dir / "stores")
    if workers > 1 and data is not None and not is_url(stores_dir):
        start_ray(0, workers)
        return materialize_in_parallel(dataset, Path(stores_dir), store_config(options), data=data, progress=say)
    with bar() as progress:
        task = progress.add_task("materializing", total=len(dataset.manifest.tables), text="")

        def show(table: str) -> None:
            progress.update(task, advance=1, text=table)

        if is_url(stores_dir):
            store = materialize_at_url(dataset, stores_dir, store_config(options), cache_of(options), progress=show)
        else:
            store = materialize(dataset, Path(stores_dir), store_config(options), progress=show)
        progress.update(task, completed=len(store.schema.tables), text=store.path.name)
    return store


def replaced(config: Any, **changes: Any) -> Any:
    """The configuration with the changes that are not None: options that were not given."""
    return dataclasses.replace(config, **{k: v for k, v in changes.items() if v is not None})
