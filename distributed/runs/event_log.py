"""EventLog: what happened, one JSON line per event, in a file that is only appended to.

    {"time_s": 1795281518.6, "event": "group", "workers": 2}

Promises: an event is on the disk, as one append, when `append` returns, so that a killed process or machine loses none that was appended; a line that
a crash or a full disk cut short is skipped, and spoils none after it.
"""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any


class EventLog:
    """The log in a file; any number of processes may append to it.

    Args:
        path: The file; the first event makes it, in a folder that must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **values: Any) -> dict[str, Any]:
        """Writes an event of now; returns it as `events` will.

        Raises:
            OSError: The disk is full; the event is then not in the log.
        """
        # A newline before it too: a crash may have cut the line before.
        text = json.dumps({"time_s": time.time(), "event": event, **values}, default=str)
        line = f"\n{text}\n".encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        entry: dict[str, Any] = json.loads(text)
        return entry

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """Returns all events, or those of one name, in the order in which they were appended."""
        if not self.path.exists():
            return []
        entries = [_entry(line) for line in self.path.read_bytes().splitlines()]
        return [entry for entry in entries if entry and (event is None or entry["event"] == event)]


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return entry
