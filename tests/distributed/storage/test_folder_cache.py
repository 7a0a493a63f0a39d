"""The cache of a node: one process fetches, what is there is whole, what is used stays, the rest is bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distributed.storage.folder_cache import FolderCache
from tests import REPOSITORY

STORAGE = REPOSITORY / "distributed" / "storage"
PROGRAM = """
import json, sys, time
from pathlib import Path
from folder_cache import FolderCache  # by itself: it needs nothing but Python

root, key, num_bytes, max_bytes, seconds, hold_s = json.loads(sys.argv[1])

def fetch(folder):
    print("fetching", flush=True)
    (folder / "a").write_bytes(b"x" * (num_bytes // 2))
    time.sleep(seconds)
    (folder / "b").write_bytes(b"y" * (num_bytes - num_bytes // 2))

folder = FolderCache(directory=root, max_bytes=max_bytes).folder(key, lambda: num_bytes, fetch)
print("has", len((folder / "a").read_bytes() + (folder / "b").read_bytes()), flush=True)
time.sleep(hold_s)
"""


def start(
    root: Path, key: str, *, num_bytes: int = 1000, max_bytes: int = 2500, fetch_s: float = 0.0, hold_s: float = 0.0
) -> subprocess.Popen[str]:
    """A process that has a folder of the cache."""
    arguments = json.dumps([str(root), key, num_bytes, max_bytes, fetch_s, hold_s])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, arguments],
        cwd=STORAGE,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=60)
    return out + error


def copies(root: Path) -> set[str]:
    return {p.name for p in root.iterdir() if p.is_dir()}


def test_of_many_processes_one_fetches_and_all_have_it_whole(tmp_path: Path) -> None:
    found = [said(process) for process in [start(tmp_path, "k", fetch_s=0.3) for _ in range(4)]]
    assert sorted(found) == ["fetching\nhas 1000\n"] + ["has 1000\n"] * 3


def test_what_a_killed_fetch_left_is_never_used_and_goes(tmp_path: Path) -> None:
    killed = start(tmp_path, "k", fetch_s=60)
    assert killed.stdout is not None and killed.stdout.readline() == "fetching\n"
    waiting = start(tmp_path, "k")
    time.sleep(0.2)
    assert copies(tmp_path) == {"k.partial"}
    os.kill(killed.pid, signal.SIGKILL)
    assert said(waiting) == "fetching\nhas 1000\n"
    killed.communicate()
    assert copies(tmp_path) == {"k"}
    other = start(tmp_path, "other", fetch_s=60)
    assert other.stdout is not None and other.stdout.readline() == "fetching\n"
    other.kill()
    other.communicate()
    assert said(start(tmp_path, "third")) == "fetching\nhas 1000\n"
    assert copies(tmp_path) == {"k", "third"}


def test_the_copy_unused_for_longest_goes_and_the_bytes_stay_bounded(tmp_path: Path) -> None:
    for key in ("a", "b", "a", "c"):  # of 1000 bytes each, where 2500 may be
        said(start(tmp_path, key))
    assert copies(tmp_path) == {"a", "c"}
    assert FolderCache(directory=str(tmp_path)).num_bytes() == 2000
    assert said(start(tmp_path, "b")) == "fetching\nhas 1000\n"
    assert copies(tmp_path) == {"b", "c"}


def test_a_copy_in_use_is_never_removed_and_a_cache_full_of_them_refuses_with_the_figures(tmp_path: Path) -> None:
    user = start(tmp_path, "used", hold_s=60)
    assert user.stdout is not None and user.stdout.readline() + user.stdout.readline() == "fetching\nhas 1000\n"
    said(start(tmp_path, "b"))
    said(start(tmp_path, "c"))  # "used" is older, and b goes
    assert copies(tmp_path) == {"used", "c"}
    refused = said(start(tmp_path, "large", num_bytes=1501))
    assert "large of 1,501 bytes does not fit" in refused
    assert "2,500 bytes, of which running processes use 1,000" in refused
    assert "--cache-bytes" in refused
    assert "used" in copies(tmp_path)
    user.kill()
    user.communicate()
    assert said(start(tmp_path, "large", num_bytes=2500)) == "fetching\nhas 2500\n"
    assert copies(tmp_path) == {"large"}


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the disk of .* has .* free.*\n.*--cache-dir"):
        FolderCache(directory=str(tmp_path), max_bytes=10**18).folder("k", lambda: 10**17, lambda folder: None)
    assert copies(tmp_path) == set()
    assert FolderCache(directory=str(tmp_path)).num_bytes() == 0


def test_a_fetch_that_fails_leaves_nothing_and_its_error_is_the_callers(tmp_path: Path) -> None:
    def fetch(folder: Path) -> None:
        (folder / "half").touch()
        raise ConnectionResetError("gone")

    cache = FolderCache(directory=str(tmp_path))
    with pytest.raises(ConnectionResetError, match="gone"):
        cache.folder("k", lambda: 10, fetch)
    assert copies(tmp_path) == set()
    assert cache.num_bytes() == 0


def test_each_node_has_its_own_directory_by_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path / "disk"))
    assert FolderCache().root == tmp_path / "disk"
    assert FolderCache(directory=str(tmp_path)).root == tmp_path
    monkeypatch.delenv("RDL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FolderCache().root == tmp_path / ".cache" / "relational-pretraining" / "folders"
    with pytest.raises(ValueError, match="--cache-bytes must be at least 1, got 0"):
        FolderCache(max_bytes=0)
