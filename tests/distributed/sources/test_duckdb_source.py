"""DuckDB files: tables with their keys, every type exactly, left out with a line, or refused with its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from distributed.schema.refusals import ImportRefused
from distributed.sources.duckdb_source import is_duckdb
from tests.distributed.sources.imports import delivered, imported

NOW = pd.Timestamp("2020-02-01 10:00")
EXACT: list[tuple[str, str, Any]] = [
    ("VARCHAR[]", "['a', NULL]", ["a", None]),
    ("INTEGER[]", "[1, 2]", ["1", "2"]),
    ("ENUM('x', 'y')", "'x'", "x"),
    ("ENUM('x', 'y')[]", "['y']", ["y"]),
    ("BOOLEAN", "true", True),
    ("HUGEINT", "12345678901234567890", "12345678901234567890"),
    ("HUGEINT", "5", 5),
    ("UBIGINT", "18446744073709551615", "18446744073709551615"),
    ("UHUGEINT", "7", 7),
    ("BIGINT", "9007199254740993", 9007199254740993),
    ("UTINYINT", "255", 255),
    ("DECIMAL(20, 0)", "12345678901234567890", "12345678901234567890"),
    ("DECIMAL(18, 0)", "123", 123),
    ("DECIMAL(10, 2)", "1.25", 1.25),
    ("FLOAT", "0.1", 0.10000000149011612),
    ("DOUBLE", "0.1", 0.1),
    ("TIMESTAMP", "'2020-02-01 10:00'", NOW),
    ("TIMESTAMP_S", "'2020-02-01 10:00'", NOW),
    ("TIMESTAMP_MS", "'2020-02-01 10:00'", NOW),
    ("TIMESTAMP_NS", "'2020-02-01 10:00'", NOW),
    ("TIMESTAMPTZ", "'2020-02-01 12:00+02'", NOW),
    ("DATE", "'1677-10-01'", pd.Timestamp("1677-10-01")),
    ("TIME", "'08:30'", "08:30:00"),
    ("INTERVAL", "INTERVAL 1 DAY", 86_400.0),
    ("UUID", "'aaaaaaaa-0000-0000-0000-000000000000'", "aaaaaaaa-0000-0000-0000-000000000000"),
    ("BIT", "'101'", "101"),
    ("VARCHAR", "'100% {} : ž'", "100% {} : ž"),
]


def duckdb_file(path: Path, *statements: str) -> str:
    with duckdb.connect(str(path)) as con:
        con.execute("SET TimeZone = 'America/New_York'")
        for statement in statements:
            con.execute(statement)
    return f"duckdb:///{path}"


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The columns of one table that has all these types."""
    columns = ", ".join(f'"the {{}} {number}" {sql_type}' for number, (sql_type, _, _) in enumerate(EXACT))
    source = duckdb_file(
        tmp_path_factory.mktemp("exact") / "x.duckdb",
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})",
        f"INSERT INTO t VALUES (1, {', '.join(literal for _, literal, _ in EXACT)})",
        "INSERT INTO t (id) VALUES (2)",
    )
    return delivered(source).rows["t"]


@pytest.mark.parametrize("number", range(len(EXACT)), ids=[f"{t} {literal}" for t, literal, _ in EXACT])
def test_values_are_exact(exact: dict[str, list[Any]], number: int) -> None:
    values, expected = exact[f"the {{}} {number}"], EXACT[number][2]
    kind = pd.Timestamp if isinstance(expected, pd.Timestamp) else type(expected)
    assert [None if value is None else kind(value) for value in values] == [expected, None]
    assert isinstance(expected, pd.Timestamp) or type(values[0]) is type(expected)


@pytest.mark.parametrize(
    "sql_type",
    ["BLOB", "STRUCT(a INTEGER)", "MAP(VARCHAR, INTEGER)", "FLOAT[3]", "DOUBLE[]", "UNION(a INTEGER, b VARCHAR)"],
)
def test_types_without_a_meaning_here_are_left_out_and_said(tmp_path: Path, sql_type: str) -> None:
    found = delivered(duckdb_file(tmp_path / "x.duckdb", f"CREATE TABLE t (id INTEGER, v {sql_type})"))
    assert found.rows["t"] == {"id": []} and found.said(f"t.v: left out, type {sql_type} is not supported")


