"""A whole import: RelBench opens it, it is a function of the source's content, and it is made once."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
import relbench

from distributed.importing.importer import import_database
from rdl_core.database.dataset import open_dataset
from tests.distributed.importing.small_imports import NASTY, config, files, run, sqlite_file


def test_relbench_opens_it_and_finds_the_keys_in_order(imported: Path) -> None:
    db = relbench.load_dataset(imported).get_db(upto_test_timestamp=False)
    assert {name: len(table) for name, table in db.table_dict.items()} == {
        "badge": 2,
        "label": 3,
        "order": 4,
        "part": 3,
        "person": 3,
    }
    cut = relbench.load_dataset(imported).get_db()  # raises if pkeys are not 0..n-1 after the cut
    assert len(cut.table_dict["label"]) == 1


def test_the_order_of_the_source_leaves_no_trace(tmp_path: Path) -> None:
    first = sqlite_file(tmp_path / "nasty.db")
    shutil.copyfile(tmp_path / "nasty.db", tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as connection:
        for table in ("label", "part", '"order"', "person"):
            connection.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table} ORDER BY rowid DESC")
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM kept")
            connection.execute("DROP TABLE kept")
    connection.close()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "copy.db", tmp_path / "elsewhere" / "nasty.db")
    run(first, tmp_path / "a")
    run(f"sqlite:///{tmp_path}/elsewhere/nasty.db", tmp_path / "b", batch_rows=1)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_same_import_returns_at_once_and_another_is_refused(tmp_path: Path) -> None:
    source, out = sqlite_file(tmp_path / "nasty.db"), tmp_path / "out"
    first = import_database(config(source, out), None)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = import_database(config(source, out), None)
    assert again.is_reused and not first.is_reused and again.tables == first.tables and again.notes == first.notes
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(FileExistsError, match="other options"):
        import_database(config(source, out, test_timestamp="2020-02-16"), None)
    with sqlite3.connect(tmp_path / "nasty.db") as connection:
        connection.execute("UPDATE person SET name = 'Anna' WHERE code = 'a-10'")
    connection.close()
    with pytest.raises(FileExistsError, match="before the source changed"):
        import_database(config(source, out), None)
    (tmp_path / "other").mkdir()
    with pytest.raises(FileExistsError, match="is no import"):
        import_database(config(source, tmp_path / "other"), None)


def test_a_table_without_rows_is_imported_and_said(tmp_path: Path) -> None:
    script = (
        NASTY
        + """CREATE TABLE void (id INTEGER PRIMARY KEY, "order" INTEGER REFERENCES "order" ("the id"), at DATE, seen DATE);
        CREATE TABLE of_void (void INTEGER REFERENCES void, at DATE); INSERT INTO of_void VALUES (NULL, '2020-01-01')"""
    )
    report = import_database(config(sqlite_file(tmp_path / "v.db", script), tmp_path / "out"), None)
    assert any(note.startswith("void: no rows; it is imported empty") for note in report.notes)
    assert report.tables["void"].num_rows == 0
    assert (report.tables["void"].time_col, report.tables["of_void"].null_fkeys) == (None, {"void": 1})
    db = relbench.load_dataset(tmp_path / "out").get_db()
    assert len(db.table_dict["void"]) == 0 and db.table_dict["void"].fkey_col_to_pkey_table == {"order": "order"}
    assert open_dataset(tmp_path / "out").manifest.tables["void"].pkey == "id"
