"""Columns of rows that are computed once and read from the disk ever after, whichever run, arm, seed or process asks.

Promises: an answer is, byte for byte, what `Columns` itself gives; what another store, other settings or other code made is never taken, since the
folder is named by a digest of all three. Blocks are written whole or not at all; two processes that compute the same rows both write them, and
the answers are the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tasks.source import source_digest
from rdl_core.atomic_write import replace_folder
from rdl_core.config import ColumnsConfig
from rdl_core.graph.store import Store
from rdl_core.statistics.columns import Columns


class RememberedColumns(Columns):
    """Columns with a memory.

    Args:
        store, table, config: As of Columns.
        folder: Where answers lie, in a folder of their own.
    """

    def __init__(self, store: Store, table: str, config: ColumnsConfig, folder: Path) -> None:
        super().__init__(store, table, config)
        text = json.dumps([store.content_hash, table, dataclasses.asdict(config), source_digest()])
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]

    def __call__(
        self,
        rows: NDArray[np.int64],
        before_s: NDArray[np.int64],
        *,
        raw: bool = False,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> NDArray[np.float32]:
        """Returns the columns of rows at times, as Columns does."""
        rows, before_s = np.asarray(rows, np.int64), np.asarray(before_s, np.int64)
        blocks = [_Block.open(path) for path in sorted((self.folder / _kind(raw)).glob("*.block"))]
        asked, missing = np.stack([rows, before_s], axis=1), np.ones(len(rows), bool)
        for block in blocks:
            missing[missing] = block.places(asked[missing]) < 0
        if missing.any():
            new = np.unique(asked[missing], axis=0)
            values = super().__call__(new[:, 0], new[:, 1], raw=raw, advance=advance)
            blocks.append(self._write(new, values, raw))
        out = np.empty((len(rows), self.width), np.float32)
        for block in blocks:
            places = block.places(asked)
            found = places >= 0
            out[found] = block.values[places[found]]
        return out

    def _write(self, keys: NDArray[np.int64], values: NDArray[np.float32], raw: bool) -> _Block:
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:16]
        path = self.folder / _kind(raw) / f"{name}-{os.getpid()}.block"
        with replace_folder(path) as partial:
            np.save(partial / "keys.npy", keys)
            np.save(partial / "values.npy", values)
        return _Block.open(path)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Answers of one call.

    Args:
        keys: int64 [n, 2], rows and times, ascending, each once.
        values: float32 [n, width], mapped.
    """

    keys: NDArray[np.int64]
    values: NDArray[np.float32]

    @classmethod
    def open(cls, path: Path) -> _Block:
        return cls(np.load(path / "keys.npy"), np.load(path / "values.npy", mmap_mode="r"))

    def places(self, asked: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns where the block has what is asked for, -1 where it has not: int64 [asked]."""
        joined = np.concatenate([self.keys, asked])
        _, number = np.unique(joined, axis=0, return_inverse=True)
        place = np.full(len(joined), -1)
        place[number[: len(self.keys)]] = np.arange(len(self.keys))
        return place[number[len(self.keys) :]]


def _kind(raw: bool) -> str:
    return "raw" if raw else "standardised"
