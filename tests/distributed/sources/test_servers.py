"""Imports from real PostgreSQL and MariaDB servers, which these tests start and stop themselves (`make test-servers`).

A server that is not installed fails these tests: a tier that skips tells nothing. On Debian: `apt-get install postgresql mariadb-server`.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused

pytestmark = pytest.mark.servers
START_LIMIT_S = 60.0


def config(source: str, out: Path, **options: Any) -> ImportConfig:
    cutoffs = {"val_timestamp": "2020-01-15", "test_timestamp": "2020-02-15"}
    return ImportConfig(source=source, out=out, name="server", **cutoffs, **options)


def program(name: str, *folders: str) -> Path:
    """Returns the path of a server's program; fails the test where it is not installed."""
    found = [path for folder in folders for path in sorted(Path("/").glob(f"{folder}/{name}"))]
    found += [Path(path)] if (path := shutil.which(name)) else []
    if not found:
        pytest.fail(f"{name} is not installed; on Debian: apt-get install postgresql mariadb-server", pytrace=False)
    return found[0]


def as_user(user: str) -> list[str]:
    """Returns the prefix of a command that runs as this user: servers refuse to run as root."""
    return [str(program("runuser")), "-u", user, "--"] if os.geteuid() == 0 else []


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder for a server's data and socket: not below tmp_path, which is closed to other users and too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="sql-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def postgresql(base: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server that listens on a socket only."""
    initdb, pg_ctl = (program(name, "usr/lib/postgresql/*/bin") for name in ("initdb", "pg_ctl"))
    user = as_user("postgres")
    if user:
        shutil.chown(base, "postgres")

    def call(*command: str) -> None:
        subprocess.run([*user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=START_LIMIT_S)

    data, log = str(base / "data"), str(base / "log")
    call(str(initdb), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
    options = f"-c listen_addresses='' -k {base} -c fsync=off -c timezone=America/New_York"
    call(str(pg_ctl), "-D", data, "-l", log, "-w", "-o", options, "start")
    yield f"postgresql+psycopg://tester@/postgres?host={base}"
    call(str(pg_ctl), "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def mariadb(base: Path) -> Iterator[str]:
    """The URL of a MariaDB server that listens on a socket only."""
    install = program("mariadb-install-db", "usr/bin", "usr/local/*/scripts")
    server = program("mariadbd", "usr/sbin", "usr/libexec")
    user = as_user("mysql")
    if user:
        shutil.chown(base, "mysql")
    data, socket = base / "data", base / "socket"
    owner = "mysql" if user else getpass.getuser()
    options = [f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db", f"--user={owner}"]
    subprocess.run(
        [*user, str(install), "--no-defaults", *options],
        check=True,
        capture_output=True,
        cwd="/",
        timeout=START_LIMIT_S,
    )
    command = [str(server), "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--skip-networking"]
    command += [f"--pid-file={base / 'pid'}", "--default-time-zone=-05:00", f"--log-error={base / 'log'}"]
    with subprocess.Popen([*user, *command], cwd="/") as process:
        try:
            give_up_s = time.monotonic() + START_LIMIT_S
            while not socket.exists():
                assert process.poll() is None and time.monotonic() < give_up_s, (base / "log").read_text()
                time.sleep(0.1)
            url = sa.URL.create(
                "mysql+pymysql",
                username="root",
                database="mysql",
                query={"unix_socket": str(socket), "charset": "utf8mb4"},
            )
            engine = sa.create_engine(url)
            with engine.begin() as connection:
                connection.exec_driver_sql("CREATE DATABASE company CHARACTER SET utf8mb4")
            engine.dispose()
            yield url.set(database="company").render_as_string(hide_password=False)
        finally:
            stop = [
                str(program("mariadb-admin", "usr/bin")),
                "--no-defaults",
                f"--socket={socket}",
                "-u",
                "root",
                "shutdown",
            ]
            subprocess.run([*user, *stop], check=True, cwd="/", timeout=START_LIMIT_S)


def execute(url: str, script: str) -> None:
    """Runs the statements of a script, which end with a semicolon at the end of a line."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in script.strip().removesuffix(";").split(";\n"):
            connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()


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
