"""RemoteFolder: a store or dataset in an object store, of which every node that opens it keeps one copy.

In: a URL. Out: a description that travels to every node, and there a local folder (folder_cache.py, remote_files.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from distributed.storage.folder_cache import FolderCache
from distributed.storage.remote_files import RemoteListing, list_folder, list_store

Kind = Literal["store", "dataset"]


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
    kind: Kind
    content_hash: str
    cache: FolderCache

    def __str__(self) -> str:
        return self.url

    def local(self) -> Path:
        """Returns this node's copy, fetched if it is not here yet.

        Raises:
            OSError: It is gone, has changed since it was found, is corrupted, or does not fit.
        """
        return self.cache.folder(self._key, lambda folder: self._listing().download(folder))

    def keep(self, made: Path) -> None:
        """Moves the files of a folder with this very content into the cache."""

        def move(folder: Path) -> None:
            for path in made.iterdir():
                path.rename(folder / path.name)

        self.cache.folder(self._key, move)

    @property
    def _key(self) -> str:
        return f"{PurePosixPath(urlsplit(self.url).path).name}.{self.content_hash[:16]}"

    def _listing(self) -> RemoteListing:
        listing = _list(self.url, self.kind)
        if listing is None or listing.content_hash != self.content_hash:
            got = "nothing" if listing is None else f"content {listing.content_hash[:16]}"
            raise OSError(
                f"{self.url} has changed: expected content {self.content_hash[:16]}, got {got}.\nRemedy: run the command again"
            )
        return listing


def find_folder(url: str, kind: Kind, cache: FolderCache) -> RemoteFolder | None:
    """Returns the folder at a URL as it is now, None if there is none; without its store.json, a store is none."""
    listing = _list(url, kind)
    return None if listing is None else RemoteFolder(url, kind, listing.content_hash, cache)


def _list(url: str, kind: Kind) -> RemoteListing | None:
    return list_store(url) if kind == "store" else list_folder(url)
