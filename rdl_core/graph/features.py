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

from rdl_core.database.column_values import BATCH_ROWS, ColumnValues, column_of, counted
from rdl_core.graph.feature_rows import late_positions
from rdl_core.graph.reg import concatenate, offsets
from rdl_core.graph.schema import ColumnSchema, TableSchema
from rdl_core.random_streams import PURPOSE_MARGINAL, numpy_generator
from rdl_core.text.text_embedding import TextEmbedder
from rdl_core.timestamps import NO_TIME

MAX_DONORS = 10_000
STYPE = {
    "numerical": stype.numerical,
    "categorical": stype.categorical,
    "multicategorical": stype.multicategorical,
    "timestamp": stype.timestamp,
    "text": stype.embedding,
    "embedding": stype.embedding,
}
BLOCK = {
    "numerical": "numerical",
    "categorical": "categorical",
    "timestamp": "timestamp",
    "text": "embedding_code",
    "embedding": "embedding_code",
}
"""The array that holds the rows of a column of each semantic type; multi-categorical ones have arrays of their own."""

NULL = {stype.numerical: np.nan, stype.categorical: -1, stype.timestamp: -1, stype.embedding: 0}
"""A null in the array of each of these semantic types; a null of a multi-categorical column is an empty list."""

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
    blocks: dict[str, list[NDArray]] = {}
    donors = []
    positions = dict.fromkeys(("multicategorical", "embedding"), 0)
    for column in schema.columns:
        values = column_of(table.column(column.name))
        donors.append(column_donors(column, values, visible, schema.name))
        if column.stype == "multicategorical":
            whole = encode_lists(column, values)
            arrays |= {f"multicategorical_{positions['multicategorical']}_{name}": a for name, a in whole.items()}
            positions["multicategorical"] += 1
            continue
        blocks.setdefault(BLOCK[column.stype], []).append(CellEncoder(column, values)(0, len(values)))
        if BLOCK[column.stype] == "embedding_code":
            vectors = embedder.embed(texts_of(values)) if column.stype == "text" else vectors_of(column, values)
            zero = np.zeros((1, vectors.shape[1]), np.float32)
            arrays[f"embedding_{positions['embedding']}"] = np.concatenate([zero, vectors]).astype(np.float32)
            positions["embedding"] += 1
    return arrays | {name: np.stack(columns, axis=1) for name, columns in blocks.items()} | donor_arrays(donors)


class CellEncoder:
    """Encodes the rows of a column of numbers, categories, times, texts or vectors, any range of them.

    Args:
        column: The column's schema.
        values: All its values; `num_unknown` of them are none of the column's categories.
    """

    def __init__(self, column: ColumnSchema, values: ColumnValues) -> None:
        self.column, self.values = column, values
        self.num_unknown = 0
        if column.stype == "categorical":
            self._distinct, counts = values.counts(values.valid)
            self._code = _codes(values.as_strings(self._distinct), column)
            self.num_unknown = int(counts[self._code < 0].sum())

    def __call__(self, begin: int, end: int) -> NDArray:
        """Returns the rows [begin, end): float32 [rows] numbers, int32 [rows] codes, or int16 [rows, 7] of `calendar`."""
        if self.column.stype == "embedding":
            rows = np.where(self.values.valid[begin:end], np.arange(begin + 1, end + 1), 0)
            return rows.astype(np.int32)
        assert isinstance(self.values.array, np.ndarray)
        here, valid = self.values.array[begin:end], self.values.valid[begin:end]
        if self.column.stype == "numerical":
            return np.where(valid, here.astype(np.float64, copy=False), np.nan).astype(np.float32)
        if self.column.stype == "timestamp":
            return calendar(here, self.column.oldest_s)
        if self.column.stype == "text":
            return here + np.int32(1)
        if not len(self._distinct):
            return np.full(end - begin, -1, np.int32)
        at = np.searchsorted(self._distinct, np.where(valid, here, self._distinct[0]))
        return np.where(valid, self._code[at], -1).astype(np.int32)


