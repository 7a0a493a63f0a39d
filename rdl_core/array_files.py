"""Arrays as .npy files that are written block by block, in any order and by several threads; the bytes are those of `numpy.save`.

A file that is written takes no memory of the process, as a map of it would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import DTypeLike, NDArray


class ArrayWriter:
    """A new .npy file of a known shape, zero where nothing is written; a context manager.

    Args:
        path: The file.
        dtype, shape: Those of the array.

    Raises:
        OSError: The disk is full.
    """

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self._row_bytes = self.dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        with path.open("wb") as file:
            about = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, about)
            self._begin = file.tell()
            file.truncate(self._begin + self._row_bytes * shape[0])
        self._descriptor = os.open(path, os.O_WRONLY)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def write(self, begin: int, rows: NDArray) -> None:
        """Writes rows from row `begin` on."""
        data = np.ascontiguousarray(rows, self.dtype).reshape(-1).view(np.uint8).data
        at = self._begin + begin * self._row_bytes
        while len(data):
            written = os.pwrite(self._descriptor, data, at)
            data, at = data[written:], at + written


def read_rows(path: Path, begin: int, end: int) -> NDArray:
    """Returns the rows [begin, end) of an array on the disk, read and not mapped."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        row_items = int(np.prod(shape[1:], dtype=np.int64))
        file.seek(begin * row_items * dtype.itemsize, os.SEEK_CUR)
        return np.fromfile(file, dtype, (end - begin) * row_items).reshape(end - begin, *shape[1:])


def read_blocks(path: Path, block_rows: int) -> Iterator[tuple[int, NDArray]]:
    """Yields (first row, rows) of an array on the disk, `block_rows` at a time."""
    num_rows = np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None).shape[0]
    for begin in range(0, num_rows, block_rows):
        yield begin, read_rows(path, begin, min(begin + block_rows, num_rows))
