"""Folders at URLs, of which every node keeps a checked copy, and stores whose tables are made in parallel.

The core takes local paths only; what is remote reaches it as a place with `local()`. Only FolderCache is loaded at once: options need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distributed.storage.folder_cache import FolderCache

if TYPE_CHECKING:
    from distributed.storage.materialize import materialize_in_parallel
    from distributed.storage.remote_folder import RemoteFolder, find_folder, materialize_at_url

__all__ = ["FolderCache", "RemoteFolder", "find_folder", "materialize_at_url", "materialize_in_parallel"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "materialize" if name == "materialize_in_parallel" else "remote_folder"
    return getattr(import_module(f"{__name__}.{home}"), name)
