"""Databases that cannot be opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import run


def test_bad_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="no SQLite file at"):
        run(f"sqlite:///{tmp_path}/missing.db", tmp_path / "out")
    assert not (tmp_path / "missing.db").exists()  # SQLite itself would make one
    (tmp_path / "text.db").write_text("not a database, but long enough to look at, and then some more words")
    with pytest.raises(ImportRefused, match="file is not a database"):
        run(f"sqlite:///{tmp_path}/text.db", tmp_path / "out")
    with pytest.raises(ImportRefused, match=r"cannot be opened: (.|\n)*check URL") as refusal:
        pytest.importorskip("psycopg")
        run("postgresql+psycopg://me:hunter2@127.0.0.1:1/x", tmp_path / "out")
    assert "hunter2" not in str(refusal.value)
