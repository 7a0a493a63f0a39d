"""Reads the files that W&B's client leaves of an offline run."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2


def written(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Yields the records of a .wandb file: a LevelDB log (7-byte header; 32 KB blocks; crc32, length, type 1-4, data)."""
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):  # still being written
            return
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def records(path: Path, timeout_s: float = 20.0) -> list[wandb_internal_pb2.Record]:
    """Returns all records of a closed run: W&B's service may write the last of them a moment after finish() has returned."""
    end = time.monotonic() + timeout_s
    found = list(written(path))
    while not any(r.WhichOneof("record_type") == "exit" for r in found) and time.monotonic() < end:
        time.sleep(0.05)
        found = list(written(path))
    return found


def logged(path: Path) -> list[dict[str, float]]:
    """Returns the metrics of each step."""
    rows = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append({k: v for k, v in items.items() if k == "_step" or not k.startswith("_")})
    return rows
