"""FolderCache: copies of remote folders on this node's disk, fetched once for all its processes and bounded in bytes.

    <directory>/<key>/           a copy, whole: it is fetched beside and renamed
    <directory>/<key>.partial/   one being fetched, or left by a killed process: the next that wants it goes on, another that makes room removes it
    <directory>/<key>.lock       its bytes; locked alone by who fetches or removes it, shared by who uses it; its time is that of the last use
    <directory>/cache.lock       locked while room is made

Promises: of any number of processes one fetches, the others wait for it; what is there is whole, whenever a process or the machine died; the
bytes of copies and fetches stay below `max_bytes`, the one unused for longest goes first, and none that a live process uses (the kernel drops a
dead process's locks). The directory must be on this node's own disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DIRECTORY = "~/.cache/relational-pretraining/folders"
DEFAULT_MAX_BYTES = 100_000_000_000

_held: dict[Path, int] = {}
"""Lock files' descriptors of the copies that this process uses, until it ends."""
_held_guard = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class FolderCache:
    """Of one node; made on the driver, used on every node.

    Args:
        directory: None: RDL_CACHE of the node's environment, else DEFAULT_DIRECTORY.
        max_bytes: Of all copies together.
    """

    directory: str | None = None
    max_bytes: int = DEFAULT_MAX_BYTES

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"--cache-bytes must be at least 1, got {self.max_bytes}")

    @property
    def root(self) -> Path:
        """The directory on this node."""
        return Path(self.directory or os.environ.get("RDL_CACHE") or DEFAULT_DIRECTORY).expanduser().absolute()

    def folder(self, key: str, num_bytes: Callable[[], int], fetch: Callable[[Path], None]) -> Path:
        """The copy of this key, which stays while this process lives.

        Args:
            key: Names the content: whoever asks for a key wants the same bytes.
            num_bytes: Asked only if it must be fetched: how many.
            fetch: Fills a folder; what a killed process had fetched of the same key may be in it.

        Raises:
            OSError: It does not fit; or what `fetch` raised.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        path, lock = self.root / key, self.root / f"{key}.lock"
        with _held_guard:
            if lock in _held:
                return path
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            while not path.is_dir():  # again after each change of lock, which lets others in between
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not path.is_dir():
                    self._fetch(key, num_bytes(), descriptor, fetch)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            os.utime(lock)
        except BaseException:
            os.close(descriptor)
            raise
        with _held_guard:
            if lock in _held:  # another thread of this process was faster
                os.close(descriptor)
            else:
                _held[lock] = descriptor
        return path

    @contextmanager
    def scratch(self, key: str) -> Iterator[Path]:
        """An empty folder beside the copies, locked, and removed at the end; a killed process's goes when room is made."""
        self.root.mkdir(parents=True, exist_ok=True)
        partial = self.root / f"{key}.partial"
        with _locked(self.root / f"{key}.lock"):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                yield partial
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def num_bytes(self) -> int:
        """Of all copies and fetches under way."""
        return sum(_recorded(lock) for lock in self.root.glob("*.lock"))

    def _fetch(self, key: str, num_bytes: int, descriptor: int, fetch: Callable[[Path], None]) -> None:
        """With the key's lock held alone."""
        self._make_room(key, num_bytes, descriptor)
        partial = self.root / f"{key}.partial"
        partial.mkdir(exist_ok=True)
        try:
            fetch(partial)
            partial.rename(self.root / key)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            _record(descriptor, 0)
            raise
        _sync(self.root)

    def _make_room(self, key: str, num_bytes: int, descriptor: int) -> None:
        """Removes the copies unused for longest until `num_bytes` fit, and takes note of them."""
        with ExitStack() as locks:
            locks.enter_context(_locked(self.root / "cache.lock"))
            in_use, unused = 0, []
            for lock in self.root.glob("*.lock"):
                if lock.stem in (key, "cache"):
                    continue
                alone = locks.enter_context(_locked(lock, wait=False))
                if alone is None:
                    in_use += _recorded(lock)
                    continue
                shutil.rmtree(self.root / f"{lock.stem}.partial", ignore_errors=True)
                if (self.root / lock.stem).is_dir():
                    unused.append((lock.stat().st_mtime, lock.stem, _recorded(lock), alone))
                else:
                    _record(alone, 0)
            if in_use + num_bytes > self.max_bytes:
                raise OSError(
                    f"{key} of {num_bytes:,} bytes does not fit into the cache {self.root} of {self.max_bytes:,} bytes, "
                    f"of which running processes use {in_use:,}.\nRemedy: a larger --cache-bytes"
                )
            kept = sum(size for _, _, size, _ in unused)
            for _, old, size, alone in sorted(unused):
                if in_use + kept + num_bytes <= self.max_bytes:
                    break
                kept -= size
                (self.root / old).rename(self.root / f"{old}.partial")  # so that half a copy is never found
                shutil.rmtree(self.root / f"{old}.partial")
                _record(alone, 0)
            if (free := shutil.disk_usage(self.root).free) < num_bytes:
                raise OSError(
                    f"{key} has {num_bytes:,} bytes, the disk of {self.root} has {free:,} free.\n"
                    f"Remedy: --cache-dir on a larger disk, or a smaller --cache-bytes, so that older copies go"
                )
            _record(descriptor, num_bytes)


@contextmanager
def _locked(lock: Path, *, wait: bool = True) -> Iterator[int | None]:
    """The descriptor of a lock file, locked alone; None if it is taken and we do not wait."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _record(descriptor: int, num_bytes: int) -> None:
    os.pwrite(descriptor, f"{num_bytes:20d}".encode(), 0)


def _recorded(lock: Path) -> int:
    return int(lock.read_text() or 0)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
