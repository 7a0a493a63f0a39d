"""Measures by the schema, and the running sums of a store: the same bytes by any blocks and threads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl_core.graph import prefix_sums
from rdl_core.graph.features import TableFeatures, encode
from rdl_core.graph.measures import Measure, MeasureValues, measures
from rdl_core.graph.prefix_sums import blocks_of_sums, write_prefix_sums
from rdl_core.graph.schema import TableSchema, fit_columns
from rdl_core.graph.store import Store
from rdl_core.text.text_embedding import HashedNgramEmbedder


def table_of(
    columns: dict[str, pa.Array | list], known_from: dict[str, str] | None = None
) -> tuple[TableSchema, TableFeatures]:
    """A table without keys, of whose rows the last comes after the cutoff."""
    table = pa.table(columns)
    visible = np.arange(table.num_rows) < table.num_rows - 1
    fitted, left_out = fit_columns(table, visible, set())
    schema = TableSchema(
        name="t",
        num_rows=table.num_rows,
        num_rows_up_to_cutoff=table.num_rows - 1,
        pkey_col=None,
        time_col=None,
        fkey_col_to_pkey_table={},
        columns=fitted,
        left_out=left_out,
        known_from=known_from or {},
    )
    arrays = encode(table, schema, visible, HashedNgramEmbedder(channels=8))
    return schema, TableFeatures(schema, arrays)


def kinds(schema: TableSchema, column: str) -> list[str]:
    return [m.kind for m in measures(schema) if m.column == column]


def test_a_column_of_each_type_has_the_measures_that_its_type_and_values_allow() -> None:
    n = 40
    schema, _ = table_of(
        {
            "even": [float(i) for i in range(n)],
            "tail": [float(2**i) for i in range(n)],
            "stars": [i % 5 for i in range(n)],
            "flag01": [i % 2 for i in range(n)],
            "statusId": [i % 5 for i in range(n)],
            "colour": [f"c{i % 9}" for i in range(n)],
            "yes": [i % 2 == 0 if i % 7 else None for i in range(n)],
            "one": ["x"] * n,
            "note": [f"note {i * i}" if i % 3 else None for i in range(n)],
            "at": pa.array([i if i % 3 else None for i in range(n)], pa.timestamp("s")),
            "tags": [["a"] if i % 3 else [] for i in range(n - 1)] + [None],
            "null_late": [float(i) for i in range(n - 1)] + [None],
        }
    )
    assert kinds(schema, "even") == ["number"]
    assert kinds(schema, "tail") == ["number", "log"]
    assert kinds(schema, "stars") == ["number"] + ["category"] * 5
    assert kinds(schema, "flag01") == ["number"]
    assert kinds(schema, "statusId") == ["category"] * 5
    assert kinds(schema, "colour") == ["category"] * 8
    assert [m for m in measures(schema) if m.column == "yes"] == [
        Measure("yes", "category", "true"),
        Measure("yes", "missing"),
    ]
    assert kinds(schema, "one") == []
    assert kinds(schema, "note") == kinds(schema, "at") == ["missing"]
    assert kinds(schema, "tags") == []  # no list is null up to the cutoff
    assert kinds(schema, "null_late") == ["number"]


def test_small_integers_are_numbers_and_codes_by_name_are_none() -> None:
    schema, features = table_of({"stars": [1, 3, 5, 3, 9], "type": [1, 3, 5, 3, 1]})
    stars, kind = schema.columns
    assert stars.is_ordinal and stars.stype == "categorical" and not kind.is_ordinal
    assert stars.mean == pytest.approx(3) and stars.std == pytest.approx(np.std([1, 3, 5, 3]))
    values = MeasureValues(features)(np.arange(5))[:, 0]
    np.testing.assert_allclose(values[:4] * stars.std + stars.mean, [1, 3, 5, 3], rtol=1e-6)
    assert np.isnan(values[4])  # a number that no row had up to the cutoff


def test_late_cells_have_measures_only_when_they_are_asked_for() -> None:
    schema, features = table_of({"a": [1.0, 2.0, 4.0], "b": [1.0, 2.0, 4.0]}, known_from={"b": "closed"})
    assert [m.column for m in measures(schema)] == ["a"]
    assert [m.column for m in measures(schema, late=True)] == ["a", "b"]
    features.arrays["known_from"] = np.zeros((3, 1), np.int64)  # type: ignore[index]
    assert MeasureValues(features, measures(schema, late=True))(np.array([2, 0])).shape == (2, 2)


@pytest.mark.parametrize("block_bytes", [1, 100, 333])
def test_the_running_sums_do_not_depend_on_the_blocks(nasty_store: Store, block_bytes: int) -> None:
    graph = nasty_store.graph
    for key, edge_type in enumerate(graph.edge_types):
        values = MeasureValues(nasty_store.features[edge_type[0]])
        parts = list(blocks_of_sums(graph, key, values, block_bytes))
        whole = nasty_store.prefix_sums(edge_type)
        assert whole.shape == (graph.children_offset[key + 1] - graph.children_offset[key], len(values.measures))
        if values.measures:
            assert [begin for begin, _ in parts] == np.cumsum([0, *(len(p) for _, p in parts)])[:-1].tolist()
            assert np.concatenate([p for _, p in parts]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("workers", [1, 5])
def test_the_running_sums_do_not_depend_on_the_threads(
    nasty_store: Store, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_sums, "BLOCK_BYTES", 64)
    for folder in ("graph", "tables"):
        shutil.copytree(nasty_store.path / folder, tmp_path / folder)
    write_prefix_sums(tmp_path, nasty_store.schema, nasty_store.graph.edge_types, workers)
    written = {p.name: p.read_bytes() for p in (tmp_path / "statistics").iterdir()}
    assert written == {p.name: p.read_bytes() for p in (nasty_store.path / "statistics").iterdir()}
    assert len(written) == len(nasty_store.graph.edge_types)


def test_the_running_sums_are_in_the_manifest(nasty_store: Store) -> None:
    files = {name for name in nasty_store.manifest["files"] if name.startswith("statistics/")}
    assert files == {f"statistics/{k}.npy" for k in range(len(nasty_store.graph.edge_types))}
