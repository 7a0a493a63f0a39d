"""Cells: what `gather` returns, decoded, is what the Arrow table holds; donors are visible, known and complete."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from torch_frame import TensorFrame, stype

import rdl_core.graph.features as features_module
from rdl_core.graph.features import TableFeatures, encode
from rdl_core.graph.schema import TableSchema, fit_columns
from rdl_core.text.text_embedding import HashedNgramEmbedder

EMBEDDER = HashedNgramEmbedder(16)
UTC = datetime.timezone.utc  # noqa: UP017
N = 40
LATE = 30  # rows from here on are after the cutoff


def table_of_every_type() -> pa.Table:
    when = [datetime.datetime(1905, 3, 1, 23, 59, 58) + i * datetime.timedelta(days=1003, seconds=17) for i in range(N)]
    texts = [f"text {i % 13} šč" if i % 7 else None for i in range(N)]
    texts[1] = texts[9] = ""
    numbers = [i * 0.25 - 3 if i % 6 else None for i in range(N)]
    numbers[7], numbers[8], numbers[9], numbers[10] = math.inf, -math.inf, math.nan, 1e300
    lists = [None, [], ["a"], ["a", "b"], [""], ["b", "b", "夜"], ["late"]]
    vectors = [[i, i + 0.5, -i] if i % 9 else None for i in range(N)]
    return pa.table(
        {
            "note": pa.chunked_array([texts[:11], texts[11:]]),
            "number": pa.array(numbers, pa.float64()),
            "flag": pa.array([None if i % 5 == 0 else i % 2 == 0 for i in range(N)]),
            "when": pa.array([None if i % 8 == 3 else t for i, t in enumerate(when)], pa.timestamp("ms")),
            "tags": pa.array([lists[i % 6] if i < LATE else lists[i % 7] for i in range(N)]),
            "kind": pa.array([f"k{i % 3}" if i < LATE else "unseen" for i in range(N)]).dictionary_encode(),
            "vector": pa.array(vectors, pa.list_(pa.float32(), 3)),
            "day": pa.array([datetime.date(1969, 12, 1) + datetime.timedelta(days=i) for i in range(N)]),
            "sizes": pa.array([list(range(i % 4)) if i % 10 else None for i in range(N)], pa.large_list(pa.int64())),
            "count": pa.array([3 * i for i in range(N)], pa.int32()),
            "label": pa.array([f"k{i % 2}" for i in range(N)]),
        }
    )


def features_of(table: pa.Table, visible: NDArray[np.bool_]) -> TableFeatures:
    columns, left_out = fit_columns(table, visible, set())
    assert not left_out
    schema = TableSchema(
        name="t",
        num_rows=table.num_rows,
        num_rows_up_to_cutoff=int(visible.sum()),
        pkey_col=None,
        time_col=None,
        fkey_col_to_pkey_table={},
        columns=columns,
    )
    return TableFeatures(schema, encode(table, schema, visible, EMBEDDER))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return table_of_every_type()


@pytest.fixture(scope="module")
def features(table: pa.Table) -> TableFeatures:
    return features_of(table, np.arange(N) < LATE)


def expected_cell(value: Any, column: Any) -> Any:
    """What a model should read for one Python value, as plain Python."""
    if column.stype == "numerical":
        return float(np.float32(value)) if value is not None and abs(value) < 1e38 else None
    if column.stype == "categorical":
        name = {True: "true", False: "false"}.get(value, value)
        return column.categories.index(name) if name in column.categories else -1
    if column.stype == "multicategorical":
        return [column.categories.index(str(v)) if str(v) in column.categories else -1 for v in value or []]
    if column.stype == "timestamp":
        if value is None:
            return [-1] * 7
        time = value if isinstance(value, datetime.datetime) else datetime.datetime.combine(value, datetime.time())
        oldest = datetime.datetime.fromtimestamp(0, UTC) + datetime.timedelta(seconds=column.oldest_s)
        year = max(time.year, oldest.year)
        return [year, time.month - 1, time.day - 1, time.weekday(), time.hour, time.minute, time.second]
    if column.stype == "text":
        return EMBEDDER.embed([value])[0].tolist() if value is not None else [0.0] * 16
    return [float(v) for v in value] if value is not None else [0.0] * 3


def decoded(frame: TensorFrame, row: int, name: str) -> Any:
    for kind, names in frame.col_names_dict.items():
        if name in names:
            cell = frame.feat_dict[kind][row, names.index(name)]
            if kind == stype.numerical:
                return None if math.isnan(cell) else float(cell)
            if kind in (stype.multicategorical, stype.embedding):
                return (
                    (cell.values if hasattr(cell, "values") and not callable(cell.values) else cell).flatten().tolist()
                )
            return cell.tolist()
    raise AssertionError(name)


def test_gathered_cells_decode_to_the_original_values(table: pa.Table, features: TableFeatures) -> None:
    assert {c.stype for c in features.schema.columns} == {*features_module.STYPE}
    rows = np.array([*range(N), 5, 5, 0])
    frame = features.gather(rows)
    frame.validate()
    for column in features.schema.columns:
        values = table.column(column.name).to_pylist()
        for at, row in enumerate(rows):
            assert decoded(frame, at, column.name) == expected_cell(values[row], column), (column.name, row)


def test_a_row_matrix_copies_each_cell_from_its_named_row(features: TableFeatures) -> None:
    columns = features.schema.columns
    rows = np.random.default_rng(0).integers(0, N, (60, len(columns)))
    frame, whole = features.gather(rows), features.gather(np.arange(N))
    for j, column in enumerate(columns):
        for i in range(60):
            assert decoded(frame, i, column.name) == decoded(whole, int(rows[i, j]), column.name), column.name


def test_gathering_no_row_gives_an_empty_frame_of_every_type(features: TableFeatures) -> None:
    frame = features.gather(np.zeros(0, np.int64))
    assert frame.num_rows == 0
    assert set(frame.feat_dict) == set(features.gather(np.arange(2)).feat_dict)


def test_years_before_the_oldest_seen_are_set_to_it() -> None:
    """A row after the cutoff may be dated earlier than anything visible; the year's encoding starts at the oldest."""
    table = pa.table({"when": pa.array(["2005-06-07", "1900-02-03"]).cast(pa.timestamp("s"))})
    frame = features_of(table, np.array([True, False])).gather(np.arange(2))
    assert frame.feat_dict[stype.timestamp][:, 0, :3].tolist() == [[2005, 5, 6], [2005, 1, 2]]


