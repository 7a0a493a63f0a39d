"""FolderCache: copies of remote folders on this node's disk, each fetched once for all processes of the node.

    <directory>/<key>/           a copy, whole: it is fetched beside and renamed
    <directory>/<key>.partial/   one being fetched, or left by a killed process: the next that wants it begins anew
    <directory>/<key>.lock       locked by the process that fetches; the kernel drops a dead process's locks

Promises: of any number of processes one fetches, the others wait for it; what is there is whole, whenever a process or the machine died. Copies are
never removed: delete the directory while no run uses it. It must be on this node's own disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from rdl_core.atomic_write import replace_folder

DEFAULT_DIRECTORY = "~/.cache/relational-pretraining/folders"


@dataclass(frozen=True, kw_only=True)
class FolderCache:
    """The cache of each node; made on the driver, used on every node.

    Args:
        directory: None: RDL_CACHE of the node's environment, else DEFAULT_DIRECTORY.
    """

    directory: str | None = None

    @property
    def root(self) -> Path:
        """The directory on this node."""
        return Path(self.directory or os.environ.get("RDL_CACHE") or DEFAULT_DIRECTORY).expanduser().absolute()

    def folder(self, key: str, fetch: Callable[[Path], None]) -> Path:
        """Returns the copy of this key, fetched if it is not here yet.

        Args:
            key: Names the content: whoever asks for a key wants the same bytes.
            fetch: Fills an empty folder; its errors are the caller's, and leave nothing.
        """
        path = self.root / key
        if not path.is_dir():
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f"{key}.lock"):
                if not path.is_dir():
                    with replace_folder(path) as partial:
                        fetch(partial)
        return path
