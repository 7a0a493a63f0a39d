"""PostgreSQL: each row once, schemas, views, and every type exactly, left out with a line, or refused with its row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distributed.schema.refusals import ImportRefused
from tests.distributed.sources.imports import imported
from tests.distributed.sources.servers import PostgreSQL, execute

pytestmark = pytest.mark.servers

SALES = """
CREATE TABLE customer (id int PRIMARY KEY, city text);
INSERT INTO customer SELECT i, 'c' || i % 3 FROM generate_series(1, 10) i;
"""
PARTITIONED = (
    SALES
    + """
CREATE TABLE sale (id int, customer int REFERENCES customer, at timestamp, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE sale_old PARTITION OF sale FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
CREATE TABLE sale_new PARTITION OF sale FOR VALUES FROM ('2020-02-01') TO ('2021-01-01') PARTITION BY HASH (id);
CREATE TABLE sale_new_0 PARTITION OF sale_new FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE sale_new_1 PARTITION OF sale_new FOR VALUES WITH (modulus 2, remainder 1);
INSERT INTO sale SELECT i, 1 + i % 10, timestamp '2020-01-01' + i * interval '1 day' FROM generate_series(1, 60) i;
"""
)
# Partitions as they were made before PostgreSQL 10, and as TimescaleDB makes its chunks.
DIVIDED = """
CREATE SCHEMA _timescaledb_internal;
CREATE TABLE reading (id int PRIMARY KEY, at timestamp, value float8);
CREATE TABLE _timescaledb_internal.chunk_1 (PRIMARY KEY (id)) INHERITS (reading);
CREATE TABLE chunk_2 (PRIMARY KEY (id)) INHERITS (reading);
INSERT INTO _timescaledb_internal.chunk_1 VALUES (1, '2020-01-01', 0.5), (2, '2020-01-02', 0.25);
INSERT INTO chunk_2 VALUES (3, '2020-02-01', 1);
"""
INHERITED = """
CREATE TABLE city (id int PRIMARY KEY, at timestamp);
CREATE TABLE capital (PRIMARY KEY (id), country text) INHERITS (city);
INSERT INTO city VALUES (1, '2020-01-01'), (2, '2020-02-01');
INSERT INTO capital VALUES (3, '2020-01-03', 'NO');
"""
REFERRED = """
CREATE TABLE city (id int PRIMARY KEY, at timestamp);
CREATE TABLE capital (PRIMARY KEY (id)) INHERITS (city);
CREATE TABLE visit (id int PRIMARY KEY, capital int REFERENCES capital);
INSERT INTO city VALUES (1, '2020-01-01'), (2, '2020-02-01');
INSERT INTO capital VALUES (3, '2020-01-03');
INSERT INTO visit VALUES (7, 3);
"""
VIEWED = """
CREATE TABLE sale (id int PRIMARY KEY, at timestamp);
INSERT INTO sale VALUES (1, '2020-01-01'), (2, '2020-02-01');
CREATE VIEW late AS SELECT id AS sale, at FROM sale WHERE id > 1;
CREATE MATERIALIZED VIEW early AS SELECT id AS sale, at FROM sale WHERE id = 1;
"""


@pytest.mark.parametrize(
    ("script", "num_rows", "said"),
    [
        (
            PARTITIONED,
            {"customer": 10, "sale": 60},
            [("sale_old", "a partition of 'sale'"), ("sale_new_1", "of 'sale'")],
        ),
        (DIVIDED, {"reading": 3}, [("chunk_2", "an inheritance child of 'reading'")]),
        (INHERITED, {"city": 2, "capital": 1}, [("city", "without the rows of its inheritance children (capital)")]),
        (REFERRED, {"city": 2, "capital": 1, "visit": 1}, [("city", "without the rows of its inheritance children")]),
        (VIEWED, {"sale": 2}, [("late", "a view", "--views late"), ("early", "a materialized view", "--views early")]),
        (
            "CREATE EXTENSION postgres_fdw;\nCREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;\n"
            "CREATE FOREIGN TABLE away (id int) SERVER far;\nCREATE TABLE sale (id int PRIMARY KEY, at date);\n"
            "INSERT INTO sale VALUES (1, '2020-01-01')",
            {"sale": 1},
            [("away: not imported", "a foreign table", "--views away")],
        ),
        (
            PARTITIONED
            + "CREATE TABLE note (id int, at timestamp, FOREIGN KEY (id, at) REFERENCES sale_old (id, at));\n"
            "INSERT INTO note VALUES (1, '2020-01-02');\n"
            "ALTER TABLE sale_new_0 ADD FOREIGN KEY (id) REFERENCES customer NOT VALID",
            {"customer": 10, "note": 1, "sale": 60},
            [("sale: the foreign keys that only its partition sale_new_0 declares are not followed",)],
        ),
        (
            "CREATE EXTENSION IF NOT EXISTS pg_stat_statements;\nCREATE TABLE sale (id int PRIMARY KEY, at date);\n"
            "INSERT INTO sale VALUES (1, '2020-01-01')",
            {"sale": 1},
            [("pg_stat_statements", "a table of an extension")],
        ),
    ],
)
def test_each_row_comes_once(
    postgresql: str, tmp_path: Path, script: str, num_rows: dict[str, int], said: list[tuple[str, ...]]
) -> None:
    execute(postgresql, script)
    found = imported(postgresql, tmp_path / "out")
    assert {name: len(next(iter(columns.values()))) for name, columns in found.rows.items()} == num_rows
    assert [words for words in said if not found.said(*words)] == []


def test_a_partitioned_table_keeps_its_links(postgresql: str, tmp_path: Path) -> None:
    execute(postgresql, PARTITIONED)
    assert imported(postgresql, tmp_path / "out").rows["sale"]["customer"] == [(i % 10) for i in range(1, 61)]


@pytest.mark.parametrize("options", [{"views": ("late", "early")}, {"tables": ("sale", "late", "early")}])
def test_views_are_imported_if_asked_for(postgresql: str, tmp_path: Path, options: dict[str, Any]) -> None:
    execute(postgresql, VIEWED)
    rows = imported(postgresql, tmp_path / "out", **options).rows
    assert (rows["late"]["sale"], rows["early"]["sale"], sorted(rows)) == ([2], [1], ["early", "late", "sale"])


SCHEMAS = """
CREATE SCHEMA crm;
CREATE SCHEMA "odd schema";
CREATE TABLE crm.customer (id int PRIMARY KEY, city text);
CREATE TABLE "odd schema".customer (id int PRIMARY KEY, score int);
CREATE TABLE sale (id int PRIMARY KEY, customer int REFERENCES crm.customer, at timestamp);
INSERT INTO crm.customer VALUES (5, 'Voss'), (6, 'Oslo');
INSERT INTO "odd schema".customer VALUES (5, 1);
INSERT INTO sale VALUES (1, 6, '2020-01-01'), (2, 5, '2020-02-01');
"""


def test_a_key_into_a_schema_that_is_not_chosen_is_said(postgresql: str, tmp_path: Path) -> None:
    execute(postgresql, SCHEMAS)
    found = imported(postgresql, tmp_path / "out")
    assert found.said("sale.customer: left out", "'crm.customer', whose schema is not imported; --schemas public crm")
    assert found.said("schema crm: its 1 tables are not imported", "--schemas public crm")
    assert sorted(found.rows["sale"]) == ["at", "id"]


def test_a_key_into_a_schema_that_is_chosen_is_followed(postgresql: str, tmp_path: Path) -> None:
    execute(postgresql, SCHEMAS)
    found = imported(postgresql, tmp_path / "out", schemas=("public", "crm"))
    assert found.rows["sale"]["customer"] == [1, 0] and sorted(found.rows) == ["customer", "sale"]


def test_tables_of_two_schemas_with_one_name_are_told_apart(postgresql: str, tmp_path: Path) -> None:
    execute(postgresql, SCHEMAS)
    found = imported(postgresql, tmp_path / "out", schemas=("public", "crm", "odd schema"))
    assert sorted(found.rows) == ["crm__customer", "odd schema__customer", "sale"]
    assert found.said("crm__customer: the table crm.customer") and found.rows["sale"]["customer"] == [1, 0]


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        ("CREATE SCHEMA crm;\nCREATE TABLE crm.a (id int)", {}, "'public' has no table to import.*--schemas crm"),
        ("CREATE TABLE a (id int)", {"schemas": ("gone",)}, r"--schemas: no table in \['gone'\].*\['public'\]"),
        ("CREATE TABLE a (id int)", {"views": ("gone",)}, r"--views: no view \['gone'\]"),
        (
            "CREATE TABLE a (id int);\nALTER TABLE a ENABLE ROW LEVEL SECURITY;\n"
            "DROP ROLE IF EXISTS reader;\nCREATE ROLE reader LOGIN;\nGRANT SELECT ON a TO reader",
            {},
            "'a', after row 0 .*row-level security",
        ),
        (
            "CREATE TABLE a (id int);\nDROP ROLE IF EXISTS reader;\nCREATE ROLE reader LOGIN",
            {},
            "'a', after row 0 .*permission denied",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(
    postgresql: str, tmp_path: Path, script: str, options: dict[str, Any], message: str
) -> None:
    execute(postgresql, script)
    source = postgresql.replace("tester@", "reader@") if "reader" in script else postgresql
    with pytest.raises(ImportRefused, match=message):
        imported(source, tmp_path / "out", **options)
    if "reader" in script:
        execute(postgresql, "REVOKE ALL ON a FROM reader;\nDROP ROLE reader")


NOW = pd.Timestamp("2020-02-01 10:00")
EXACT: list[tuple[str, str, Any]] = [
    ("text[]", "ARRAY['a', NULL, 'b']", ["a", None, "b"]),
    ("int[]", "'{1,2}'", ["1", "2"]),
    ("varchar(3)[]", "'{}'", []),
    ("mood", "'glad'", "glad"),
    ("mood[]", "'{glad,sad}'", ["glad", "sad"]),
    ("positive", "7", 7),
    ("email", "'a@b'", "a@b"),
    ("json", "'{\"a\": 1}'", '{"a": 1}'),
    ("jsonb", "'[1, 2]'", "[1, 2]"),
    ("int4range", "'[1,10)'", "[1,10)"),
    ("tstzrange", "'[2020-01-01 00:00+00,)'", '["2020-01-01 00:00:00+00",)'),
    ("interval", "'1 day 02:00'", 93_600.0),
    ("interval", "'1 month'", 2_592_000.0),
    ("money", "'$1,234.50'", 1234.5),
    ("bit(3)", "B'101'", "101"),
    ("varbit", "B'1'", "1"),
    ("uuid", "'aaaaaaaa-0000-0000-0000-000000000000'", "aaaaaaaa-0000-0000-0000-000000000000"),
    ("inet", "'10.0.0.1/8'", "10.0.0.1/8"),
    ("cidr", "'10.0.0.0/8'", "10.0.0.0/8"),
    ("macaddr", "'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
    ("xml", "'<a/>'", "<a/>"),
    ("numeric(20)", "12345678901234567890", "12345678901234567890"),
    ("numeric(20)", "9223372036854775807", 2**63 - 1),
    ("numeric(5)", "123", 123),
    ("numeric(10, 2)", "1.25", 1.25),
    ("numeric", "0.1", 0.1),
    ("float4", "0.1", 0.10000000149011612),
    ("float8", "1e300", 1e300),
    ("bigint", "9007199254740993", 9007199254740993),
    ("oid", "4294967295", 4294967295),
    ("timestamptz", "'2020-02-01 12:00+02'", NOW),
    ("timestamp", "'2020-02-01 10:00'", NOW),
    ("date", "'1677-10-01'", pd.Timestamp("1677-10-01")),
    ("time", "'08:30'", "08:30:00"),
    ("timetz", "'08:30+02'", "08:30:00+02"),
    ("char(4)", "'ab'", "ab"),
    ("text", "'100% \\n {} : ž'", "100% \\n {} : ž"),
    ("int GENERATED ALWAYS AS (id * 2) STORED", "DEFAULT", 2),
]


@pytest.fixture(scope="module")
def exact(postgresql_server: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The columns of an import of one table that has all these types."""
    execute(postgresql_server.url("postgres"), "CREATE DATABASE exact")
    source = postgresql_server.url("exact")
    columns = ", ".join(f'"the % : {{}} {number}" {sql_type}' for number, (sql_type, _, _) in enumerate(EXACT))
    literals = ", ".join(literal for _, literal, _ in EXACT)
    execute(
        source,
        "CREATE TYPE mood AS ENUM ('glad', 'sad');\nCREATE DOMAIN positive AS int CHECK (value > 0);\n"
        "CREATE DOMAIN address AS text;\nCREATE DOMAIN email AS address;\n"
        f"CREATE TABLE t (id int PRIMARY KEY, at timestamp, {columns});\n"
        f"INSERT INTO t VALUES (1, '2020-01-01', {literals});\nINSERT INTO t (id, at) VALUES (2, '2020-02-01')",
    )
    return imported(source, tmp_path_factory.mktemp("exact") / "out", time_cols={"t": "at"}).rows["t"]


@pytest.mark.parametrize("number", range(len(EXACT)), ids=[f"{t} {literal}" for t, literal, _ in EXACT])
def test_values_are_exact(exact: dict[str, list[Any]], number: int) -> None:
    _, literal, expected = EXACT[number]
    values = exact[f"the % : {{}} {number}"]
    assert values == [expected, 4 if literal == "DEFAULT" else None] and type(values[0]) is type(expected)


@pytest.mark.parametrize("sql_type", ["bytea", "float8[]", "point", "tsvector", "pair", "bytea[]"])
def test_types_without_a_meaning_here_are_left_out_and_said(postgresql: str, tmp_path: Path, sql_type: str) -> None:
    execute(
        postgresql,
        f"CREATE TYPE pair AS (a int, b int);\nCREATE TABLE t (id int PRIMARY KEY, at date, v {sql_type});\n"
        "INSERT INTO t VALUES (1, '2020-01-01', NULL)",
    )
    found = imported(postgresql, tmp_path / "out")
    shown = "double precision[]" if sql_type == "float8[]" else sql_type
    assert sorted(found.rows["t"]) == ["at", "id"] and found.said(f"t.v: left out, type {shown} is not supported")


@pytest.mark.parametrize(
    ("sql_type", "literal", "got"),
    [
        ("timestamptz", "'infinity'", "str 'infinity'"),
        ("timestamp", "'-infinity'", "str '-infinity'"),
        ("date", "'infinity'", "str 'infinity'"),
        ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
        ("timestamp", "'20000-01-01'", "20000-01-01"),
        ("numeric", "12345678901234567891", "Decimal"),
        ("int[]", "'{{1,2},{3,4}}'", r"list \[\['1', '2'\]"),
    ],
)
def test_values_that_no_column_holds_are_refused_with_their_row(
    postgresql: str, tmp_path: Path, sql_type: str, literal: str, got: str
) -> None:
    execute(
        postgresql,
        f"CREATE TABLE t (id int PRIMARY KEY, at timestamp, v {sql_type});\n"
        f"INSERT INTO t SELECT i, '2020-01-01', NULL FROM generate_series(1, 5) i;\nUPDATE t SET v = {literal} WHERE id = 4",
    )
    with pytest.raises(
        ImportRefused, match=rf"'t', column 'v', row 3 of the source \({{'id': 4}}\).*{got}(.|\n)*--exclude t.v"
    ):
        imported(postgresql, tmp_path / "out", time_cols={"t": "at"})


def test_keys_of_bytes_and_of_numbers_without_a_scale_link(postgresql: str, tmp_path: Path) -> None:
    execute(
        postgresql,
        "CREATE TABLE a (id bytea PRIMARY KEY, n numeric UNIQUE);\nCREATE TABLE b (a bytea REFERENCES a, n numeric REFERENCES a (n), at date);\n"
        "INSERT INTO a VALUES ('\\x00ff', 9007199254740993), ('\\x01', 9007199254740992);\n"
        "INSERT INTO b VALUES ('\\x01', 9007199254740993, '2020-01-01'), (NULL, 9007199254740992, '2020-02-01')",
    )
    rows = imported(postgresql, tmp_path / "out").rows
    assert (rows["b"]["a"], rows["b"]["n"]) == ([1, None], [0, 1])


def test_a_number_that_is_none_is_null_to_the_model(postgresql: str, tmp_path: Path) -> None:
    execute(
        postgresql,
        "CREATE TABLE t (id int PRIMARY KEY, at date, v numeric);\nINSERT INTO t VALUES (1, '2020-01-01', 'NaN')",
    )
    assert math.isnan(imported(postgresql, tmp_path / "out").rows["t"]["v"][0])


def test_an_import_leaves_no_password_behind(postgresql: str, tmp_path: Path) -> None:
    execute(postgresql, "CREATE TABLE t (id int PRIMARY KEY, at date);\nINSERT INTO t VALUES (1, '2020-01-01')")
    from distributed.__main__ import main

    source = postgresql.replace("tester@", "tester:hunter2@") + "&sslpassword=hunter2"
    words = [
        "import",
        "--source",
        source,
        "--out",
        str(tmp_path / "out"),
        "--name",
        "x",
        "--runs-dir",
        str(tmp_path / "runs"),
    ]
    assert main([*words, "--val-timestamp", "2020-01-15", "--test-timestamp", "2020-02-15"]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"hunter2" in path.read_bytes()]
