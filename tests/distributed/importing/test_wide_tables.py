"""Tables of many columns are typed a block of columns at a time, and come out the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.importing import staging
from tests.distributed.importing.small_imports import files, run, sqlite_file


def test_types_made_in_blocks_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sqlite_file(tmp_path / "nasty.db")
    run(source, tmp_path / "whole")
    monkeypatch.setattr(staging, "WIDE_COLUMNS", 1)
    monkeypatch.setattr(staging, "BLOCK_COLUMNS", 2)
    run(source, tmp_path / "blocks")
    whole, blocks = files(tmp_path / "whole"), files(tmp_path / "blocks")
    assert {name: content for name, content in whole.items() if name != "report.html"} == {
        name: content for name, content in blocks.items() if name != "report.html"
    }
