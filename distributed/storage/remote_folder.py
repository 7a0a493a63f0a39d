"""RemoteFolder: a store or dataset in an object store, of which every node that opens it keeps one copy.

In: a URL. Out: a description that travels to every node, and there a local folder (folder_cache.py, remote_files.py).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from relbench.load import RelBenchDataset

from distributed.storage.folder_cache import FolderCache
from distributed.storage.remote_files import RemoteListing, below, list_folder, list_store, upload_store
from rdl_core.config import StoreConfig
from rdl_core.graph.materialization import materialize, store_name
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store, open_store


@dataclass(frozen=True)
class RemoteFolder:
    """A folder somewhere else, of known content.

    Args:
        url: Where it is; without credentials.
        kind: A "store" is checked by checksums; a "dataset" (a RelBench folder) by sizes.
        content_hash: Hash of its content when it was found (`RemoteListing`).
        cache: Where a node keeps its copy.
    """

    url: str
    kind: Literal["store", "dataset"]
    content_hash: str
    cache: FolderCache

    def __str__(self) -> str:
        return self.url

    def local(self) -> Path:
        """Returns this node's copy, fetched if it is not here yet.

        Raises:
            OSError: It is gone, has changed since it was found, is corrupted, or does not fit on the disk.
        """
        name = PurePosixPath(urlsplit(self.url).path).name
        return self.cache.folder(f"{name}.{self.content_hash[:16]}", lambda folder: self._listing().download(folder))

    def _listing(self) -> RemoteListing:
        listing = _list(self.url, self.kind)
        if listing is None or listing.content_hash != self.content_hash:
            got = "nothing" if listing is None else f"content {listing.content_hash[:16]}"
            raise OSError(
                f"{self.url} has changed: expected content {self.content_hash[:16]}, got {got}.\nRemedy: run the command again"
            )
        return listing


def find_folder(url: str, kind: Literal["store", "dataset"], cache: FolderCache) -> RemoteFolder | None:
    """Returns the folder at a URL as it is now, None if there is none; without its store.json, a store is none."""
    listing = _list(url, kind)
    return None if listing is None else RemoteFolder(url, kind, listing.content_hash, cache)


def materialize_at_url(
    dataset: RelBenchDataset,
    stores_url: str,
    config: StoreConfig,
    cache: FolderCache,
    *,
    model: Schema | None = None,
    **options: Any,
) -> Store:
    """Returns what `rdl_core.graph.materialization.materialize` does, with the store in an object store and a copy of it here.

    Args:
        dataset, config, model, options: Arguments of `materialize`.
        stores_url: The store becomes a folder below it, of the same name as in a local folder.
        cache: Where nodes keep their copies; the store is made on the same disk.

    Raises:
        OSError: It cannot be written, is corrupted there, or does not fit on the cache's disk.
    """
    url = below(stores_url, store_name(dataset, config, model))
    if (found := find_folder(url, "store", cache)) is None:
        cache.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="made-", dir=cache.root) as folder:
            upload_store(materialize(dataset, Path(folder), config, model=model, **options).path, url)
        found = find_folder(url, "store", cache)
    if found is None:
        raise OSError(f"the store was uploaded to {url} and is not there; does something else delete it?")
    return open_store(found)


def _list(url: str, kind: str) -> RemoteListing | None:
    return list_store(url) if kind == "store" else list_folder(url)
