"""SQLite: the user's tables without SQLite's own, and every column by its type or by what it holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distributed.schema.refusals import ImportRefused
from distributed.schema.table_plan import plan_tables
from distributed.sources.sql_source import SqlSource
from tests.distributed.importing.small_imports import sqlite_file
from tests.distributed.sources.imports import delivered, imported

SALES = "CREATE TABLE sale (id INTEGER PRIMARY KEY, at DATETIME); INSERT INTO sale VALUES (1, '2020-01-01'), (2, '2020-02-01');"


@pytest.mark.parametrize(
    ("script", "num_rows", "said"),
    [
        (
            "CREATE VIRTUAL TABLE note USING fts5(body); INSERT INTO note VALUES ('a'), ('b');",
            {"sale": 2, "note": 2},
            [("note_config", "a shadow table"), ("note_content", "a shadow table"), ("note_docsize", "a shadow table")],
        ),
        (
            "CREATE VIRTUAL TABLE found USING fts5(at, content='sale', content_rowid='id');",
            {"sale": 2},
            [("found:", "not imported", "a full-text index of rows that another table has")],
        ),
        (
            "CREATE VIRTUAL TABLE area USING rtree(id, left, right); INSERT INTO area VALUES (1, 0.5, 1.5);",
            {"sale": 2, "area": 1},
            [("area_node", "a shadow table"), ("area_parent", "a shadow table"), ("area_rowid", "a shadow table")],
        ),
        (
            "CREATE VIRTUAL TABLE word USING fts4(body); INSERT INTO word VALUES ('a');",
            {"sale": 2, "word": 1},
            [("word_segments", "a shadow table"), ("word_segdir", "a shadow table")],
        ),
        (
            "CREATE VIRTUAL TABLE note USING fts5(body); CREATE VIRTUAL TABLE term USING fts5vocab('note', 'row');",
            {"sale": 2, "note": 0},
            [("term", "a virtual table, which may show other tables' rows again", "--views term")],
        ),
        ("CREATE VIEW late AS SELECT * FROM sale WHERE id > 1;", {"sale": 2}, [("late", "a view", "--views late")]),
        (
            "CREATE TABLE counter (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO counter VALUES (4); ANALYZE;",
            {"sale": 2, "counter": 1},
            [],
        ),
    ],
)
def test_each_row_comes_once(
    tmp_path: Path, script: str, num_rows: dict[str, int], said: list[tuple[str, ...]]
) -> None:
    found = delivered(sqlite_file(tmp_path / "x.db", SALES + script))
    assert {name: len(next(iter(columns.values()))) for name, columns in found.rows.items()} == num_rows
    assert [words for words in said if not found.said(*words)] == []


def test_a_view_is_imported_if_asked_for(tmp_path: Path) -> None:
    source = sqlite_file(
        tmp_path / "x.db", SALES + "CREATE VIEW late AS SELECT id, at, id * 2 AS n FROM sale WHERE id > 1"
    )
    found = imported(source, tmp_path / "out", views=("late",), time_cols={"sale": "at", "late": "at"})
    assert found.rows["late"] == {"id": [2], "at": [pd.Timestamp("2020-02-01")], "n": [4]}


@pytest.mark.parametrize(
    ("declared", "values", "expected", "said"),
    [
        ("", ("1", "2"), [1, 2], "read as integers"),
        ("", ("1", "2.5"), [1.0, 2.5], "read as numbers"),
        ("", ("'x'", "NULL"), ["x", None], "read as text"),
        ("", ("NULL", "NULL"), [None, None], "it has no value"),
        ("THING", ("'x'", "'y'"), ["x", "y"], "type THING: read as text"),
        ("NUM", ("1", "2"), [1.0, 2.0], None),
        ("NUM", ("9007199254740993", "2"), [9007199254740993, 2], None),
        ("DECIMAL(10, 2)", ("1.25", "3"), [1.25, 3.0], None),
        ("BOOLEAN", ("1", "0"), [True, False], None),
        ("BOOLEAN", ("'t'", "'false'"), [True, False], None),
        ("BIGINT", ("9223372036854775807", "-9223372036854775808"), [2**63 - 1, -(2**63)], None),
        ("JSON", ("'{}'", "'[1]'"), ["{}", "[1]"], None),
        ("UUID", ("'a-b'", "'c-d'"), ["a-b", "c-d"], None),
        ("VARCHAR(3)", ("'longer'", "7"), ["longer", "7"], None),
        ("TIME", ("'08:30'", "NULL"), ["08:30", None], None),
        ("INT GENERATED ALWAYS AS (id * 2) VIRTUAL", (), [2, 4], None),
    ],
)
def test_columns_are_read_by_their_type_or_by_what_they_hold(
    tmp_path: Path, declared: str, values: tuple[str, ...], expected: list[Any], said: str | None
) -> None:
    rows = [
        f"({number}, '2020-0{number}-01'{', ' + value if value else ''})"
        for number, value in zip((1, 2), values or ("", ""), strict=True)
    ]
    columns = "(id, at, v)" if values else "(id, at)"
    script = f"CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME, v {declared}); INSERT INTO t {columns} VALUES {', '.join(rows)}"
    found = delivered(sqlite_file(tmp_path / "x.db", script))
    assert found.rows["t"]["v"] == expected
    assert {type(value) for value in found.rows["t"]["v"]} == {type(value) for value in expected}
    assert said is None or found.said("t.v", said)


def test_a_table_made_by_a_query_is_read_by_what_it_holds(tmp_path: Path) -> None:
    script = SALES + "CREATE TABLE log AS SELECT id + 0 AS a, 'x' || id AS b, id * 1.5 AS c FROM sale"
    found = imported(sqlite_file(tmp_path / "x.db", script), tmp_path / "out")
    assert found.rows["log"] == {"a": [1, 2], "b": ["x1", "x2"], "c": [1.5, 3.0]}


@pytest.mark.parametrize("declared", ["BLOB", "BYTEA", "VARBINARY(3)", ""])
def test_bytes_are_left_out_and_said(tmp_path: Path, declared: str) -> None:
    script = f"CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME, v {declared}); INSERT INTO t VALUES (1, '2020-01-01', x'00')"
    found = delivered(sqlite_file(tmp_path / "x.db", script))
    assert sorted(found.rows["t"]) == ["at", "id"] and found.said("t.v: left out, type")


@pytest.mark.parametrize(
    ("declared", "value", "got"),
    [
        ("INTEGER", "'many'", "str 'many'"),
        ("INTEGER", "1.5", "float 1.5"),
        ("REAL", "'dear'", "str 'dear'"),
        ("BOOLEAN", "2", "int 2"),
        ("TEXT", "x'636166e9'", "bytes"),
        ("TEXT", "CAST(x'636166e9' AS TEXT)", r"bytes b'caf\\xe9'"),
        ("", "'text'", "int 7"),
    ],
)
def test_values_of_another_type_are_refused_with_their_row(tmp_path: Path, declared: str, value: str, got: str) -> None:
    script = f"CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME, v {declared}); INSERT INTO t VALUES (1, '2020-01-01', NULL), "
    script += f"(2, '2020-02-01', {value}), (5, '2020-02-01', 7)"
    with pytest.raises(
        ImportRefused,
        match=rf"table 't', column 'v', row \d of the source \({{'id': \d}}\).*got {got}(.|\n)*--exclude t.v",
    ):
        delivered(sqlite_file(tmp_path / "x.db", script))


@pytest.mark.parametrize("options", ["WITHOUT ROWID", "STRICT", "STRICT, WITHOUT ROWID"])
def test_tables_of_other_storage_are_read(tmp_path: Path, options: str) -> None:
    script = f"CREATE TABLE t (id TEXT PRIMARY KEY, at TEXT, n INT) {options}; INSERT INTO t VALUES ('b', '2020-01-01', 1), ('a', '2020-02-01', 2)"
    rows = delivered(sqlite_file(tmp_path / "x.db", script)).rows["t"]
    assert sorted(zip(rows["id"], rows["at"], rows["n"], strict=True)) == [
        ("a", "2020-02-01", 2),
        ("b", "2020-01-01", 1),
    ]


@pytest.mark.parametrize(
    ("parent", "child", "keys", "links"),
    [
        ("id TEXT PRIMARY KEY COLLATE NOCASE", "TEXT", ("'Ab'", "'cd'", "'AB'", "'CD'"), ["Ab", "cd"]),
        ("id TEXT PRIMARY KEY COLLATE RTRIM", "TEXT", ("'a'", "'b'", "'a  '", "'b '"), ["a", "b"]),
        ("id BLOB PRIMARY KEY", "BLOB", ("x'00'", "x'ff'", "x'ff'", "x'00'"), ["FF", "00"]),
        ("id PRIMARY KEY", "", ("1", "2", "2", "1"), [2, 1]),
        ("id INTEGER PRIMARY KEY", "TEXT", ("1", "2", "'2'", "'1'"), ["2", "1"]),
        (
            "id NUMERIC PRIMARY KEY",
            "NUMERIC",
            ("9007199254740992", "9007199254740993", "9007199254740993", "NULL"),
            [9007199254740993, None],
        ),
    ],
)
def test_keys_link_as_sqlite_compares_them(
    tmp_path: Path, parent: str, child: str, keys: tuple[str, ...], links: list[Any]
) -> None:
    script = f"CREATE TABLE a ({parent}); CREATE TABLE b (id INTEGER PRIMARY KEY, a {child} REFERENCES a, at DATE);"
    script += f"INSERT INTO a VALUES ({keys[0]}), ({keys[1]}); INSERT INTO b VALUES (1, {keys[2]}, '2020-01-01'), (2, {keys[3]}, '2020-02-01')"
    assert delivered(sqlite_file(tmp_path / "x.db", script)).rows["b"]["a"] == links


def test_all_rows_are_of_one_moment_and_nothing_is_written(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "x.db", "PRAGMA journal_mode = WAL;" + SALES)
    with SqlSource(source, 10) as opened:
        assert list(opened.schemas()) == ["sale"]
        with sqlite3.connect(tmp_path / "x.db") as writer:
            writer.execute("INSERT INTO sale VALUES (3, '2020-03-01')")
        writer.close()
        plan = plan_tables(opened.schemas(), tables=None, exclude=())["sale"]
        assert sum(batch.num_rows for batch in opened.batches(plan)) == 2
        with pytest.raises(Exception, match="readonly"):
            opened._connection.exec_driver_sql("DELETE FROM sale")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"schemas": ("main",)}, "SQLite has no schemas"), ({"views": ("gone",)}, r"no view \['gone'\].*\['late'\]")],
)
def test_what_sqlite_does_not_have_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    source = sqlite_file(tmp_path / "x.db", SALES + "CREATE VIEW late AS SELECT * FROM sale")
    with pytest.raises(ImportRefused, match=message):
        delivered(source, **options)


def test_a_reference_to_the_key_of_a_table_without_one_is_refused_by_name(tmp_path: Path) -> None:
    source = sqlite_file(
        tmp_path / "x.db",
        "CREATE TABLE a (id INTEGER); CREATE TABLE b (id INTEGER PRIMARY KEY, a REFERENCES a, at DATE)",
    )
    with pytest.raises(
        ImportRefused, match="table 'b', column 'a': .*primary key of 'a', which has none.*--exclude b.a"
    ):
        delivered(source)
