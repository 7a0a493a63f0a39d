"""One server of a kind for all tests of a session; each test has a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.distributed.sources.servers import MariaDB, PostgreSQL, execute, server_folder

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    with server_folder("postgres") as folder:
        server = PostgreSQL(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    with server_folder("mysql") as folder:
        server = MariaDB(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> str:
    """The URL of an empty PostgreSQL database."""
    database = f"db{next(_NUMBERS)}"
    execute(postgresql_server.url("postgres"), f"CREATE DATABASE {database}")
    return postgresql_server.url(database)


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> str:
    """The URL of an empty MariaDB database."""
    database = f"db{next(_NUMBERS)}"
    execute(mariadb_server.url("mysql"), f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
    return mariadb_server.url(database)
