"""Attribute cells of a table as typed column blocks, and rows of them as a PyTorch Frame TensorFrame.

`encode` turns an Arrow table into flat arrays by the schema (unknown categories and nulls are -1, null numbers NaN, texts a position in the
table of distinct strings); `TableFeatures` gathers. A corrupted view is a gather too: every cell names the row it is copied from, so that all
semantic types, multi-categorical ones included, are treated alike and keys cannot change.

`donors` are the rows that corruption may copy a cell from, per column, all up to the cutoff and not null: "distinct" has one row per value, for the
10,000 most frequent values; "frequency" is a sample of 10,000 rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch_frame import TensorFrame, stype
from torch_frame.data.multi_embedding_tensor import MultiEmbeddingTensor
from torch_frame.data.multi_nested_tensor import MultiNestedTensor

from rdl_core.graph.reg import concatenate, offsets
from rdl_core.graph.schema import ColumnSchema, TableSchema, is_string, to_float
from rdl_core.graph.text_embedding import TextEmbedder
from rdl_core.random_streams import PURPOSE_MARGINAL, numpy_generator
from rdl_core.timestamps import NO_TIME, to_unix_seconds

MAX_DONORS = 10_000
STYPE = {
    "numerical": stype.numerical,
    "categorical": stype.categorical,
    "multicategorical": stype.multicategorical,
    "timestamp": stype.timestamp,
    "text": stype.embedding,
    "embedding": stype.embedding,
}

Arrays = dict[str, NDArray]


def col_names_dict(schema: TableSchema) -> dict[stype, list[str]]:
    """Returns PyTorch Frame's column names per stype, in the schema's order within a stype."""
    names: dict[stype, list[str]] = {}
    for column in schema.columns:
        names.setdefault(STYPE[column.stype], []).append(column.name)
    return {s: names[s] for s in stype if s in names}


def calendar(seconds: NDArray[np.int64], oldest_s: int) -> NDArray[np.int16]:
    """Returns the parts of times that PyTorch Frame encodes.

    Args:
        seconds: int64 [rows], UNIX seconds.
        oldest_s: The oldest time up to the cutoff. Earlier years are set to its year, since the year's positional encoding starts there.

    Returns:
        int16 [rows, 7]: year, month, day, weekday, hour, minute, second as PyTorch Frame counts them; -1 where NO_TIME.
    """
    missing = seconds == NO_TIME
    times = pa.array(np.where(missing, 0, seconds), pa.timestamp("s"))
    first_year = pc.year(pa.scalar(oldest_s, pa.timestamp("s"))).as_py()
    year = np.maximum(pc.year(times).to_numpy(), first_year)
    parts = [year, pc.month(times).to_numpy() - 1, pc.day(times).to_numpy() - 1, pc.day_of_week(times).to_numpy()]
    parts += [part(times).to_numpy() for part in (pc.hour, pc.minute, pc.second)]
    out = np.stack(parts, axis=1).astype(np.int16)
    out[missing] = -1
    return out


def encode(table: pa.Table, schema: TableSchema, visible: NDArray[np.bool_], embedder: TextEmbedder) -> Arrays:
    """Encodes all cells of a table as flat arrays by name.

    Args:
        table: All rows.
        schema: Its fitted schema.
        visible: bool [rows], rows up to the cutoff; only these become donors.
        embedder: The embedder of text columns.
    """
    arrays: Arrays = {}
    blocks: dict[str, list[NDArray]] = {"numerical": [], "categorical": [], "timestamp": [], "embedding_code": []}
    distinct, frequency = [], []
    for column in schema.columns:
        values = table.column(column.name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        block, value_id = _encode_column(column, values, embedder, arrays, len(blocks["embedding_code"]))
        if block is not None:
            blocks["embedding_code" if column.stype in ("text", "embedding") else column.stype].append(block)
        of_distinct, of_frequency = _donors(value_id, visible, schema.name, column.name)
        distinct.append(of_distinct)
        frequency.append(of_frequency)
    for name, columns in blocks.items():
        if columns:
            arrays[name] = np.stack(columns, axis=1)
    for name, donors in (("donors_distinct", distinct), ("donors_frequency", frequency)):
        arrays[name], arrays[name + "_offset"] = concatenate(donors, np.int32), offsets(donors)
    return arrays


def _encode_column(
    column: ColumnSchema, values: pa.ChunkedArray, embedder: TextEmbedder, arrays: Arrays, num_embedding: int
) -> tuple[NDArray | None, NDArray[np.int64]]:
    """Returns the column's block, or None if it went into `arrays`, and an id per row that names its value, -1 for null."""
    if column.stype == "numerical":
        numbers = to_float(values)
        return numbers.astype(np.float32), _value_ids(pa.chunked_array([pa.array(numbers, from_pandas=True)]))
    if column.stype == "categorical":
        codes = _codes(values, column.categories)
        return codes, codes.astype(np.int64)
    if column.stype == "timestamp":
        seconds = to_unix_seconds(values, round_up=False)
        ids = _value_ids(pa.chunked_array([pa.array(seconds, mask=seconds == NO_TIME)]))
        return calendar(seconds, column.oldest_s), ids
    if column.stype == "multicategorical":
        position = sum(name.startswith("multicategorical_") for name in arrays) // 2
        lists = values.combine_chunks()
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
        codes = _codes(pa.chunked_array([lists.flatten()]), column.categories)
        arrays[f"multicategorical_{position}_offset"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        arrays[f"multicategorical_{position}_values"] = codes
        joined = pc.binary_join(lists.cast(pa.list_(pa.string())), "\x1f")
        with_length = pc.binary_join_element_wise(pa.array(lengths).cast(pa.string()), joined, "\x1f")  # [] is not [""]
        return None, _value_ids(pa.chunked_array([with_length]))
    if column.stype == "text":
        ids = _value_ids(values)
        texts = _texts_of(values, ids)
        vectors = embedder.embed(texts)
    else:
        ids = np.where(values.is_valid().to_numpy(), np.arange(len(values)), -1)
        flat = pc.list_flatten(values).to_numpy().reshape(-1, column.channels)
        vectors = np.zeros((len(values), column.channels), np.float32)
        vectors[ids >= 0] = np.nan_to_num(flat)
    zero = np.zeros((1, vectors.shape[1]), np.float32)
    arrays[f"embedding_{num_embedding}"] = np.concatenate([zero, vectors]).astype(np.float32)
    return (ids + 1).astype(np.int32), ids


def _codes(values: pa.ChunkedArray, categories: tuple[str, ...]) -> NDArray[np.int32]:
    codes = pc.index_in(values.cast(pa.string()), value_set=pa.array(categories, pa.string()))
    return codes.fill_null(-1).to_numpy().astype(np.int32)


def _value_ids(values: pa.ChunkedArray) -> NDArray[np.int64]:
    if is_string(values.type):
        values = values.cast(pa.large_string())
    encoded = values.combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _texts_of(values: pa.ChunkedArray, ids: NDArray[np.int64]) -> list[str]:
    rows = np.flatnonzero(ids >= 0)
    _, first = np.unique(ids[rows], return_index=True)
    return values.take(pa.array(rows[first])).to_pylist()


def _donors(
    value_id: NDArray[np.int64], visible: NDArray[np.bool_], table: str, column: str
) -> tuple[NDArray, NDArray]:
    rows = np.flatnonzero(visible & (value_id >= 0))
    _, first, counts = np.unique(value_id[rows], return_index=True, return_counts=True)
    most_frequent = np.lexsort((first, -counts))[:MAX_DONORS]
    distinct = rows[first[most_frequent]]
    if len(rows) > MAX_DONORS:
        name = int.from_bytes(hashlib.sha256(f"{table}\0{column}".encode()).digest()[:8], "little")
        rows = np.sort(numpy_generator(PURPOSE_MARGINAL, name).choice(rows, MAX_DONORS, replace=False))
    return distinct, rows


class TableFeatures:
    """The encoded cells of one table; arrays may be memory-mapped.

    Args:
        schema: The table's schema.
        arrays: The arrays that `encode` returned.
    """

    def __init__(self, schema: TableSchema, arrays: Mapping[str, NDArray]) -> None:
        self.schema, self.arrays = schema, arrays
        self.col_names_dict = col_names_dict(schema)
        position = {column.name: i for i, column in enumerate(schema.columns)}
        self._columns = {s: [position[n] for n in names] for s, names in self.col_names_dict.items()}

    def donors(self, distribution: str) -> list[NDArray[np.int32]]:
        """Returns, per column, the rows that corruption may copy from; `distribution` is "distinct" or "frequency"."""
        offset, rows = self.arrays[f"donors_{distribution}_offset"], self.arrays[f"donors_{distribution}"]
        return [rows[offset[i] : offset[i + 1]] for i in range(len(offset) - 1)]

    def gather(self, rows: NDArray[np.integer]) -> TensorFrame:
        """Returns a TensorFrame of m rows.

        Args:
            rows: [m], or [m, columns] (in the schema's order) where each cell is copied from a row of its own.
        """
        features = {}
        for kind, columns in self._columns.items():
            cell_rows = (
                rows[:, columns] if rows.ndim == 2 else np.broadcast_to(rows[:, None], (len(rows), len(columns)))
            )
            features[kind] = self._gather_stype(kind, cell_rows)
        return TensorFrame(features, self.col_names_dict, num_rows=len(rows))

    def _gather_stype(self, kind: stype, rows: NDArray) -> torch.Tensor | MultiEmbeddingTensor | MultiNestedTensor:
        columns = np.arange(rows.shape[1])
        if kind == stype.numerical:
            return torch.from_numpy(self.arrays["numerical"][rows, columns])
        if kind in (stype.categorical, stype.timestamp):
            return torch.from_numpy(self.arrays[kind.value][rows, columns].astype(np.int64))
        if kind == stype.embedding:
            return self._gather_embedding(self.arrays["embedding_code"][rows, columns])
        return self._gather_multicategorical(rows)

    def _gather_embedding(self, codes: NDArray[np.int32]) -> MultiEmbeddingTensor:
        vectors = [self.arrays[f"embedding_{j}"][codes[:, j]] for j in range(codes.shape[1])]
        offset = torch.tensor([0, *np.cumsum([v.shape[1] for v in vectors])])
        values = torch.from_numpy(np.concatenate(vectors, axis=1))
        return MultiEmbeddingTensor(num_rows=len(codes), num_cols=codes.shape[1], values=values, offset=offset)

    def _gather_multicategorical(self, rows: NDArray) -> MultiNestedTensor:
        begins, lengths = np.empty(rows.shape, np.int64), np.empty(rows.shape, np.int64)
        for j in range(rows.shape[1]):
            offset = self.arrays[f"multicategorical_{j}_offset"]
            begins[:, j] = offset[rows[:, j]]
            lengths[:, j] = offset[rows[:, j] + 1] - begins[:, j]
        offset = np.concatenate([[0], np.cumsum(lengths.ravel())])
        values = np.empty(offset[-1], np.int64)
        cell = np.repeat(np.arange(lengths.size), lengths.ravel())
        at = begins.ravel()[cell] + np.arange(len(values)) - offset[cell]
        for j in range(rows.shape[1]):
            mine = cell % rows.shape[1] == j
            values[mine] = self.arrays[f"multicategorical_{j}_values"][at[mine]]
        return MultiNestedTensor(
            num_rows=len(rows), num_cols=rows.shape[1], values=torch.from_numpy(values), offset=torch.from_numpy(offset)
        )
