"""Stores and datasets in an object store: a real S3 API, one fetch a node, checksums, no credentials anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from relbench.load import RelBenchDataset

from distributed.__main__ import main
from distributed.storage.folder_cache import FolderCache
from distributed.storage.remote_files import (
    CorruptObjectError,
    check_url,
    list_store,
    open_filesystem,
    upload_store,
)
from distributed.storage.remote_folder import RemoteFolder, find_folder, materialize_at_url
from rdl_core.checksums import content_hash
from rdl_core.config import StoreConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.store import Store, open_store, write_manifest
from tests import REPOSITORY
from tests.s3_server import SECRETS, S3Server, corrupting_proxy, s3_server

ROOT = REPOSITORY
pytest.importorskip("moto", reason="moto's S3 server is in the dev extra")
OPEN = """
import sys
from distributed.storage.folder_cache import FolderCache
from distributed.storage.remote_folder import find_folder
print(find_folder(sys.argv[1], "store", FolderCache()).local())
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three arrays with a manifest, as a store has."""
    path = tmp_path / "small"
    (path / "graph").mkdir(parents=True)
    for name, size in (("parent", 5000), ("time", 700), ("empty", 0)):
        np.save(path / "graph" / f"{name}.npy", np.arange(size))
    write_manifest(path, {"schema": {}})
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def remote_copy(url: str, cache: Path) -> RemoteFolder:
    found = find_folder(url, "store", FolderCache(directory=str(cache)))
    assert found is not None
    return found


def test_two_hosts_fetch_every_object_once_each_whatever_their_processes(
    s3: S3Server, environment: None, folder: Path, tmp_path: Path
) -> None:
    url = "s3://bucket/hosts"
    upload_store(folder, url)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "RDL_CACHE": str(tmp_path / host)},
        )
        for host in ("host1", "host2", "host1", "host2")
    ]
    found = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert len(set(found)) == 2, found
    gets = {name: n for name, n in s3.gets().items() if name.startswith("bucket/hosts/graph/")}
    assert gets == {f"bucket/hosts/graph/{name}.npy": 2 for name in ("parent", "time", "empty")}
    for copy in found:
        assert files(Path(copy)) == files(folder)


def test_a_store_made_at_a_url_is_the_same_and_is_found_there_and_here_again(
    s3: S3Server, environment: None, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    cache = FolderCache(directory=str(tmp_path / "cache"))
    made = materialize_at_url(nasty_dataset, "s3://bucket/made/", StoreConfig(), cache)
    assert made.content_hash == nasty_store.content_hash
    assert files(made.path) == files(nasty_store.path)
    (kept,) = (p.name for p in (tmp_path / "cache").iterdir() if p.is_dir())
    assert kept == made.path.name, "something is left of making it"
    tables: list[str] = []
    elsewhere = FolderCache(directory=str(tmp_path / "other"))
    found = materialize_at_url(nasty_dataset, "s3://bucket/made", StoreConfig(), elsewhere, progress=tables.append)
    assert tables == []
    assert np.array_equal(found.graph.time, nasty_store.graph.time)
    assert open_store(found.place).path == found.path


@pytest.mark.parametrize("name", ["parent.npy", "store.json"])
def test_a_corrupted_answer_is_named_and_never_used_and_the_next_command_fetches_anew(
    s3: S3Server, environment: None, folder: Path, tmp_path: Path, name: str
) -> None:
    upload_store(folder, "s3://bucket/flipped")
    remote = remote_copy("s3://bucket/flipped", tmp_path / "cache")
    with corrupting_proxy(s3, {name: 1}) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3.environment(port)["AWS_ENDPOINT_URL"])
        with pytest.raises(CorruptObjectError, match=f"{name} is corrupted.*\n.*run the command again"):
            remote.local()
        assert [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()] == []
        assert files(remote.local()) == files(folder)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"half", r"expected {'bytes': 40128, 'sha256': '[0-9a-f]{64}'}, got {'bytes': 4, 'sha256': '[0-9a-f]{64}'}"),
        (b"x" * 40_128, r"expected {'bytes': 40128, .*}, got {'bytes': 40128, 'sha256': '[0-9a-f]{64}'}"),
        (None, r"expected {'bytes': 40128, .*}, got no such file"),
    ],
)
def test_a_corrupted_object_ends_with_its_name_expected_and_got_and_leaves_no_copy(
    s3: S3Server, environment: None, folder: Path, tmp_path: Path, body: bytes | None, wrong: str
) -> None:
    upload_store(folder, "s3://bucket/corrupt")
    if body is None:
        s3.objects.delete_file("bucket/corrupt/graph/parent.npy")
    else:
        s3.put("bucket/corrupt/graph/parent.npy", body)
    with pytest.raises(
        CorruptObjectError, match=rf"s3://bucket/corrupt/graph/parent.npy is corrupted: {wrong}.\n.*Remedy"
    ):
        remote_copy("s3://bucket/corrupt", tmp_path / "cache").local()
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()] == []


def test_a_manifest_that_is_not_its_own_hash_is_refused(
    s3: S3Server, environment: None, folder: Path, tmp_path: Path
) -> None:
    upload_store(folder, "s3://bucket/manifest")
    manifest = json.loads((folder / "store.json").read_text())
    assert manifest["content_hash"] == content_hash(manifest)
    manifest["files"]["graph/time.npy"]["bytes"] += 1
    s3.put("bucket/manifest/store.json", json.dumps(manifest).encode())
    with pytest.raises(CorruptObjectError, match="store.json is corrupted: expected content hash .*, got"):
        find_folder("s3://bucket/manifest", "store", FolderCache(directory=str(tmp_path)))


def test_what_a_killed_fetch_left_is_not_used(s3: S3Server, environment: None, folder: Path, tmp_path: Path) -> None:
    upload_store(folder, "s3://bucket/killed")
    remote = remote_copy("s3://bucket/killed", tmp_path / "cache")
    left = tmp_path / "cache" / f"killed.{remote.content_hash[:16]}.partial" / "graph"
    left.mkdir(parents=True)
    (left / "time.npy").write_bytes((folder / "graph" / "time.npy").read_bytes()[:-100])
    (left / "other.npy").touch()
    assert files(remote.local()) == files(folder)


def test_an_array_that_the_manifest_does_not_name_is_refused(
    s3: S3Server, environment: None, folder: Path, tmp_path: Path
) -> None:
    upload_store(folder, "s3://bucket/more")
    s3.put("bucket/more/graph/other.npy", b"x")
    with pytest.raises(
        CorruptObjectError, match=r"graph/other.npy is corrupted: expected no such file, got {'bytes': 1,"
    ):
        remote_copy("s3://bucket/more", tmp_path / "cache").local()


def test_half_an_upload_is_no_store_and_the_next_makes_it_whole(
    s3: S3Server, environment: None, folder: Path, tmp_path: Path
) -> None:
    upload_store(folder, "s3://bucket/half")
    for name in ("store.json", "graph/time.npy"):  # as a kill would leave it: store.json comes last
        s3.objects.delete_file(f"bucket/half/{name}")
    assert find_folder("s3://bucket/half", "store", FolderCache(directory=str(tmp_path))) is None
    upload_store(folder, "s3://bucket/half")
    assert files(remote_copy("s3://bucket/half", tmp_path / "cache").local()) == files(folder)


def test_a_store_that_changed_after_it_was_found_is_refused(
    s3: S3Server, environment: None, folder: Path, tmp_path: Path
) -> None:
    upload_store(folder, "s3://bucket/changed")
    found = remote_copy("s3://bucket/changed", tmp_path / "cache")
    np.save(folder / "graph" / "time.npy", np.arange(9))
    write_manifest(folder, {"schema": {}})
    upload_store(folder, "s3://bucket/changed")
    with pytest.raises(OSError, match=f"has changed: expected content {found.content_hash[:16]}, got content"):
        found.local()


def test_a_dataset_at_a_url_is_copied_and_a_changed_one_copied_anew(
    s3: S3Server, environment: None, nasty_dataset: RelBenchDataset, tmp_path: Path
) -> None:
    cache = FolderCache(directory=str(tmp_path / "cache"))
    for path, content in files(nasty_dataset.dataset_dir).items():
        s3.put(f"bucket/data/nasty/{path}", content)
    first = find_folder("s3://bucket/data/nasty", "dataset", cache)
    assert first is not None
    assert open_dataset(first).manifest == nasty_dataset.manifest
    assert files(first.local()) == files(nasty_dataset.dataset_dir)
    s3.put("bucket/data/nasty/notes.txt", b"more")
    second = find_folder("s3://bucket/data/nasty", "dataset", cache)
    assert second is not None and second.content_hash != first.content_hash
    assert (second.local() / "notes.txt").read_bytes() == b"more"
    assert find_folder("s3://bucket/data/nothing", "dataset", cache) is None


def test_the_command_reads_and_writes_urls_and_no_secret_is_in_what_it_says_or_leaves(
    s3: S3Server, environment: None, nasty_dataset: RelBenchDataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path, content in files(nasty_dataset.dataset_dir).items():
        s3.put(f"bucket/command/nasty/{path}", content)
    options = ["--runs-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache"), "--json"]
    command = ["materialize", "--data", "s3://bucket/command/nasty", "--stores-dir", "s3://bucket/command/stores"]
    assert main([*command, *options]) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert result["store"].startswith("s3://bucket/command/stores/nasty-")
    said = json.dumps(result)
    try:
        s3.request("POST", "moto-api/reset-auth", b"0")  # from now on the server checks who asks
        assert main([*command, *options]) == 2
    finally:
        s3.request("POST", "moto-api/reset-auth", b"1000000000")
    shown = capfd.readouterr()
    assert "INVALID_ACCESS_KEY_ID" in shown.err
    assert main([*command[:2], "nowhere://bucket/x", *options]) == 2
    assert main(["materialize", "--data", f"s3://{SECRETS['AWS_ACCESS_KEY_ID']}:x@bucket/nasty", *options]) == 2
    said += shown.out + shown.err + "".join(capfd.readouterr())
    assert "nowhere://bucket/x: Arrow does not open this kind of URL" in said
    assert "the s3:// URL holds credentials" in said
    left = b"".join(content for folder in ("runs", "cache") for content in files(tmp_path / folder).values())
    for secret in SECRETS.values():
        assert secret not in said
        assert secret.encode() not in left


@pytest.mark.parametrize(
    "url",
    ["s3://key:word@bucket/x", "s3://bucket/x?secret_key=word", "s3://b/x?region=r&access_key=word", "gs://word@b/x"],
)
def test_a_url_with_credentials_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="URL holds credentials.*\n.*AWS_ACCESS_KEY_ID") as refused:
        open_filesystem(url)
    assert "word" not in str(refused.value)
    check_url("s3://bucket/x?endpoint_override=localhost:9000&scheme=http")


def test_options_of_a_url_stay_at_its_end(s3: S3Server, environment: None, folder: Path, tmp_path: Path) -> None:
    options = f"?endpoint_override=127.0.0.1%3A{s3.port}&scheme=http&region=us-east-1"
    upload_store(folder, f"s3://bucket/options{options}")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_ENDPOINT_URL")
        copy = remote_copy(f"s3://bucket/options{options}", tmp_path / "cache").local()
    assert files(copy) == files(folder)
    assert copy.name.startswith("options.")


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_any_other_file_system_does_as_well(kind: str, folder: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/nfs/deep/store" if kind == "file" else "fsspec+memory://deep/store"
    assert list_store(url) is None
    upload_store(folder, url)
    copy = remote_copy(url, tmp_path / "cache").local()
    shutil.rmtree(tmp_path / "nfs", ignore_errors=True)
    assert files(copy) == files(folder)
    assert (
        RemoteFolder(url, "store", remote_hash(folder), FolderCache(directory=str(tmp_path / "cache"))).local() == copy
    )
    fsspec.filesystem("memory").rm("/", recursive=True)


def remote_hash(folder: Path) -> str:
    found: str = json.loads((folder / "store.json").read_text())["content_hash"]
    return found
