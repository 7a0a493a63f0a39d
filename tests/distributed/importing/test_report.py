"""The report of an import."""

from __future__ import annotations

from pathlib import Path

from distributed.importing.importer import import_database
from tests.distributed.importing.small_imports import config, sqlite_file


def test_report_says_what_was_left_out_and_which_keys_are_null(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "nasty.db")
    report = import_database(config(source, tmp_path / "out"), None)
    assert report.tables["order"].null_fkeys == {"buyer": 1, "seller": 1}
    assert report.tables["person"].left_out == {"photo": "type BLOB is not supported"}
    assert report.manifest.is_file() and report.tables["order"].num_columns == 7
    notes = " ".join(report.notes)
    assert "order: 1 rows have no order time" in notes and "'order time' is written as 'order_time'" in notes
