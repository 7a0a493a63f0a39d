"""Stores at a URL: made on this node and uploaded, or found there and copied to the nodes that open them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relbench.load import RelBenchDataset

from distributed.storage.folder_cache import FolderCache
from distributed.storage.remote_files import below, upload_store
from distributed.storage.remote_folder import RemoteFolder, find_folder
from rdl_core.config import StoreConfig
from rdl_core.graph.materialization import materialize, store_name
from rdl_core.graph.store import Store, open_store


def materialize_at_url(
    dataset: RelBenchDataset, stores_url: str, config: StoreConfig, cache: FolderCache, **options: Any
) -> Store:
    """Returns what `rdl_core.graph.materialization.materialize` does, with the store in an object store and a copy of it here.

    Args:
        dataset, config, options: Arguments of `materialize`.
        stores_url: The store becomes a folder below it, of the same name as in a local folder.
        cache: Where nodes keep their copies; the store is made there, too.

    Raises:
        OSError: It cannot be written, is corrupted there, or does not fit on the cache's disk.
    """
    name = store_name(dataset, config)
    url = below(stores_url, name)
    remote = find_folder(url, "store", cache)
    if remote is None:
        with cache.scratch(name) as folder:
            remote = find_folder(url, "store", cache)  # made meanwhile by another process
            if remote is None:
                remote = _upload(materialize(dataset, folder, config, **options).path, url, cache)
    return open_store(remote)


def _upload(made: Path, url: str, cache: FolderCache) -> RemoteFolder:
    upload_store(made, url)
    remote = find_folder(url, "store", cache)
    if remote is None:
        raise OSError(f"the store was uploaded to {url} and is not there; does something else delete it?")
    remote.keep(made)
    return remote
