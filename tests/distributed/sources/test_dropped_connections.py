"""Servers that drop the connection in the middle of an import: everything is read again, three times at most, each said; then it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from distributed.schema.table_plan import plan_tables
from distributed.sources import source as source_module
from distributed.sources.source import ConnectionDropped
from distributed.sources.sql_source import SqlSource
from tests.distributed.sources.imports import config, imported
from tests.distributed.sources.servers import PostgreSQL, execute, server_folder

pytestmark = pytest.mark.servers

SALES = """
CREATE TABLE sale (id int PRIMARY KEY, at timestamp, note text);
INSERT INTO sale SELECT i, timestamp '2020-01-01' + i * interval '1 hour', repeat('x', 100) FROM generate_series(1, 5000) i;
CREATE TABLE unkeyed AS SELECT * FROM sale;
"""
# Whoever reads this view while the file `bomb` is in the server's folder is thrown out by the server.
BOMB = """
CREATE VIEW tick AS SELECT id, at, CASE WHEN id = 2500 AND (pg_stat_file('bomb', true)).size IS NOT NULL
    THEN pg_terminate_backend(pg_backend_pid()) END AS late FROM sale;
"""


class Drops:
    """Counts the drops that an import tells of, and lets the server alone after `allowed`."""

    def __init__(self, bomb: Path, allowed: int) -> None:
        self.bomb, self.allowed = bomb, allowed
        self.lines: list[str] = []
        bomb.touch()

    def __call__(self, line: str) -> None:
        if line.startswith("the connection was dropped"):
            self.lines.append(line)
            if len(self.lines) == self.allowed:
                self.bomb.unlink()


@pytest.fixture
def bomb(postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(source_module, "WAITS_S", (0.01, 0.01, 0.01))
    path = postgresql_server.folder / "data" / "bomb"
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("num_drops", [1, 3])
def test_a_dropped_connection_is_read_again_and_said(
    postgresql: str, tmp_path: Path, bomb: Path, num_drops: int
) -> None:
    execute(postgresql, SALES + BOMB)
    drops = Drops(bomb, num_drops)
    options = {"views": ("tick",), "batch_rows": 500}
    import_database(config(postgresql, tmp_path / "out", **options), drops)
    assert (
        len(drops.lines) == num_drops and f"({num_drops} of 3" in drops.lines[-1] and "table 'tick'" in drops.lines[-1]
    )
    # What was read before the drop is not there twice.
    whole = imported(postgresql, tmp_path / "whole", **options)
    assert len(whole.rows["tick"]["id"]) == len(whole.rows["sale"]["id"]) == 5000
    for name in ("tick", "sale", "unkeyed"):
        path = Path("db") / f"{name}.parquet"
        assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_a_connection_that_is_dropped_a_fourth_time_is_refused(postgresql: str, tmp_path: Path, bomb: Path) -> None:
    execute(postgresql, SALES + BOMB)
    drops = Drops(bomb, 4)
    with pytest.raises(ImportRefused, match="dropped 4 times, the last time: table 'tick', after row .*--tables"):
        import_database(config(postgresql, tmp_path / "out", views=("tick",)), drops)
    assert len(drops.lines) == 3 and not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def batches(source: SqlSource, table: str) -> Iterator[pa.RecordBatch]:
    return source.batches(plan_tables(source.schemas(), tables=None, exclude=())[table])


@pytest.mark.parametrize("table", ["sale", "unkeyed"])
def test_a_backend_that_is_ended_between_two_batches_is_a_drop(postgresql: str, table: str) -> None:
    execute(postgresql, SALES)
    with SqlSource(postgresql, 1000) as source:
        found = batches(source, table)
        assert next(found).num_rows == 1000
        execute(
            postgresql,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
        )
        with pytest.raises(ConnectionDropped, match=f"table '{table}', after row 1000 of the source"):
            list(found)


@pytest.mark.parametrize("table", ["sale", "unkeyed"])
def test_a_thread_of_mariadb_that_is_killed_between_two_batches_is_a_drop(mariadb: str, table: str) -> None:
    execute(
        mariadb,
        "CREATE TABLE sale (id int PRIMARY KEY, at datetime, note varchar(200));\n"
        "INSERT INTO sale SELECT seq, timestampadd(HOUR, seq, '2020-01-01'), repeat('x', 200) FROM seq_1_to_50000;\n"
        "CREATE TABLE unkeyed SELECT * FROM sale",
    )
    with SqlSource(mariadb, 1000) as source:
        found = batches(source, table)
        assert next(found).num_rows == 1000
        number = source._connection.connection.dbapi_connection.thread_id()  # type: ignore[union-attr]
        execute(mariadb, f"KILL {number}")
        with pytest.raises(ConnectionDropped, match=f"table '{table}', after row"):
            list(found)


def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    with server_folder("postgres") as folder:
        server = PostgreSQL(folder)
        server.start()
        execute(server.url("postgres"), SALES)
        source = SqlSource(server.url("postgres"), 1000)
        with source:
            found = batches(source, "sale")
            next(found)
            server.stop()
            with pytest.raises(ConnectionDropped):
                list(found)
        with pytest.raises(ConnectionDropped, match="does not take a new one"), source:
            pass
        server.start()
        with source:
            assert sum(batch.num_rows for batch in batches(source, "sale")) == 5000
        server.stop()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_all_tables_are_of_one_moment_and_nothing_can_be_written(kind: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(kind)
    execute(
        url,
        "CREATE TABLE a (id int PRIMARY KEY);\nCREATE TABLE b (n int);\nINSERT INTO a VALUES (1);\nINSERT INTO b VALUES (1)",
    )
    with SqlSource(url, 10) as source:
        plans = plan_tables(source.schemas(), tables=None, exclude=())
        assert sum(batch.num_rows for batch in source.batches(plans["a"])) == 1
        execute(url, "INSERT INTO a VALUES (2);\nINSERT INTO b VALUES (2)")
        assert [sum(batch.num_rows for batch in source.batches(plans[name])) for name in ("a", "b")] == [1, 1]
        with pytest.raises(Exception, match=r"(?i)read.only"):
            source._connection.exec_driver_sql("DELETE FROM a")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
@pytest.mark.parametrize("table", ["keyed", "unkeyed"])
def test_long_rows_come_in_short_batches(kind: str, table: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(kind)
    numbers = "generate_series(1, 120) s (seq)" if kind == "postgresql" else "seq_1_to_120"
    key = "PRIMARY KEY" if table == "keyed" else ""
    execute(
        url,
        f"CREATE TABLE {table} (id int {key}, v {'text' if kind == 'postgresql' else 'longtext'});\n"
        f"INSERT INTO {table} SELECT seq, repeat('x', 2000000) FROM {numbers}",
    )
    with SqlSource(url, 50) as source:
        found = [batch.num_rows for batch in batches(source, table)]
    assert found[0] == 50 and max(found[1:]) <= 33 and sum(found) == 120
