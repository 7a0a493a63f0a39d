"""Files are hashed once a process, and again whenever they have changed, however they hide it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from rdl_core import checksums
from rdl_core.checksums import sha256_of_all


def test_a_file_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_SETTLED_S", -1.0)  # as if it had been written long ago
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert sha256_of_all([path, path]) == [hashlib.sha256(b"one").hexdigest()] * 2

    def unread(path: Path) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(checksums, "sha256_of", unread)
    assert sha256_of_all([path]) == [hashlib.sha256(b"one").hexdigest()]


def test_a_change_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for round_number in range(20):
        content = f"{round_number:03d}".encode()
        path.write_bytes(content)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert sha256_of_all([path]) == [hashlib.sha256(content).hexdigest()]


def test_a_file_put_in_its_place_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_SETTLED_S", -1.0)
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    for file in (path, other):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    sha256_of_all([path])
    other.replace(path)
    assert sha256_of_all([path]) == [hashlib.sha256(b"two").hexdigest()]
