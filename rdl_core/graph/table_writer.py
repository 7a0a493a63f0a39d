"""One table of a store, from its Parquet file: column by column, in bounded memory, by several threads.

Promises: the bytes depend on rows, settings and cutoff alone, not on threads or row groups; a thread holds one column at a time (`ColumnValues`), and
the cells of a row, which lie together on the disk, are brought together block by block; every distinct text is embedded once.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rdl_core.array_files import ArrayWriter, read_blocks, read_rows
from rdl_core.database.column_values import BATCH_ROWS, ColumnValues, read_column
from rdl_core.database.table_settings import StypeName
from rdl_core.graph.features import BLOCK, CellEncoder, column_donors, donor_arrays, encode_lists, vectors_of
from rdl_core.graph.schema import ColumnSchema, fit_column
from rdl_core.text.text_embedding import CHUNK_TEXTS, KeptTexts, chunks_of

_JOINED_BYTES = 4 << 20
_CELLS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "numerical": (np.float32, ()),
    "categorical": (np.int32, ()),
    "timestamp": (np.int16, (7,)),
    "embedding_code": (np.int32, ()),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WrittenColumn:
    """A column whose cells lie in a folder of its own; `num_unknown` values are no category; `texts` are still to be embedded."""

    schema: ColumnSchema
    folder: Path
    donors: tuple[NDArray, NDArray]
    num_unknown: int = 0
    texts: pa.Array | None = None


class TableWriter:
    """Fits and writes a table: `start` hands its columns to the threads, `finish` brings them together.

    Args:
        path: Its Parquet file.
        table: Its name, by which donors are drawn.
        keys: Columns that are no attributes.
        visible: bool [rows], rows up to the cutoff.
        known_by_cutoff: What takes its place in columns with late cells (feature_rows.py), by column.
        folder: Folder for the arrays, which is empty.
        texts: The embedder.
        threads: Threads that do the work.
        given: Schemas that take the place of fitted ones, by column, in their order: the others are left out. None: all are fitted.
        stypes: Semantic types that take the place of the rules, by column.
        earlier: Folder of the arrays of the first `num_earlier` rows, which were made with the given schemas: their cells and vectors are copied.
        advance: Called with a number of rows whenever a share of the work is done that corresponds to so many.
    """

    def __init__(
        self,
        path: Path,
        table: str,
        *,
        keys: Collection[str | None],
        visible: NDArray[np.bool_],
        folder: Path,
        texts: KeptTexts,
        threads: Executor,
        given: Mapping[str, ColumnSchema] | None = None,
        known_by_cutoff: Mapping[str, NDArray[np.bool_]] | None = None,
        stypes: Mapping[str, StypeName] | None = None,
        earlier: Path | None = None,
        num_earlier: int = 0,
        advance: Callable[[float], None] = lambda rows: None,
    ) -> None:
        self.earlier, self.num_earlier = earlier, num_earlier
        self.path, self.table, self.visible, self.folder = path, table, visible, folder
        self.texts, self.threads, self.given, self.advance = texts, threads, given, advance
        self.metadata = pq.read_metadata(path)
        names = [name for name in self.metadata.schema.to_arrow_schema().names if name not in keys]
        self.names = [*(given or ()), *(name for name in names if name not in (given or ()))]
        self.unknown_values: dict[str, int] = {}
        self.known_by_cutoff, self.stypes = known_by_cutoff or {}, stypes or {}
        self.columns: list[Future[_WrittenColumn | str]] = []

    def start(self) -> None:
        """Begins to write the columns."""
        self.columns = [self.threads.submit(self._write_column, i) for i in range(len(self.names))]

    def finish(self) -> tuple[tuple[ColumnSchema, ...], dict[str, str]]:
        """Returns the columns' schemas and why others were left out, when everything is written.

        Values that given categories lack are counted in `unknown_values`, by column.
        """
        found = {name: column.result() for name, column in zip(self.names, self.columns, strict=True)}
        written = [column for column in found.values() if isinstance(column, _WrittenColumn)]
        tasks: list[Future[None]] = []
        with ExitStack() as files:
            try:
                self._embed([c for c in written if c.schema.stype in ("text", "embedding")], files, tasks)
                for name in _CELLS:
                    columns = [c for c in written if BLOCK.get(c.schema.stype) == name]
                    if columns:
                        tasks.append(self.threads.submit(self._join, name, columns))
                for position, column in enumerate(c for c in written if c.schema.stype == "multicategorical"):
                    for name in ("offset", "values"):
                        (column.folder / f"{name}.npy").rename(self.folder / f"multicategorical_{position}_{name}.npy")
            finally:
                wait(tasks)  # before their files are closed
        for task in tasks:
            task.result()
        for name, array in donor_arrays([column.donors for column in written]).items():
            np.save(self.folder / f"{name}.npy", array)
        shutil.rmtree(self.folder / "columns", ignore_errors=True)
        if not self.names:
            self.advance(len(self.visible))
        if self.given is not None:
            self.unknown_values = {c.schema.name: c.num_unknown for c in written if c.num_unknown}
        left_out = {name: why for name, why in found.items() if isinstance(why, str)}
        return tuple(column.schema for column in written), left_out

    def _write_column(self, position: int) -> _WrittenColumn | str:
        name = self.names[position]
        values = read_column(self.path, name, self.metadata)
        schema = self._schema(name, values)
        if isinstance(schema, str):
            self.advance(len(values) / len(self.names))
            return schema
        folder = self.folder / "columns" / str(position)
        folder.mkdir(parents=True)
        donors = column_donors(schema, values, self._visible(name), self.table)
        num_unknown = 0
        if schema.stype == "multicategorical":
            for part, array in encode_lists(schema, values).items():
                np.save(folder / f"{part}.npy", array)
        else:
            dtype, shape = _CELLS[BLOCK[schema.stype]]
            encoder = CellEncoder(schema, values)
            num_unknown = encoder.num_unknown
            with ArrayWriter(folder / "cells.npy", dtype, (len(values), 1, *shape)) as cells:
                num_copied = self._copy_cells(schema, cells)
                for begin in range(num_copied, len(values), BATCH_ROWS):
                    cells.write(begin, encoder(begin, min(begin + BATCH_ROWS, len(values))))
        if schema.stype == "embedding":
            vectors = vectors_of(schema, values)
            with ArrayWriter(folder / "vectors.npy", np.float32, (len(vectors) + 1, schema.channels)) as file:
                file.write(1, vectors)
        self.advance(len(values) / len(self.names))
        texts = values.distinct if schema.stype == "text" else None
        return _WrittenColumn(schema=schema, folder=folder, donors=donors, num_unknown=num_unknown, texts=texts)

    def _copy_cells(self, schema: ColumnSchema, cells: ArrayWriter) -> int:
        """Copies the cells of the earlier rows of a column; returns how many they are."""
        if self.earlier is None or not self.num_earlier or self.given is None:
            return 0
        block = BLOCK[schema.stype]
        position = [c.name for c in self.given.values() if BLOCK.get(c.stype) == block].index(schema.name)
        for begin, rows in read_blocks(self.earlier / f"{block}.npy", BATCH_ROWS):
            cells.write(begin, np.ascontiguousarray(rows[:, position]))
        return self.num_earlier

    def _visible(self, name: str) -> NDArray[np.bool_]:
        """Returns which cells of a column are known up to the cutoff."""
        return self.known_by_cutoff.get(name, self.visible)

    def _schema(self, name: str, values: ColumnValues) -> ColumnSchema | str:
        if self.given is not None:
            return self.given.get(name, "not in the given schema")
        schema = fit_column(name, values, self._visible(name), self.stypes.get(name))
        if isinstance(schema, ColumnSchema) and schema.stype == "text":
            return dataclasses.replace(schema, channels=self.texts.embedder.channels)
        return schema

    def _embed(self, columns: list[_WrittenColumn], files: ExitStack, tasks: list[Future[None]]) -> None:
        """Adds the tasks that write the vectors of these columns, which are open in `files` until the tasks are done."""
        for position, column in enumerate(columns):
            path = self.folder / f"embedding_{position}.npy"
            if column.texts is None:
                (column.folder / "vectors.npy").rename(path)
                continue
            shape = (len(column.texts) + 1, column.schema.channels)
            vectors = files.enter_context(ArrayWriter(path, np.float32, shape))
            num_copied = self._copy_vectors(position, vectors)
            for begin, end in chunks_of(len(column.texts)):
                if end <= num_copied:
                    continue
                tasks.append(
                    self.threads.submit(self._embed_chunk, vectors, column.texts.slice(begin, end - begin), begin)
                )

    def _copy_vectors(self, position: int, vectors: ArrayWriter) -> int:
        """Copies the vectors of the earlier rows' texts, which come first; returns how many of them fill whole chunks.

        The last chunk may be larger now, and a vector of some embedders depends on its chunk in its last bits.
        """
        if self.earlier is None:
            return 0
        path, num_copied = self.earlier / f"embedding_{position}.npy", 0
        num_texts = np.load(path, mmap_mode="r").shape[0] - 1
        for begin, rows in read_blocks(path, BATCH_ROWS):
            vectors.write(begin, rows)
            num_copied = begin + len(rows) - 1
        assert num_copied == num_texts or not num_texts
        return num_texts - num_texts % CHUNK_TEXTS

    def _embed_chunk(self, vectors: ArrayWriter, texts: pa.Array, begin: int) -> None:
        vectors.write(begin + 1, self.texts.embed(texts.to_pylist()))  # row 0 is null

    def _join(self, name: str, columns: list[_WrittenColumn]) -> None:
        """Writes the cells of some columns as one array: [rows, columns, ...]."""
        paths = [column.folder / "cells.npy" for column in columns]
        target = self.folder / f"{name}.npy"
        if len(paths) == 1:
            paths[0].rename(target)
            return
        dtype, shape = _CELLS[name]
        num_rows = len(self.visible)
        block_rows = max(1, _JOINED_BYTES // (len(paths) * np.dtype(dtype).itemsize * math.prod(shape)))
        with ArrayWriter(target, dtype, (num_rows, len(paths), *shape)) as file:
            for begin in range(0, num_rows, block_rows):
                end = min(begin + block_rows, num_rows)
                file.write(begin, np.concatenate([read_rows(path, begin, end) for path in paths], axis=1))
        for path in paths:
            path.unlink()
