"""MariaDB: each row once, other databases, and every type exactly, left out with a line, or refused with its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distributed.schema.refusals import ImportRefused
from tests.distributed.sources.imports import delivered, imported
from tests.distributed.sources.servers import MariaDB, execute

pytestmark = pytest.mark.servers

NOW = pd.Timestamp("2020-02-01 10:00")
SALES = """
CREATE TABLE sale (id int PRIMARY KEY, at datetime);
INSERT INTO sale VALUES (1, '2020-01-01'), (2, '2020-02-01');
"""


@pytest.mark.parametrize(
    ("script", "num_rows", "said"),
    [
        (
            "CREATE TABLE price (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING;\nINSERT INTO price VALUES (1, 1);\n"
            "UPDATE price SET v = 2",
            {"sale": 2, "price": 1},
            [("price: system-versioned; its rows of now",)],
        ),
        (
            "CREATE TABLE price (id int PRIMARY KEY, since timestamp(6) GENERATED ALWAYS AS ROW START, "
            "until timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (since, until)) WITH SYSTEM VERSIONING",
            {"sale": 2, "price": 0},
            [("price.since: left out", "a time of the system's versions"), ("price.until: left out",)],
        ),
        ("CREATE VIEW late AS SELECT * FROM sale WHERE id > 1", {"sale": 2}, [("late", "a view", "--views late")]),
        ("CREATE SEQUENCE counter", {"sale": 2}, [("counter", "a sequence")]),
        (
            "CREATE TABLE part (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3;\nINSERT INTO part VALUES (1), (2), (3)",
            {"sale": 2, "part": 3},
            [],
        ),
        (
            "CREATE TABLE a (id int) ENGINE=MyISAM;\nINSERT INTO a VALUES (1);\n"
            "CREATE TABLE whole (id int) ENGINE=MERGE UNION=(a)",
            {"sale": 2, "a": 1},
            [
                ("whole", "the engine MRG_MyISAM, which shows rows of other tables"),
                ("a: the engine MyISAM has no transactions",),
            ],
        ),
    ],
)
def test_each_row_comes_once(mariadb: str, script: str, num_rows: dict[str, int], said: list[tuple[str, ...]]) -> None:
    execute(mariadb, SALES + script)
    found = delivered(mariadb)
    assert {name: len(next(iter(columns.values()))) for name, columns in found.rows.items()} == num_rows
    assert [words for words in said if not found.said(*words)] == []


def test_a_view_is_read_if_asked_for(mariadb: str) -> None:
    execute(mariadb, SALES + "CREATE VIEW late AS SELECT id + 0 AS n FROM sale WHERE id > 1")
    assert delivered(mariadb, views=("late",)).rows["late"] == {"n": [2]}


def test_a_key_into_another_database_is_said_or_followed(mariadb: str, tmp_path: Path) -> None:
    own = mariadb.rpartition("/")[2].partition("?")[0]
    execute(
        mariadb,
        f"CREATE DATABASE {own}_crm;\nCREATE TABLE {own}_crm.customer (id int PRIMARY KEY);\nINSERT INTO {own}_crm.customer VALUES (5), (6);\n"
        f"CREATE TABLE sale (id int PRIMARY KEY, c int, at date, FOREIGN KEY (c) REFERENCES {own}_crm.customer (id));\n"
        "INSERT INTO sale VALUES (1, 6, '2020-01-01')",
    )
    found = imported(mariadb, tmp_path / "said")
    assert found.said(
        "sale.c: left out", f"'{own}_crm.customer', whose schema is not imported; --schemas {own} {own}_crm"
    )
    assert imported(mariadb, tmp_path / "followed", schemas=(own, f"{own}_crm")).rows["sale"]["c"] == [1]


EXACT: list[tuple[str, str, Any]] = [
    ("tinyint(1)", "1", True),
    ("tinyint(1)", "7", 7),
    ("boolean", "false", False),
    ("bit(1)", "b'1'", True),
    ("bit(8)", "b'10000001'", 129),
    ("bit(64)", f"{2**63 - 1}", 2**63 - 1),
    ("bit(64)", f"{2**63}", str(2**63)),
    ("bigint unsigned", f"{2**64 - 1}", str(2**64 - 1)),
    ("bigint unsigned", f"{2**63 - 1}", 2**63 - 1),
    ("bigint", "9007199254740993", 9007199254740993),
    ("decimal(20)", "12345678901234567890", "12345678901234567890"),
    ("decimal(20)", "123", 123),
    ("decimal(10,2)", "1.25", 1.25),
    ("float", "16777217", 16777216.0),
    ("float", "0.1", 0.10000000149011612),
    ("double", "0.1", 0.1),
    ("year", "2020", 2020),
    ("set('a','b','c')", "'a,c'", ["a", "c"]),
    ("set('a','b')", "''", []),
    ("enum('glad','sad')", "'sad'", "sad"),
    ("varchar(9) CHARACTER SET latin1", "'café'", "café"),
    ("text", "'100% \\\\ {} : 名前'", "100% \\ {} : 名前"),
    ("json", "'{\"a\": 1}'", '{"a": 1}'),
    ("uuid", "'aaaaaaaa-0000-0000-0000-000000000000'", "aaaaaaaa-0000-0000-0000-000000000000"),
    ("inet4", "'10.0.0.1'", "10.0.0.1"),
    ("time", "'838:59:59'", "838:59:59"),
    ("time(2)", "'-08:30:00.25'", "-08:30:00.25"),
    ("date", "'2020-02-01'", pd.Timestamp("2020-02-01")),
    ("datetime", "'2020-02-01 10:00'", NOW),
    ("timestamp NULL", "'2020-02-01 05:00'", NOW),
    ("datetime(6)", "'2020-02-01 10:00:00.000001'", NOW + pd.Timedelta(microseconds=1)),
    ("datetime", "'0000-00-00 00:00:00'", None),
    ("date", "'0000-00-00'", None),
    ("int GENERATED ALWAYS AS (id * 2) VIRTUAL", "DEFAULT", 2),
    ("int INVISIBLE", "5", 5),
]


@pytest.fixture(scope="module")
def exact(mariadb_server: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An import of one table that has all these types."""
    execute(mariadb_server.url("mysql"), "CREATE DATABASE exact CHARACTER SET utf8mb4")
    source = mariadb_server.url("exact")
    columns = ", ".join(f"`the % : {{}} {number}` {sql_type}" for number, (sql_type, _, _) in enumerate(EXACT))
    names = ", ".join(["id", "at", *(f"`the % : {{}} {number}`" for number in range(len(EXACT)))])
    literals = ", ".join(literal for _, literal, _ in EXACT)
    execute(
        source,
        f"CREATE TABLE t (id int PRIMARY KEY, at datetime, {columns});\n"
        f"SET STATEMENT sql_mode = '' FOR INSERT INTO t ({names}) VALUES (1, '2020-01-01', {literals});\n"
        "INSERT INTO t (id, at) VALUES (2, '2020-02-01')",
    )
    return imported(source, tmp_path_factory.mktemp("exact") / "out", time_cols={"t": "at"})


