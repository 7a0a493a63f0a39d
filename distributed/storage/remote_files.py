"""Files at a URL: listed, fetched side by side and checked, uploaded. Any file system of Arrow or fsspec.

In: the URL of a folder (s3://bucket/stores/shop-0123, gs://..., file:///nfs/..., memory://...). Out: a `Listing`, which downloads.

Promises: a store is one only if its store.json is there, which is uploaded last; every file of a store is checked against the bytes and SHA-256 of
store.json, and that against its content hash; what does not agree is fetched again, a few times, and then named. Any other folder has no
checksums: its files are checked against the sizes of the listing.
Credentials come from the node (environment, profile, instance role); a URL that holds some is refused, so that none reach a log or a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fsspec
import pyarrow as pa
import pyarrow.fs

from rdl_core.checksums import content_hash, sha256_of

MANIFEST = "store.json"
ATTEMPTS = 3
"""Fetches of an object that does not agree with its manifest."""
THREADS = 16
CHUNK_BYTES = 8 * 2**20
OBJECT_STORES = ("s3", "gcs", "abfs")
"""Arrow's names of file systems that have no folders to make."""


class CorruptObjectError(OSError):
    """An object is not what its manifest says, however often it is fetched."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a remote folder.

    Args:
        path: Below the folder, with slashes.
        num_bytes: Size.
        sha256: Hex digest; None where nothing says it.

    Raises:
        ValueError: The path leads out of the folder.
    """

    path: str
    num_bytes: int
    sha256: str | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"a file of a remote folder must lie in it, got {self.path!r}")


@dataclass(frozen=True)
class Listing:
    """What a remote folder holds now.

    Args:
        url: Where.
        files: Of it, without store.json.
        content_hash: Of a store its own; else of URL, names, sizes and times.
        manifest: The bytes of store.json; None of another folder.
    """

    url: str
    files: tuple[RemoteFile, ...]
    content_hash: str
    manifest: bytes | None = None

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files) + len(self.manifest or b"")

    def download(self, folder: Path) -> None:
        """Fetches all files into a folder, side by side; those that a killed process left there, and whose checksums agree, are not fetched again.

        Raises:
            CorruptObjectError: Naming object, expected and got.
        """
        filesystem, root = open_filesystem(self.url)

        def fetch(file: RemoteFile) -> None:
            copy = folder / file.path
            if file.sha256 is not None and copy.is_file() and sha256_of(copy) == file.sha256:
                return
            copy.parent.mkdir(parents=True, exist_ok=True)
            _until_right(lambda: _fetch(filesystem, f"{root}/{file.path}", file, copy), below(self.url, file.path))

        with ThreadPoolExecutor(THREADS) as threads:
            fetches = [threads.submit(fetch, file) for file in self.files]
            try:
                for one in fetches:
                    one.result()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        if self.manifest is not None:
            (folder / MANIFEST).write_bytes(self.manifest)


def is_url(place: object) -> bool:
    """Whether a place is a URL rather than a path."""
    return isinstance(place, str) and "://" in place


def below(url: str, name: str) -> str:
    """The URL of a name in the folder of a URL, which may end with options (?endpoint_override=...)."""
    folder, mark, options = url.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{options}"


def check_url(url: str) -> None:
    """Refuses a URL with credentials, without repeating it.

    Raises:
        ValueError: They would reach logs, configurations and other nodes.
    """
    parts = urlsplit(url)
    secret = [name for name in parse_qs(parts.query) if any(word in name for word in ("key", "secret", "token"))]
    if secret or ("@" in parts.netloc and parts.scheme not in ("abfs", "abfss")):  # Azure: container@account
        raise ValueError(
            f"the {parts.scheme}:// URL holds credentials; they would be written to logs and run folders.\n"
            f"Remedy: a URL without them, and credentials by the nodes' environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, "
            f"GOOGLE_APPLICATION_CREDENTIALS) or instance role"
        )