def encode_lists(column: ColumnSchema, values: ColumnValues) -> Arrays:
    """Returns the codes of a multi-categorical column: {"offset": int64 [rows + 1], "values": int32}."""
    lists = _lists(values)
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    flat = lists.flatten().cast(pa.string())
    return {
        "offset": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "values": _codes(flat, column),
    }


def texts_of(values: ColumnValues) -> list[str]:
    """Returns the distinct texts of a column, in the order of their codes."""
    assert values.distinct is not None
    return values.distinct.to_pylist()


def vectors_of(column: ColumnSchema, values: ColumnValues) -> NDArray[np.float32]:
    """Returns the vectors of an embedding column: float32 [rows, channels], 0 where null or NaN."""
    assert isinstance(values.array, pa.ChunkedArray)
    vectors = np.zeros((len(values), column.channels), np.float32)
    flat = pc.list_flatten(values.array).to_numpy().reshape(-1, column.channels)
    vectors[values.valid] = np.nan_to_num(flat)
    return vectors


def _lists(values: ColumnValues) -> pa.Array:
    assert isinstance(values.array, pa.ChunkedArray)
    return values.array.combine_chunks()


def _codes(strings: pa.Array, column: ColumnSchema) -> NDArray[np.int32]:
    strings = strings.cast(pa.string())
    if column.salt:
        distinct = strings.dictionary_encode()
        names = pa.array([column.category_of(value) for value in distinct.dictionary.to_pylist()], pa.string())
        strings = names.take(distinct.indices)
    found = pc.index_in(strings, value_set=pa.array(column.categories, pa.string()))
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)


def donor_arrays(donors: list[tuple[NDArray, NDArray]]) -> Arrays:
    """Returns what `column_donors` found for each column as flat arrays."""
    arrays: Arrays = {}
    for position, name in enumerate(("donors_distinct", "donors_frequency")):
        parts = [found[position] for found in donors]
        arrays[name], arrays[name + "_offset"] = concatenate(parts, np.int32), offsets(parts)
    return arrays


def column_donors(
    column: ColumnSchema, values: ColumnValues, visible: NDArray[np.bool_], table: str
) -> tuple[NDArray, NDArray]:
    """Returns the rows of a column's donors, "distinct" ones and "frequency" ones; all are rows of `visible` with a known value."""
    keys, distinct = values.array, values.distinct
    known = visible & values.valid
    if column.stype == "multicategorical":
        keys = _list_ids(_lists(values))
    elif column.stype == "embedding":
        keys = np.arange(len(values))
    elif column.stype == "categorical":
        keys, distinct = CellEncoder(column, values)(0, len(values)), None
        known &= keys >= 0
    elif column.stype == "numerical" and not pa.types.is_integer(values.type):
        known &= ~np.isnan(keys)
    assert isinstance(keys, np.ndarray)
    rows = np.flatnonzero(known)
    of_distinct = rows[_first_of_most_frequent(keys[rows], distinct)]
    if len(rows) > MAX_DONORS:
        name = int.from_bytes(hashlib.sha256(f"{table}\0{column.name}".encode()).digest()[:8], "little")
        rows = np.sort(numpy_generator(PURPOSE_MARGINAL, name).choice(rows, MAX_DONORS, replace=False))
    return of_distinct, rows


def _list_ids(lists: pa.Array) -> NDArray[np.int64]:
    """Returns a number per row that names its list; that of a null says nothing."""
    lengths = pc.list_value_length(lists).fill_null(0)
    joined = pc.binary_join(lists.cast(pa.list_(pa.string())), "\x1f")
    with_length = pc.binary_join_element_wise(lengths.cast(pa.string()), joined, "\x1f")  # [] is not [""]
    encoded = with_length.cast(pa.large_string()).dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _first_of_most_frequent(keys: NDArray, distinct: pa.Array | None) -> NDArray[np.int64]:
    """Returns where each of the MAX_DONORS most frequent keys comes first, the most frequent first, ties in the order of appearance."""
    values, counts = counted(keys, distinct)
    if len(values) <= MAX_DONORS:
        chosen = np.arange(len(values))
        first = _first_places(keys, values, len(values))
    else:
        least = np.partition(counts, -MAX_DONORS)[-MAX_DONORS]
        chosen = np.flatnonzero(counts > least)
        first = _first_places(keys, values[chosen], len(chosen))
        tied = np.flatnonzero(counts == least)
        first_tied = _first_places(keys, values[tied], MAX_DONORS - len(chosen))
        found = np.flatnonzero(first_tied >= 0)
        earliest = found[np.argsort(first_tied[found])][: MAX_DONORS - len(chosen)]
        chosen, first = np.append(chosen, tied[earliest]), np.append(first, first_tied[earliest])
    return first[np.lexsort((first, -counts[chosen]))]


