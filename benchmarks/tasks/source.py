"""The source that ran: its commit, and a digest of what results depend on."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@functools.cache
def source_digest() -> str:
    """Returns a digest of the source of rdl_core, read once."""
    digest, folder = hashlib.sha256(), REPOSITORY / "rdl_core"
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def commit_of_source() -> str:
    """Returns the commit of this source, with "-dirty" if tracked files have changes."""
    return _git("rev-parse", "--short=12", "HEAD") + ("-dirty" if _git("status", "--porcelain", "-uno") else "")


def is_committed(path: Path) -> bool:
    """Returns whether a file of the repository is as its last commit has it."""
    return not _git("status", "--porcelain", "--", str(path))


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return run.stdout.strip()
