"""The nasty SQLite database, imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.importing.small_imports import run, sqlite_file


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    run(sqlite_file(tmp_path / "nasty.db"), tmp_path / "out")
    return tmp_path / "out"
