"""Files at a URL: found, copied here and checked, uploaded, on any file system of Arrow or, as fsspec+<kind>://..., of fsspec.

In: the URL of a folder (s3://bucket/stores/shop-0123, gs://..., file:///nfs/..., fsspec+sftp://...). Out: a `RemoteListing`, which downloads.

Promises: a store is one only if its store.json is there, which is uploaded last; every file of a store is checked against the bytes and SHA-256 of
store.json, and that against its content hash; what does not agree is named and never used. Any other folder has no checksums: its files are checked
against the sizes of the listing.
Credentials come from the node (environment, profile, instance role); a URL that holds some is refused, so that none reach a log or a file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.fs

from rdl_core.checksums import content_hash, file_entries

MANIFEST = "store.json"
CHUNK_BYTES = 8 * 2**20


class CorruptObjectError(OSError):
    """An object is not what its manifest, or the listing, says."""


@dataclass(frozen=True)
class RemoteListing:
    """Content of a remote folder as it is now.

    Args:
        url: Where it is.
        files: {path below the folder: {"bytes", and of a store "sha256"}}, without store.json.
        content_hash: A store's own; else the hash of URL, names, sizes and times.
        is_store: Whether it is a store.
    """

    url: str
    files: dict[str, dict[str, Any]]
    content_hash: str
    is_store: bool

    def download(self, folder: Path) -> None:
        """Copies all files into an empty folder and checks them.

        Raises:
            OSError: The disk is full, or the folder is gone.
            CorruptObjectError: Naming object, expected and got.
        """
        filesystem, root = open_filesystem(self.url)
        pa.fs.copy_files(root, str(folder), filesystem, pa.fs.LocalFileSystem(), chunk_size=CHUNK_BYTES)
        if self.is_store:
            manifest = _read_manifest(self.url, (folder / MANIFEST).read_bytes())
            _check(self.url, MANIFEST, f"content hash {self.content_hash}", f"content hash {manifest[1]}")
            got = file_entries(folder)
        else:
            paths = (path for path in folder.rglob("*") if path.is_file())
            got = {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size} for path in paths}
        for path in {**self.files, **got}:
            _check(self.url, path, self.files.get(path, "no such file"), got.get(path, "no such file"))


def below(url: str, name: str) -> str:
    """Returns the URL of a name in the folder of a URL, which may end with options (?endpoint_override=...)."""
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
    """Returns the file system of a URL and the path in it.

    Raises:
        ValueError: No such file system, or credentials in the URL.
    """
    check_url(url)
    try:
        filesystem, path = pa.fs.FileSystem.from_uri(url)
    except (pa.ArrowInvalid, ValueError, ImportError) as error:
        raise ValueError(
            f"{url}: Arrow does not open this kind of URL here: {error}\n"
            f"Remedy: s3://, gs://, abfs:// or file://; or fsspec+<kind>:// with fsspec's package for it installed"
        ) from error
    return filesystem, path.rstrip("/")


def list_folder(url: str) -> RemoteListing | None:
    """Returns the files of a folder, None if there are none."""
    filesystem, root = open_filesystem(url)
    infos = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True))
    files = sorted((i.path.removeprefix(root).lstrip("/"), i.size, i.mtime_ns or 0) for i in infos if i.is_file)
    if not files:
        return None
    digest = hashlib.sha256(json.dumps([url, files]).encode()).hexdigest()
    return RemoteListing(url, {path: {"bytes": size} for path, size, _ in files}, digest, is_store=False)


def list_store(url: str) -> RemoteListing | None:
    """Returns the files of a store, None if there is no store.json.

    Raises:
        CorruptObjectError: Its store.json is not what its own content hash says.
    """
    filesystem, root = open_filesystem(url)
    if not filesystem.get_file_info(f"{root}/{MANIFEST}").is_file:
        return None
    with filesystem.open_input_stream(f"{root}/{MANIFEST}", compression=None) as stream:
        files, digest = _read_manifest(url, stream.read())
    return RemoteListing(url, files, digest, is_store=True)


def upload_store(folder: Path, url: str) -> None:
    """Writes a store's folder to a URL, its store.json last and at once, so that half an upload is no store."""
    filesystem, root = open_filesystem(url)
    here = pa.fs.LocalFileSystem()
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        filesystem.create_dir(f"{root}/{path.name}", recursive=True)
        pa.fs.copy_files(str(path), f"{root}/{path.name}", here, filesystem, chunk_size=CHUNK_BYTES)
    pa.fs.copy_files(str(folder / MANIFEST), f"{root}/{MANIFEST}.partial", here, filesystem)
    filesystem.move(f"{root}/{MANIFEST}.partial", f"{root}/{MANIFEST}")


def _read_manifest(url: str, text: bytes) -> tuple[dict[str, dict[str, Any]], str]:
    """Returns (files, content hash) of a store.json whose hash is right."""
    try:
        manifest = json.loads(text)
        files, expected, got = dict(manifest["files"]), manifest["content_hash"], content_hash(manifest)
    except (ValueError, KeyError, TypeError) as error:
        files, expected, got = {}, "of a store's manifest", f"{type(error).__name__}: {error}"
    _check(url, MANIFEST, f"content hash {expected}", f"content hash {got}")
    return files, got


def _check(url: str, path: str, expected: object, got: object) -> None:
    if got != expected:
        raise CorruptObjectError(
            f"{below(url, path)} is corrupted: expected {expected}, got {got}.\n"
            f"Remedy: run the command again; if that gives the same, delete the remote folder and make it again"
        )