def test_each_distinct_text_is_embedded_once(monkeypatch: pytest.MonkeyPatch, table: pa.Table) -> None:
    embedded: list[str] = []
    original = HashedNgramEmbedder.embed
    monkeypatch.setattr(
        HashedNgramEmbedder, "embed", lambda self, texts: embedded.extend(texts) or original(self, texts)
    )
    features_of(table, np.arange(N) < LATE)
    assert sorted(embedded) == sorted({t for t in table["note"].to_pylist() if t is not None})


def value_of(column: pa.ChunkedArray, row: int) -> Any:
    value = column[row].as_py()
    value = tuple(value) if isinstance(value, list) else value
    return None if isinstance(value, float) and not abs(value) < 1e38 else value


def test_frequency_donors_are_all_visible_rows_with_a_known_value(table: pa.Table, features: TableFeatures) -> None:
    for column, donors in zip(features.schema.columns, features.donors("frequency"), strict=True):
        known = [r for r in range(LATE) if value_of(table[column.name], r) is not None]
        assert donors.tolist() == known, column.name


def test_distinct_donors_are_one_visible_row_for_each_value(table: pa.Table, features: TableFeatures) -> None:
    for column, donors in zip(features.schema.columns, features.donors("distinct"), strict=True):
        values = [value_of(table[column.name], r) for r in donors]
        every = {value_of(table[column.name], r) for r in range(LATE)} - {None}
        assert len(values) == len(every), column.name
        assert set(values) == every, column.name
        assert max(donors) < LATE


def test_many_rows_give_10000_distinct_donor_rows_drawn_per_column() -> None:
    n = 10_400
    table = pa.table(
        {"number_a": np.arange(n) * 0.5, "number_b": np.arange(n) * 0.5, "rare": [i // 2 * 1.0 for i in range(n)]}
    )
    features = features_of(table, np.arange(n) < n - 100)
    first, second, _ = features.donors("frequency")
    assert len(np.unique(first)) == len(first) == 10_000
    assert max(first.max(), second.max()) < n - 100
    assert not np.array_equal(first, second)
    most_frequent = features.donors("distinct")[0]
    assert len(np.unique(most_frequent)) == len(most_frequent) == 10_000
    assert len(features.donors("distinct")[2]) == (n - 100) // 2


def test_the_most_frequent_values_become_donors_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "MAX_DONORS", 3)
    values = [1.5, 2.5, 2.5, 3.5, 4.5, 4.5, 4.5, 5.5, 6.5, 6.5]
    features = features_of(pa.table({"x": values}), np.ones(len(values), bool))
    assert sorted(values[r] for r in features.donors("distinct")[0]) == [2.5, 4.5, 6.5]
