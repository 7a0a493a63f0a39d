"""The cache of a node: one process fetches, what is there is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.storage.folder_cache import FolderCache
from tests import REPOSITORY

PROGRAM = """
import json, sys, time
from distributed.storage.folder_cache import FolderCache

root, key, seconds = json.loads(sys.argv[1])

def fetch(folder):
    print("fetching", flush=True)
    assert list(folder.iterdir()) == []
    (folder / "a").write_bytes(b"x" * 500)
    time.sleep(seconds)
    (folder / "b").write_bytes(b"y" * 500)

folder = FolderCache(directory=root).folder(key, fetch)
print("has", len((folder / "a").read_bytes() + (folder / "b").read_bytes()), flush=True)
"""


def start(root: Path, key: str, fetch_s: float = 0.0) -> subprocess.Popen[str]:
    """A process that wants a folder of the cache."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps([str(root), key, fetch_s])],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
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


def test_what_a_killed_fetch_left_is_never_used_and_goes_with_the_next(tmp_path: Path) -> None:
    killed = start(tmp_path, "k", fetch_s=60)
    assert killed.stdout is not None and killed.stdout.readline() == "fetching\n"
    waiting = start(tmp_path, "k")
    assert copies(tmp_path) == {"k.partial"}
    os.kill(killed.pid, signal.SIGKILL)
    assert said(waiting) == "fetching\nhas 1000\n"
    killed.communicate()
    assert copies(tmp_path) == {"k"}


def test_another_key_does_not_wait(tmp_path: Path) -> None:
    slow = start(tmp_path, "slow", fetch_s=60)
    assert slow.stdout is not None and slow.stdout.readline() == "fetching\n"
    assert said(start(tmp_path, "quick")) == "fetching\nhas 1000\n"
    slow.kill()
    slow.communicate()


def test_a_fetch_that_fails_leaves_nothing_and_its_error_is_the_callers(tmp_path: Path) -> None:
    def fetch(folder: Path) -> None:
        (folder / "half").touch()
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        FolderCache(directory=str(tmp_path)).folder("k", fetch)
    assert copies(tmp_path) == set()


def test_each_node_has_its_own_directory_by_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path / "disk"))
    assert FolderCache().root == tmp_path / "disk"
    assert FolderCache(directory=str(tmp_path)).root == tmp_path
    monkeypatch.delenv("RDL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FolderCache().root == tmp_path / ".cache" / "relational-pretraining" / "folders"