@pytest.mark.parametrize("number", range(len(EXACT)), ids=[f"{t} {literal}" for t, literal, _ in EXACT])
def test_values_are_exact(exact: Any, number: int) -> None:
    _, literal, expected = EXACT[number]
    values = exact.rows["t"][f"the % : {{}} {number}"]
    assert values == [expected, 4 if literal == "DEFAULT" else None] and type(values[0]) is type(expected)


def test_zero_dates_are_counted(exact: Any) -> None:
    assert sum("1 values 0000-00-00 are read as null" in line for line in exact.lines) == 2


@pytest.mark.parametrize("sql_type", ["blob", "binary(3)", "varbinary(9)", "point", "geometry"])
def test_types_without_a_meaning_here_are_left_out_and_said(mariadb: str, sql_type: str) -> None:
    execute(mariadb, f"CREATE TABLE t (id int PRIMARY KEY, v {sql_type})")
    found = delivered(mariadb)
    assert found.rows["t"] == {"id": []} and found.said(f"t.v: left out, type {sql_type} is not supported")


@pytest.mark.parametrize("literal", ["'2020-00-00'", "'2020-02-00'", "'2020-00-15'"])
def test_times_that_are_none_are_refused_with_their_row(mariadb: str, literal: str) -> None:
    execute(
        mariadb,
        "CREATE TABLE t (id int PRIMARY KEY, v date);\nINSERT INTO t SELECT seq, NULL FROM seq_1_to_5;\n"
        f"SET STATEMENT sql_mode = '' FOR UPDATE t SET v = {literal} WHERE id = 4",
    )
    with pytest.raises(
        ImportRefused, match=r"'t', column 'v', row 3 of the source \({'id': 4}\).*got str '2020.*--exclude t.v"
    ):
        delivered(mariadb)


@pytest.mark.parametrize(
    ("sql_type", "keys", "expected"),
    [
        ("varchar(9)", ("'Ab'", "'cd'", "'AB'", "'CD'"), ["Ab", "cd"]),
        ("varchar(9)", ("'é'", "'u'", "'E'", "'ü'"), ["é", "u"]),
        ("varchar(9)", ("'a'", "'b'", "'a '", "'b '"), ["a", "b"]),
        ("varchar(9) COLLATE utf8mb4_bin", ("'a'", "'A'", "'A'", "'a'"), ["A", "a"]),
        ("binary(2)", ("x'00ff'", "x'0100'", "x'0100'", "x'00ff'"), ["0100", "00FF"]),
        ("decimal(20)", ("9007199254740992", "9007199254740993", "9007199254740993", "NULL"), [9007199254740993, None]),
    ],
)
def test_keys_link_as_the_server_compares_them(
    mariadb: str, sql_type: str, keys: tuple[str, ...], expected: list[Any]
) -> None:
    execute(
        mariadb,
        f"CREATE TABLE a (`the % id` {sql_type} PRIMARY KEY);\nCREATE TABLE b (id int PRIMARY KEY, a {sql_type}, "
        "FOREIGN KEY (a) REFERENCES a (`the % id`));\n"
        f"INSERT INTO a VALUES ({keys[0]}), ({keys[1]});\nINSERT INTO b VALUES (1, {keys[2]}), (2, {keys[3]})",
    )
    assert delivered(mariadb).rows["b"]["a"] == expected