def open_filesystem(url: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a URL and the path in it: Arrow's own if it has one, else fsspec's.

    Raises:
        ValueError: No such file system, or credentials in the URL.
    """
    check_url(url)
    try:
        filesystem, path = pa.fs.FileSystem.from_uri(url)
    except pa.ArrowInvalid:
        try:
            other, path = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ValueError(
                f"{url}: neither Arrow nor fsspec opens this kind of URL here: {error}\n"
                f"Remedy: s3://, gs://, abfs:// or file://, or install fsspec's package for it"
            ) from error
        filesystem = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(other))
    return filesystem, path.rstrip("/")


def list_folder(url: str) -> Listing | None:
    """The files of a folder, None if there are none."""
    filesystem, root = open_filesystem(url)
    infos = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True))
    files = sorted((i.path.removeprefix(root).lstrip("/"), i.size, i.mtime_ns or 0) for i in infos if i.is_file)
    if not files:
        return None
    digest = hashlib.sha256(json.dumps([url, files]).encode()).hexdigest()
    return Listing(url, tuple(RemoteFile(path, size) for path, size, _ in files), digest)


def list_store(url: str) -> Listing | None:
    """The files of a store, None if there is no store.json.

    Raises:
        CorruptObjectError: Its store.json is not what its own content hash says.
    """
    filesystem, root = open_filesystem(url)
    if not filesystem.get_file_info(f"{root}/{MANIFEST}").is_file:
        return None

    def read() -> Listing:
        with filesystem.open_input_stream(f"{root}/{MANIFEST}", compression=None) as stream:
            text = stream.read()
        try:
            manifest = json.loads(text)
            expected, got = manifest["content_hash"], content_hash(manifest)
            files = tuple(RemoteFile(path, f["bytes"], f["sha256"]) for path, f in manifest["files"].items())
        except (ValueError, KeyError, TypeError) as error:
            raise _Wrong(f"expected the manifest of a store, got {type(error).__name__}: {error}") from error
        if got != expected:
            raise _Wrong(f"expected content hash {expected}, got {got}")
        return Listing(url, files, expected, text)

    listing: Listing = _until_right(read, below(url, MANIFEST))
    return listing


def upload_store(folder: Path, url: str) -> None:
    """Writes a store's folder to a URL, its store.json last and at once, so that half an upload is no store."""
    filesystem, root = open_filesystem(url)
    paths = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.npy"))]
    if filesystem.type_name not in OBJECT_STORES:
        for parent in {str(PurePosixPath(f"{root}/{path}").parent) for path in paths}:
            filesystem.create_dir(parent, recursive=True)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda path: _put(filesystem, folder / path, f"{root}/{path}"), paths))
    _put(filesystem, folder / MANIFEST, f"{root}/{MANIFEST}.partial")
    filesystem.move(f"{root}/{MANIFEST}.partial", f"{root}/{MANIFEST}")


class _Wrong(Exception):
    """What was fetched is not what was expected."""


def _until_right(attempt: Callable[[], Any], name: str) -> Any:
    """What the first attempt gives that does not raise `_Wrong`."""
    wrongs: list[str] = []
    while len(wrongs) < ATTEMPTS:
        try:
            return attempt()
        except _Wrong as wrong:
            wrongs.append(str(wrong))
    raise CorruptObjectError(
        f"{name} is corrupted: {wrongs[-1]} (fetched {ATTEMPTS} times).\n"
        f"Remedy: delete that folder and make it again (a store: `python -m distributed materialize`)"
    )


def _fetch(filesystem: pa.fs.FileSystem, path: str, file: RemoteFile, copy: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with filesystem.open_input_stream(path, compression=None) as stream, copy.open("wb") as out:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if size != file.num_bytes:
        raise _Wrong(f"expected {file.num_bytes:,} bytes, got {size:,}")
    if file.sha256 not in (None, digest.hexdigest()):
        raise _Wrong(f"expected SHA-256 {file.sha256}, got {digest.hexdigest()}")


def _put(filesystem: pa.fs.FileSystem, source: Path, path: str) -> None:
    with source.open("rb") as file, filesystem.open_output_stream(path) as out:
        while chunk := file.read(CHUNK_BYTES):
            out.write(chunk)
