"""Real PostgreSQL and MariaDB servers, which listen on a socket only: started, stopped, and written to by tests.

A server that is not installed fails its tests: a tier that skips tells nothing. On Debian: `apt-get install postgresql mariadb-server`.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

START_LIMIT_S = 60.0


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


@contextmanager
def server_folder(user: str) -> Iterator[Path]:
    """A folder for a server's data and socket: not below tmp_path, which is closed to other users and too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="sql-"))
    if as_user(user):
        shutil.chown(folder, user)
    yield folder
    shutil.rmtree(folder)


class PostgreSQL:
    """A PostgreSQL server; its time zone is not UTC, so that a lost zone shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = as_user("postgres")
        initdb, self.pg_ctl = (str(program(name, "usr/lib/postgresql/*/bin")) for name in ("initdb", "pg_ctl"))
        options = ["-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        self._call(initdb, "-D", str(folder / "data"), *options)

    def _call(self, *command: str) -> None:
        subprocess.run([*self.user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=START_LIMIT_S)

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off -c timezone=America/New_York"
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._call(self.pg_ctl, "-D", data, "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        self._call(self.pg_ctl, "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://tester@/{database}?host={self.folder}"


class MariaDB:
    """A MariaDB server; its time zone is not UTC, so that a lost zone shows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "socket"
        self.user = as_user("mysql")
        self.server = program("mariadbd", "usr/sbin", "usr/libexec")
        install = program("mariadb-install-db", "usr/bin", "usr/local/*/scripts")
        owner = "mysql" if self.user else getpass.getuser()
        options = [f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        command = [*self.user, str(install), "--no-defaults", *options, f"--user={owner}"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=START_LIMIT_S)

    def start(self) -> None:
        options = [f"--datadir={self.folder / 'data'}", f"--socket={self.socket}", "--skip-networking"]
        options += [f"--pid-file={self.folder / 'pid'}", "--default-time-zone=-05:00"]
        command = [*self.user, str(self.server), "--no-defaults", *options, f"--log-error={self.folder / 'log'}"]
        self.process = subprocess.Popen(command, cwd="/")
        give_up_s = time.monotonic() + START_LIMIT_S
        while not self.socket.exists():
            assert self.process.poll() is None and time.monotonic() < give_up_s, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        admin = str(program("mariadb-admin", "usr/bin"))
        command = [*self.user, admin, "--no-defaults", f"--socket={self.socket}", "-u", "root", "shutdown"]
        subprocess.run(command, check=True, cwd="/", timeout=START_LIMIT_S)
        self.process.wait(START_LIMIT_S)

    def url(self, database: str) -> str:
        query = {"unix_socket": str(self.socket), "charset": "utf8mb4"}
        url = sa.URL.create("mysql+pymysql", username="root", database=database, query=query)
        return url.render_as_string(hide_password=False)


def execute(url: str, script: str) -> None:
    """Runs the statements of a script, which end with a semicolon at the end of a line."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.begin() as connection:
        for statement in script.strip().removesuffix(";").split(";\n"):
            connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()
