"""The place of a dataset or a store: a path that this process sees, or a remote folder of which this node keeps a copy.

The core only asks a remote folder for its local copy; `distributed.storage` knows how to fetch one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class RemotePlace(Protocol):
    """A folder somewhere else."""

    def local(self) -> Path:
        """Returns this node's copy, fetched if it is not here yet.

        Raises:
            OSError: The folder is gone, has changed, is corrupted, or does not fit.
        """
        ...


Place = str | Path | RemotePlace


def local_folder(place: Place) -> Path:
    """Returns the folder on this node."""
    return place.local() if isinstance(place, RemotePlace) else Path(place)
