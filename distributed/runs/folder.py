"""Run folders: what a run is called and what it leaves.

    runs/stores/<database>-<hash>/   REG stores, shared by runs
    runs/<run name>/config.json      command and complete configuration
    runs/<run name>/result.json      what the command found, written last
    runs/<run name>/held             locked by the process that drives the run, and says which

Promises: the default name follows from command, data and configuration, so that the same command continues or finds its run; a name that exists
with another configuration is refused with the difference; two processes never drive one run; files are replaced as a whole. A command that
is refused before its work begins leaves no run folder.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.cannot_run import CannotRun
from distributed.console import say
from rdl_core.atomic_write import replace_file
from rdl_core.file_names import EXPECTED_NAME, is_file_name

SKELETON = {"config.json", "held", "wandb_id"}
"""Files of a run folder before work begins."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: runs/<run name>.
    """

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def result(self) -> dict[str, Any] | None:
        """Returns the result of a finished run, None of another."""
        path = self.folder / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Writes result.json, with the run's folder, and returns what it holds."""
        result = {"run": str(self.folder), **result}
        write_json(self.folder / "result.json", result)
        return result


def open_run(runs_dir: Path, name: str | None, command: str, data: str, config: Mapping[str, Any]) -> Run:
    """Returns the run of this command, data and configuration; made or continued.

    Args:
        name: None: made of command, database, task and arm (if there are), and a hash.

    Raises:
        ValueError: The name would lead out of `runs_dir`.
        FileExistsError: The name is taken by another configuration.
    """
    if name is not None and not is_file_name(name):
        raise ValueError(f"--run-name {name!r} (a sweep's --name): expected a folder's name ({EXPECTED_NAME})")
    config = json.loads(json.dumps({"command": command, "data": Path(data).name, **config}, default=str))
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
    parts = (command, Path(data).name, config.get("task"), config.get("arm"), digest)
    folder = runs_dir / (name or "-".join(part for part in parts if part))
    path = folder / "config.json"
    if path.exists():
        differences = describe_differences(json.loads(path.read_text()), config)
        if differences:
            shown = "\n  ".join(differences[:12])
            raise FileExistsError(
                f"run {folder.name!r} exists with another configuration (there -> now):\n  {shown}\n"
                f"Remedy: the options as they were, another name, or delete {folder}"
            )
    else:
        if not folder.exists():
            _made.append((folder, not runs_dir.exists()))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, config)
    return Run(folder)


_made: list[
    tuple[Path, bool]
] = []  # run folders that this process made, and whether it made the folder of all runs, too


def remove_unused_runs() -> None:
    """Removes the run folders that this process made and in which no work began: of a command that was refused."""
    while _made:
        folder, is_first = _made.pop()
        if folder.is_dir():
            with suppress(CannotRun), held(folder):  # if another process drives it, the folder is that one's
                if {path.name for path in folder.iterdir()} <= SKELETON:
                    shutil.rmtree(folder)
        if is_first:
            with suppress(OSError):  # another process has made a run in it
                folder.parent.rmdir()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes from driving a run while the body runs, also on other hosts where the shared storage has locks (NFS 4 has).

    The lock goes with the process, however it ends.

    Raises:
        CannotRun: Another process drives it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "held", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode() or "another process"
        raise CannotRun(
            f"run {folder.name!r} is being driven by {holder}.\n"
            f"Remedy: wait for it (the same command then finds its result), or take another name"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        say(f"the storage of {folder} has no locks: do not start this command twice at a time")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def describe_differences(old: Any, new: Any, at: str = "") -> list[str]:
    """Returns one line for each differing leaf: "pretraining.max_steps: 100 -> 200"."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(k for k in new if k not in old)]:
            lines += describe_differences(
                old.get(key, "(not set)"), new.get(key, "(not set)"), f"{at}.{key}".lstrip(".")
            )
        return lines
    return [] if old == new else [f"{at}: {old} -> {new}"]


def write_json(path: Path, value: Any) -> None:
    """Replaces a file by a value as JSON; what JSON has no form for is written as text."""
    with replace_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, default=str) + "\n")
