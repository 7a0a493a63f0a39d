"""What a store's manifest says of its files, and the one hash that says it of the manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """{path below the folder: {"bytes", "sha256"}} of a store's arrays."""
    paths = sorted(folder.rglob("*.npy"))
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing leaves Python's lock
        digests = list(threads.map(sha256_of, paths))
    entries = zip(paths, digests, strict=True)
    return {p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": d} for p, d in entries}


def content_hash(manifest: Mapping[str, Any]) -> str:
    """Hex digest of all that a manifest says but this hash itself; by its checksums of all files, too."""
    rest = {name: value for name, value in manifest.items() if name != "content_hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
