"""RemoteFolder: a store or dataset in an object store, of which every node that opens it keeps one copy.

In: a URL. Out: a description that travels to every node, and there a local folder (folder_cache.py, remote_files.py).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from distributed.storage.folder_cache import FolderCache
from distributed.storage.remote_files import Listing, list_folder, list_store

Kind = Literal["store", "dataset"]


@dataclass(frozen=True)
class RemoteFolder:
    """A folder somewhere else, of known content.

    Args:
        url: Where; without credentials.
        kind: A "store" is checked file by file; a "dataset" (a RelBench folder) by sizes.
        content_hash: As Listing's.
        cache: Where a node keeps its copy.
    """

    url: str
    kind: Kind
    content_hash: str
    cache: FolderCache

    def __str__(self) -> str:
        return self.url

    def local(self) -> Path:
        """This node's copy, fetched if it is not here yet; it stays while this process lives.

        Raises:
            OSError: It is gone, has changed since it was found, is corrupted, or does not fit.
        """
        found: list[Listing] = []

        def num_bytes() -> int:
            found.append(self._listing())
            return found[0].num_bytes

        return self.cache.folder(self._key, num_bytes, lambda copy: found[0].download(copy))

    def keep(self, folder: Path) -> None:
        """Moves a folder with this very content into the cache."""

        def move(copy: Path) -> None:
            shutil.rmtree(copy)  # what a killed process left
            copy.mkdir()
            for path in folder.iterdir():
                path.rename(copy / path.name)

        num_bytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        self.cache.folder(self._key, lambda: num_bytes, move)

    @property
    def _key(self) -> str:
        return f"{PurePosixPath(urlsplit(self.url).path).name}.{self.content_hash[:16]}"

    def _listing(self) -> Listing:
        listing = _list(self.url, self.kind)
        if listing is None or listing.content_hash != self.content_hash:
            got = "nothing" if listing is None else f"content {listing.content_hash[:16]}"
            raise OSError(
                f"{self.url} has changed: expected content {self.content_hash[:16]}, got {got}.\nRemedy: run the command again"
            )
        return listing


def find_folder(url: str, kind: Kind, cache: FolderCache) -> RemoteFolder | None:
    """The folder at a URL as it is now, None if there is none; a store is none without its store.json."""
    listing = _list(url, kind)
    return None if listing is None else RemoteFolder(url, kind, listing.content_hash, cache)


def _list(url: str, kind: Kind) -> Listing | None:
    return list_store(url) if kind == "store" else list_folder(url)
