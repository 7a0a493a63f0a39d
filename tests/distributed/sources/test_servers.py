"""Imports from real PostgreSQL and MariaDB servers, which these tests start and stop themselves (`make test-servers`).

A server that is not installed fails these tests: a tier that skips tells nothing. On Debian: `apt-get install postgresql mariadb-server`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from tests.distributed.sources.servers import execute

pytestmark = pytest.mark.servers


def config(source: str, out: Path, **options: Any) -> ImportConfig:
    cutoffs = {"val_timestamp": "2020-01-15", "test_timestamp": "2020-02-15"}
    return ImportConfig(source=source, out=out, name="server", **cutoffs, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of all files of an import but its report, which holds times of the clock and types of the source."""
    reports = ("import.json", "report.html")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in reports]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


POSTGRESQL = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN email AS text;
CREATE TABLE person (id uuid PRIMARY KEY, nick email UNIQUE, mood mood, boss uuid REFERENCES person, face bytea);
CREATE TABLE "order" (id numeric(20) PRIMARY KEY, buyer uuid REFERENCES person, nick text REFERENCES person (nick),
    at timestamptz, price numeric(8, 2), more jsonb, ok boolean, tags text[], big bigint, opens time);
CREATE VIEW seen AS SELECT * FROM "order";
INSERT INTO person VALUES ('bbbbbbbb-0000-0000-0000-000000000000', 'b@x', 'sad', NULL, 'x'),
    ('aaaaaaaa-0000-0000-0000-000000000000', 'a@x', 'glad', 'bbbbbbbb-0000-0000-0000-000000000000', NULL);
INSERT INTO "order" VALUES
    (9007199254740993, 'aaaaaaaa-0000-0000-0000-000000000000', 'b@x', '2020-02-01 12:00+02', 1.25, '{"b": 1}', true,
     '{a}', 9007199254740993, '08:30'),
    (9007199254740992, NULL, NULL, '2020-01-01 00:00+00', NULL, NULL, NULL, NULL, NULL, NULL);
"""


def test_postgresql_gives_keys_times_and_types_exactly_and_twice_the_same_bytes(
    postgresql: str, tmp_path: Path
) -> None:
    execute(postgresql, POSTGRESQL)
    report = import_database(config(postgresql, tmp_path / "out", batch_rows=1), None)
    person = pq.read_table(tmp_path / "out" / "db" / "person.parquet").to_pydict()
    assert person == {"id": [0, 1], "nick": ["a@x", "b@x"], "mood": ["glad", "sad"], "boss": [1, None]}
    order = pq.read_table(tmp_path / "out" / "db" / "order.parquet").to_pydict()
    assert order["at"] == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-02-01 10:00")]  # UTC, not the server's zone
    assert (order["buyer"], order["nick"], order["ok"]) == ([None, 0], [None, 1], [None, True])
    assert (order["price"], order["more"], order["opens"]) == ([None, 1.25], [None, '{"b": 1}'], [None, "08:30:00"])
    assert order["big"] == [None, 9007199254740993]
    keys = pq.read_table(tmp_path / "out" / "keys" / "order.parquet")["source_key"].to_pylist()
    assert keys == [9007199254740992, 9007199254740993]  # a float would have merged them
    assert order["tags"] == [None, ["a"]]
    assert list(report.tables["person"].left_out) == ["face"] and sorted(report.tables) == ["order", "person"]
    import_database(config(postgresql, tmp_path / "again"), None)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    # A time that Python cannot hold is named, not turned into a traceback of the driver.
    execute(postgresql, "UPDATE \"order\" SET at = 'infinity' WHERE ok")
    with pytest.raises(ImportRefused, match="table 'order', column 'at', row 1 of the source .*got str 'infinity'"):
        import_database(config(postgresql, tmp_path / "infinite"), None)


MARIADB = """
CREATE TABLE person (id varchar(20) PRIMARY KEY, mood enum('glad', 'sad'), boss varchar(20), face blob,
    FOREIGN KEY (boss) REFERENCES person (id));
CREATE TABLE `order` (id decimal(20) PRIMARY KEY, buyer varchar(20), at datetime, price decimal(8, 2), ok boolean,
    big bigint, opens time, FOREIGN KEY (buyer) REFERENCES person (id));
CREATE VIEW seen AS SELECT * FROM `order`;
INSERT INTO person VALUES ('a', 'glad', NULL, NULL), ('b', 'sad', 'a', 'x');
INSERT INTO `order` VALUES (9007199254740993, 'b', '2020-02-01 10:00', 1.25, true, 9007199254740993, '08:30'),
    (9007199254740992, NULL, '2020-01-01', NULL, NULL, NULL, NULL);
"""


def test_mariadb_gives_keys_times_and_types_exactly_and_twice_the_same_bytes(mariadb: str, tmp_path: Path) -> None:
    execute(mariadb, MARIADB)
    report = import_database(config(mariadb, tmp_path / "out", batch_rows=1), None)
    person = pq.read_table(tmp_path / "out" / "db" / "person.parquet").to_pydict()
    assert person == {"id": [0, 1], "mood": ["glad", "sad"], "boss": [None, 0]}
    order = pq.read_table(tmp_path / "out" / "db" / "order.parquet").to_pydict()
    assert order["at"] == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-02-01 10:00")]  # a DATETIME has no zone
    assert (order["buyer"], order["price"]) == ([None, 1], [None, 1.25])
    assert order["big"] == [None, 9007199254740993]
    keys = pq.read_table(tmp_path / "out" / "keys" / "order.parquet")["source_key"].to_pylist()
    assert keys == [9007199254740992, 9007199254740993]
    assert list(report.tables["person"].left_out) == ["face"] and sorted(report.tables) == ["order", "person"]
    import_database(config(mariadb, tmp_path / "again"), None)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
