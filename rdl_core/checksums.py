"""Checksums of files, and the content hash of a store's manifest, which holds the checksums of all its files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
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