SCHEMAS = (
    "CREATE SCHEMA crm",
    "CREATE TABLE crm.customer (id INTEGER PRIMARY KEY)",
    "CREATE TABLE customer (id INTEGER PRIMARY KEY)",
    "CREATE TABLE sale (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer (id), since TIMESTAMP)",
    "INSERT INTO customer VALUES (5), (6)",
    "INSERT INTO sale VALUES (1, 6, '2020-01-01'), (2, 5, '2020-02-01')",
    "CREATE VIEW late AS SELECT * FROM sale WHERE id > 1",
)


def test_keys_are_followed_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    found = imported(duckdb_file(tmp_path / "x.duckdb", *SCHEMAS), tmp_path / "out")
    assert found.rows["sale"]["customer"] == [1, 0] and sorted(found.rows) == ["customer", "sale"]
    assert found.said("late: not imported, a view", "--views late")
    assert found.said("schema crm: its 1 tables are not imported; --schemas main crm")


def test_schemas_and_views_are_read_if_asked_for(tmp_path: Path) -> None:
    source = duckdb_file(tmp_path / "x.duckdb", *SCHEMAS)
    rows = delivered(source, schemas=("main", "crm"), views=("late",)).rows
    assert sorted(rows) == ["crm__customer", "late", "main__customer", "sale"] and rows["late"]["id"] == [2]


def test_keys_of_bytes_link(tmp_path: Path) -> None:
    statements = ["CREATE TABLE a (id BLOB PRIMARY KEY)", "CREATE TABLE b (a BLOB REFERENCES a (id))"]
    rows = delivered(
        duckdb_file(
            tmp_path / "x.duckdb", *statements, "INSERT INTO a VALUES ('\\xFF')", "INSERT INTO b VALUES ('\\xFF')"
        )
    ).rows
    assert rows == {"a": {"id": ["FF"]}, "b": {"a": ["FF"]}}


@pytest.mark.parametrize("sql_type", ["TIMESTAMP", "TIMESTAMPTZ", "DATE"])
@pytest.mark.parametrize("literal", ["infinity", "-infinity"])
def test_infinite_times_are_refused_with_their_row(tmp_path: Path, sql_type: str, literal: str) -> None:
    source = duckdb_file(
        tmp_path / "x.duckdb",
        f"CREATE TABLE t (id INTEGER, v {sql_type})",
        f"INSERT INTO t VALUES (1, NULL), (2, '{literal}')",
    )
    with pytest.raises(
        ImportRefused, match="table 't', column 'v', row 1 of the source.*got -?infinity.*--exclude t.v"
    ):
        delivered(source)


@pytest.mark.parametrize(
    ("statements", "options", "message"),
    [
        ((), {}, "'main' has no table to import"),
        (("CREATE SCHEMA crm", "CREATE TABLE crm.a (id INTEGER)"), {}, "--schemas crm"),
        (("CREATE TABLE a (id INTEGER)",), {"schemas": ("gone",)}, r"no table in \['gone'\]"),
        (("CREATE TABLE a (id INTEGER)",), {"views": ("gone",)}, r"no view \['gone'\]"),
    ],
)
def test_what_is_not_there_is_refused(
    tmp_path: Path, statements: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImportRefused, match=message):
        delivered(duckdb_file(tmp_path / "x.duckdb", *statements), **options)


def test_a_file_is_known_by_what_it_holds(tmp_path: Path) -> None:
    duckdb_file(tmp_path / "shop.db", "CREATE TABLE a (id INTEGER)")
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\0")
    assert is_duckdb(str(tmp_path / "shop.db")) and not is_duckdb(str(tmp_path / "other.db"))
    assert delivered(str(tmp_path / "shop.db")).rows == {"a": {"id": []}}
    with pytest.raises(ImportRefused, match="no DuckDB file at"):
        delivered(f"duckdb:///{tmp_path}/missing.duckdb")
    (tmp_path / "broken.duckdb").write_bytes(b"12345678DUCK" + bytes(100))
    with pytest.raises(ImportRefused, match=r"duckdb:///broken.duckdb: cannot be opened"):
        delivered(f"duckdb:///{tmp_path}/broken.duckdb")
