"""Checksums of files, and the content hash of a store's manifest, which holds the checksums of all its files."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns {path below the folder: {"bytes", "sha256"}} for all arrays of a store."""
    paths = sorted(folder.rglob("*.npy"))
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing leaves Python's lock
        digests = list(threads.map(sha256_of, paths))
    entries = zip(paths, digests, strict=True)
    return {p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": d} for p, d in entries}


def content_hash(manifest: Mapping[str, Any]) -> str:
    """Returns the hex digest of a manifest without its own content hash; through the checksums in it, of all files as well."""
    rest = {name: value for name, value in manifest.items() if name != "content_hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_SETTLED_S = 2.0
"""A file that was changed so lately can change again without another time on it."""
_known: dict[tuple[str, int, int, int, int, int], str] = {}


def sha256_of_all(paths: Sequence[Path]) -> list[str]:
    """Returns the SHA-256 hex digests of files, by threads, and at once of those that this process has read since they were last changed.

    A file has changed if its place on the disk, its size, or the time of its last write or change of attributes (which nobody can set) has.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(_known_sha256, paths))


def _known_sha256(path: Path) -> str:
    stat = path.stat()
    key = (str(path.resolve()), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key in _known:
        return _known[key]
    begun_s = time.time()
    digest = sha256_of(path)
    if begun_s - max(stat.st_mtime, stat.st_ctime) > _SETTLED_S:
        _known[key] = digest
    return digest
