"""The folder of embeddings: partitioned Parquet, and what it is of.

    part-000000.parquet   rows [0, ROWS_PER_PART) of the table, part-000001.parquet the next, ...: those of them that are embedded
    _embeddings.json      model, store, table, times and trees that decide every byte of the parts

A part has the columns of the rows' key under their own names, `time` (UTC) and `embedding`, a fixed-size list of float32 [channels]. Readers of
Parquet folders (pyarrow, pandas, DuckDB, Spark) leave the JSON out.

Promises: a part is there whole or not at all; a killed run that is started again writes the missing parts only, and the same bytes; a folder of
another run, or with something else in it, is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rdl_core.atomic_write import replace_file
from rdl_core.config import TemporalSamplingConfig, checked, decode

ROWS_PER_PART = 8192
FORMAT_VERSION = 1
ABOUT_NAME = "_embeddings.json"
TIME, EMBEDDING = "time", "embedding"


@checked
class AboutEmbeddings:
    """The identity of a folder of embeddings: two runs with the same give the same bytes.

    Args:
        table: The table.
        key_columns: Columns of a part that name a row.
        num_rows: Rows of the table, those that are not embedded among them.
        channels: Length of a vector.
        model: Digest of the model's weights.
        store: Content hash of the store.
        at_s: UNIX seconds before which is looked; None with `each_row_at`.
        each_row_at: Column of the table with each row's time.
        sampling: Form of the trees.
        seed: What trees are drawn from.
        rows_per_part: Rows of the table to a part.
    """

    table: str
    key_columns: tuple[str, ...]
    num_rows: int
    channels: int
    model: str
    store: str
    at_s: int | None
    each_row_at: str | None
    sampling: TemporalSamplingConfig
    seed: int
    rows_per_part: int = ROWS_PER_PART
    format_version: int = FORMAT_VERSION

    @property
    def num_parts(self) -> int:
        return -(-self.num_rows // self.rows_per_part)

    def rows_of(self, part: int) -> tuple[int, int]:
        """Returns (first row, end) of a part."""
        return part * self.rows_per_part, min((part + 1) * self.rows_per_part, self.num_rows)


class EmbeddingsFolder:
    """A folder of embeddings, begun or whole.

    Args:
        path: The folder.
        about: What it is of.
    """

    def __init__(self, path: Path, about: AboutEmbeddings) -> None:
        self.path, self.about = path, about

    @classmethod
    def begin(cls, path: Path, about: AboutEmbeddings) -> EmbeddingsFolder:
        """Returns the folder for these embeddings: a new one, or the same that an earlier call began.

        Raises:
            FileExistsError: It holds the embeddings of another run, or something else.
        """
        refuse_foreign_folder(path)
        if (path / ABOUT_NAME).exists():
            differences = _differences(cls.open(path).about, about)
            if differences:
                shown = "\n  ".join(differences)
                raise FileExistsError(
                    f"{path} holds embeddings of another run (there -> now):\n  {shown}\nRemedy: another --out, or delete the folder"
                )
        else:
            with replace_file(path / ABOUT_NAME) as partial:
                partial.write_text(json.dumps(dataclasses.asdict(about), indent=1) + "\n")
        return cls(path, about)

    @classmethod
    def open(cls, path: Path) -> EmbeddingsFolder:
        """Opens a folder that `begin` has made.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is of another format, or damaged.
        """
        if not (path / ABOUT_NAME).exists():
            raise FileNotFoundError(f"no embeddings at {path} (no {ABOUT_NAME}); `rdl embed --out {path}` makes them")
        try:
            values = json.loads((path / ABOUT_NAME).read_text())
            version = values["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path / ABOUT_NAME} is damaged: {error}; delete the folder and embed again") from error
        if version != FORMAT_VERSION:
            raise ValueError(f"{path} has format {version}, expected {FORMAT_VERSION}; delete it and embed again")
        return cls(path, decode(AboutEmbeddings, values, str(path / ABOUT_NAME)))

    def missing_parts(self) -> list[int]:
        """Returns the numbers of the parts that are not there yet."""
        return [part for part in range(self.about.num_parts) if not self.part_path(part).exists()]

    def part_path(self, part: int) -> Path:
        return self.path / f"part-{part:06d}.parquet"

    def write_part(self, part: int, keys: pa.Table, time_s: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Writes a part, whole or not at all.

        Args:
            part: Its number.
            keys: The keys of the rows, [rows].
            time_s: int64 [rows], UNIX seconds.
            vectors: float32 [rows, channels].
        """
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self.about.channels)
        table = keys.append_column(
            TIME, pa.array(time_s).cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("ms", "UTC"))
        )
        table = table.append_column(pa.field(EMBEDDING, values.type, nullable=False), values)
        with replace_file(self.part_path(part)) as partial:
            pq.write_table(table, partial, compression="zstd", use_dictionary=[TIME])

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yields the parts in order, each read when it is its turn; all columns, or some.

        Raises:
            FileNotFoundError: Parts are missing.
        """
        if missing := self.missing_parts():
            raise FileNotFoundError(
                f"{self.path} lacks {len(missing):,} of {self.about.num_parts:,} parts, the first {self.part_path(missing[0]).name}: its run was "
                "stopped. Remedy: the same `rdl embed` again, which writes the missing ones"
            )
        for part in range(self.about.num_parts):
            yield self.part(part, columns)

    def part(self, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns a part that is there; all columns, or some."""
        return pq.read_table(self.part_path(part), columns=None if columns is None else list(columns))


def vectors_of(part: pa.Table) -> NDArray[np.float32]:
    """Returns the vectors of a part: float32 [rows, channels]."""
    column = part[EMBEDDING].combine_chunks()
    return column.flatten().to_numpy().reshape(len(part), column.type.list_size)


def refuse_foreign_folder(path: Path) -> None:
    """Raises FileExistsError if something is at the path that is neither an empty folder nor one of embeddings."""
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / ABOUT_NAME).exists())):
        raise FileExistsError(f"{path} exists and holds something else than embeddings; choose another --out")


def _differences(there: AboutEmbeddings, now: AboutEmbeddings) -> list[str]:
    old, new = dataclasses.asdict(there), dataclasses.asdict(now)
    return [f"{name}: {old[name]} -> {new[name]}" for name in new if old[name] != new[name]]