def _first_places(keys: NDArray, sought: NDArray, num_wanted: int) -> NDArray[np.int64]:
    """Returns where each of `sought` (ascending) comes first; -1 where that is after the block in which the first `num_wanted` of them are found."""
    first = np.full(len(sought), -1, np.int64)
    num_found = begin = 0
    block_rows = min(2 * MAX_DONORS, BATCH_ROWS)  # often enough, and each key is a search
    while begin < len(keys) and num_found < num_wanted:
        block = keys[begin : begin + block_rows]
        at = np.minimum(np.searchsorted(sought, block), len(sought) - 1)
        places = np.flatnonzero((sought[at] == block) & (first[at] < 0))
        found, place = np.unique(at[places], return_index=True)
        first[found] = begin + places[place]
        num_found += len(found)
        begin, block_rows = begin + len(block), BATCH_ROWS
    return first


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
        self._late = late_positions(list(position), schema.known_from)

    def donors(self, distribution: str) -> list[NDArray[np.int32]]:
        """Returns, per column, the rows that corruption may copy from; `distribution` is "distinct" or "frequency"."""
        offset, rows = self.arrays[f"donors_{distribution}_offset"], self.arrays[f"donors_{distribution}"]
        return [rows[offset[i] : offset[i + 1]] for i in range(len(offset) - 1)]

    @property
    def has_late_cells(self) -> bool:
        """Tells whether some cells become known after their row."""
        return bool(self._late)

    def passed(self, rows: NDArray[np.integer], before_s: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Returns which of the times from which cells are known lie before a time: bool [m, times].

        Args:
            rows: [m] rows.
            before_s: UNIX seconds, one for all or [m].
        """
        return self.arrays["known_from"][rows] < np.reshape(before_s, (-1, 1))

    def known(self, rows: NDArray[np.integer], before_s: NDArray[np.int64] | int) -> NDArray[np.bool_] | None:
        """Returns which cells are known before a time: bool [m, columns]; None for all, whatever the time."""
        if not self._late:
            return None
        passed = self.passed(rows, before_s)
        known = np.ones((len(rows), len(self.schema.columns)), bool)
        for column, time in self._late:
            known[:, column] = passed[:, time]
        return known

    def gather(self, rows: NDArray[np.integer]) -> TensorFrame:
        """Returns a TensorFrame of m rows.

        Args:
            rows: [m], or [m, columns] (in the schema's order) where each cell is copied from a row of its own; of a table with late cells, from
                none where it is not known (feature_rows.py): it is null then.
        """
        features = {}
        for kind, columns in self._columns.items():
            cell_rows = (
                rows[:, columns] if rows.ndim == 2 else np.broadcast_to(rows[:, None], (len(rows), len(columns)))
            )
            features[kind] = self._gather_stype(kind, cell_rows)
        return TensorFrame(features, self.col_names_dict, num_rows=len(rows))

    def _gather_stype(self, kind: stype, rows: NDArray) -> torch.Tensor | MultiEmbeddingTensor | MultiNestedTensor:
        columns, unknown = np.arange(rows.shape[1]), rows < 0 if self._late else None
        if kind == stype.multicategorical:
            return self._gather_multicategorical(rows)
        block = "embedding_code" if kind == stype.embedding else kind.value
        cells = self.arrays[block][rows, columns]  # a row of its own, which may be written to
        if unknown is not None:
            cells[unknown] = NULL[kind]
        if kind == stype.embedding:
            return self._gather_embedding(cells)
        return torch.from_numpy(cells if kind == stype.numerical else cells.astype(np.int64))

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
        if self._late:
            lengths[rows < 0] = 0
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
