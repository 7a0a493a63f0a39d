"""Files and folders that are there whole or not at all: written beside their place, synced to the disk, then renamed.

An error removes what was written so far. A killed process leaves it beside the place, as `<name>.partial` (of a file `<stem>.partial<suffix>`);
nothing ever reads that, and the next that writes the same name removes it. Two processes must not write the same name at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yields the path to write the new content to; after the body, that file takes the place of `path`.

    The folder is made if there is none. If the body raises, what was at `path` stays.

    Raises:
        OSError: The disk is full, or the body has written nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; after the body, it takes the place of `path`, and what was there before is removed.

    If the body raises, what was at `path` stays. A crash between the two renames leaves the old folder as `<name>.old`: `whole_folder` finds it.
    """
    partial, old = path.with_name(f"{path.name}.partial"), _old(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            _sync(file)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        partial.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def whole_folder(path: Path) -> Path:
    """Returns `path`, or the folder that it was about to replace if a crash came between the two renames of `replace_folder`."""
    return _old(path) if _old(path).exists() and not path.exists() else path


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
