"""Folders at URLs, of which every node keeps a checked copy, and stores whose tables are made in parallel.

The core takes local paths only; what is remote reaches it as a place with `local()`.
"""

from distributed.storage.folder_cache import FolderCache
from distributed.storage.materialize import materialize_in_parallel
from distributed.storage.remote_folder import RemoteFolder, find_folder, materialize_at_url

__all__ = ["FolderCache", "RemoteFolder", "find_folder", "materialize_at_url", "materialize_in_parallel"]
