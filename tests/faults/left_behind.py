"""Finds what a Ray session left behind: placement groups that nobody removed, processes, files in /dev/shm that no process holds."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

import psutil
import ray
from ray.util import placement_group_table

SETTLE_S = 20.0
"""Time that Ray's own processes get to end after the session."""


def open_placement_groups(address: str) -> list[str]:
    """Returns the placement groups that nobody removed."""
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    table = placement_group_table()
    ray.shutdown()
    return [f"placement group {i} {g['state']}" for i, g in table.items() if g["state"] != "REMOVED"]


def left_processes(session: str) -> list[str]:
    """Returns the session's processes that are left after they had time to end."""
    end_s, left = time.monotonic() + SETTLE_S, list[str]()
    while time.monotonic() < end_s:
        left = [
            f"process {p.pid} {title(p)[:80]}"
            for p in psutil.process_iter()
            if p.pid != os.getpid() and _is_of(p, session)
        ]
        if not left:
            break
        time.sleep(0.5)
    return left


def left_in_memory(before: set[str]) -> list[str]:
    """Returns the files in /dev/shm that are new and that no process holds."""
    new = {p.name for p in Path("/dev/shm").iterdir()} - before
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            text = maps.read_text() if new else ""
            new -= {name for name in new if f"/dev/shm/{name}" in text}
    return [f"/dev/shm/{name}" for name in sorted(new)]


def _is_of(process: psutil.Process, session: str) -> bool:
    """Tells by the command line, or by the session's files that the process holds: Ray renames its workers."""
    try:
        return session in title(process) or any(session in file.path for file in process.open_files())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def title(process: psutil.Process) -> str:
    """Returns a process's command line; "" once it has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
