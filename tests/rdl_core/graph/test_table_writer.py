"""A store's bytes do not depend on row groups or threads; a killed run leaves no half store, and its long embeddings are found again."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.array_files import ArrayWriter, read_rows
from rdl_core.database import column_values
from rdl_core.database.column_values import column_of, read_column
from rdl_core.database.dataset import open_dataset
from rdl_core.graph import features
from rdl_core.graph.features import encode
from rdl_core.graph.materialization import materialize
from rdl_core.graph.schema import TableSchema, fit_columns
from rdl_core.graph.store import Store
from rdl_core.text import text_embedding
from rdl_core.text.text_embedding import HashedNgramEmbedder, KeptTexts
from tests.nasty_database import write_database, write_nasty_database


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.npy"))}


def _random_table(rng: np.random.Generator, num_rows: int) -> pa.Table:
    def with_nulls(values: Sequence[object], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=rng.random(num_rows) < 0.2)

    words = np.array(["", "a", "b b", "ž", "name", "x" * 40])
    lists = [words[rng.integers(0, 6, n)].tolist() for n in rng.integers(0, 4, num_rows)]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=3 * num_rows).astype(np.float32)), 3)
    return pa.table(
        {
            "id": np.arange(num_rows),
            "at": pa.array(rng.integers(0, 10**9, num_rows), pa.timestamp("ms")),
            "real": with_nulls(np.round(rng.normal(size=num_rows), 1), pa.float64()),
            "whole": with_nulls(rng.integers(-50, 50, num_rows), pa.int16()),
            "small": with_nulls(rng.integers(0, 3, num_rows), pa.uint64()),
            "flag": with_nulls((rng.random(num_rows) < 0.5).tolist(), pa.bool_()),
            "day": with_nulls(rng.integers(0, 20_000, num_rows).astype("datetime64[D]"), pa.date32()),
            "word": with_nulls(words[rng.integers(0, 6, num_rows)], pa.string()),
            "text": with_nulls([f"text {i}" for i in rng.integers(0, num_rows, num_rows)], pa.large_string()),
            "tags": pa.array(lists, pa.list_(pa.string())),
            "vector": vectors,
            "coded": with_nulls(words[rng.integers(0, 6, num_rows)], pa.string()).dictionary_encode(),
        }
    )


def _database(folder: Path, rows: pa.Table, row_group_rows: int) -> RelBenchDataset:
    write_database(
        folder,
        {"t": rows},
        {"t": {"pkey": "id", "time_col": "at"}},
        val_timestamp="1970-01-07",
        test_timestamp="1970-01-09",
    )
    pq.write_table(rows, folder / "db" / "t.parquet", row_group_size=row_group_rows)
    return open_dataset(folder)


@pytest.mark.parametrize("seed", range(3))
def test_row_groups_and_threads_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The oracle is the table in memory as a whole."""
    rng = np.random.default_rng(seed)
    rows = _random_table(rng, 200)
    monkeypatch.setattr(features, "MAX_DONORS", 20)
    visible = rows["at"].cast(pa.int64()).to_numpy() <= 6 * 86_400_000
    columns, _ = fit_columns(rows, visible, {"id"})
    embedder = HashedNgramEmbedder()
    schema = TableSchema(
        name="t",
        num_rows=200,
        num_rows_up_to_cutoff=int(visible.sum()),
        pkey_col="id",
        time_col="at",
        fkey_col_to_pkey_table={},
        columns=columns,
    )
    expected = encode(rows, schema, visible, embedder)
    for row_group_rows, batch_rows, workers in ((200, 1000, 1), (1, 7, 2), (int(rng.integers(2, 99)), 13, 3)):
        for module in (column_values, features):
            monkeypatch.setattr(module, "BATCH_ROWS", batch_rows)
        monkeypatch.setattr("rdl_core.graph.table_writer.BATCH_ROWS", batch_rows)
        monkeypatch.setattr(column_values, "_PENDING_BYTES", int(rng.integers(0, 200)))
        folder = tmp_path / f"{row_group_rows} {batch_rows}"
        store = materialize(_database(folder, rows, row_group_rows), folder / "stores", workers=workers)
        found = store.features["t"].arrays
        assert set(found) == set(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array, equal_nan=True), name


def test_one_and_two_threads_make_the_same_store(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    for workers in (1, 2):
        store = materialize(nasty_dataset, tmp_path / str(workers), workers=workers)
        assert store.content_hash == nasty_store.content_hash
        assert _files(store.path) == _files(nasty_store.path)


def test_donors_of_many_values_are_the_first_rows_of_the_most_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MAX_DONORS", 7)
    monkeypatch.setattr(features, "BATCH_ROWS", 10)
    rng = np.random.default_rng(0)
    for _ in range(200):
        keys = rng.integers(0, rng.integers(1, 60), rng.integers(0, 100))
        counts = {key: (keys == key).sum() for key in keys}
        first = {key: int(np.argmax(keys == key)) for key in keys}
        oracle = [first[key] for key in sorted(counts, key=lambda key: (-counts[key], first[key]))][:7]
        assert features._first_of_most_frequent(keys, None).tolist() == oracle


def test_distinct_strings_are_merged_in_order_of_appearance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_values, "_PENDING_BYTES", 0)
    chunks = [["b", None, "a"], [], ["a", "c", "b"], [None], ["d", "c"]]
    values = column_of(pa.chunked_array(chunks, pa.string()))
    assert values.distinct is not None and values.distinct.to_pylist() == ["b", "a", "c", "d"]
    assert values.array.tolist() == [0, -1, 1, 1, 2, 0, -1, 3, 2]  # type: ignore[union-attr]


def test_arrays_written_in_pieces_are_those_of_numpy(tmp_path: Path) -> None:
    for shape in ((0,), (5,), (1000, 2, 7)):
        array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
        np.save(tmp_path / "whole.npy", array)
        with ArrayWriter(tmp_path / "pieces.npy", np.int16, shape) as file:
            for begin in range(shape[0] - shape[0] % 3, -1, -3):
                file.write(begin, array[begin : begin + 3])
        assert (tmp_path / "pieces.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
        for begin in range(0, shape[0], 3):
            assert np.array_equal(read_rows(tmp_path / "pieces.npy", begin, begin + 1), array[begin : begin + 1])


class _CountingEmbedder(HashedNgramEmbedder):
    """A slow one, as far as KeptTexts can tell."""

    def __init__(self) -> None:
        super().__init__(8)
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += texts
        return super().embed(texts)


def test_a_text_is_embedded_once_and_found_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_embedding, "WORTH_KEEPING_S", 0.0)
    monkeypatch.setattr(text_embedding, "CHUNK_TEXTS", 10)
    embedder = _CountingEmbedder()
    monkeypatch.setattr("rdl_core.graph.materialization.text_embedder", lambda name: embedder)
    texts = [f"text {i % 95}" for i in range(200)]
    rows = pa.table({"id": np.arange(200), "at": pa.array(np.arange(200), pa.timestamp("s")), "text": texts})
    dataset = _database(tmp_path / "data", rows, 50)

    def stop(table: str) -> None:
        raise OSError("no space left on the device")

    with pytest.raises(OSError, match="no space"):
        materialize(dataset, tmp_path / "stores", progress=stop)
    (kept,) = (tmp_path / "stores").iterdir()
    assert kept.name.endswith(".texts") and len(list(kept.iterdir())) == 10
    next(kept.iterdir()).unlink()
    embedder.embedded.clear()
    store = materialize(dataset, tmp_path / "stores")
    assert len(embedder.embedded) in (5, 10)  # the chunk that was lost
    assert list((tmp_path / "stores").iterdir()) == [store.path]
    again = materialize(dataset, tmp_path / "others")
    assert sorted(embedder.embedded[-95:]) == sorted(set(texts))  # each distinct text once
    assert again.content_hash == store.content_hash


def test_kept_vectors_are_never_those_of_other_texts_or_embedders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_embedding, "WORTH_KEEPING_S", 0.0)
    eight, four = (KeptTexts(HashedNgramEmbedder(channels), tmp_path) for channels in (8, 4))
    for kept, texts in ((eight, ["ab", "c"]), (eight, ["a", "bc"]), (four, ["ab", "c"]), (eight, ["ab", "c"])):
        assert np.array_equal(kept.embed(texts), kept.embedder.embed(texts))
    assert len(list(tmp_path.iterdir())) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize
def stop(table):
    os.kill(os.getpid(), signal.SIGKILL)
materialize(open_dataset(Path(sys.argv[1])), Path(sys.argv[2]), progress=stop)
"""


def test_what_a_killed_process_leaves_is_no_store_and_the_next_run_removes_it(tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "stores")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    (left,) = (tmp_path / "stores").iterdir()
    assert ".partial-" in left.name and not (left / "store.json").exists()
    mine = left.with_name(left.name.split(".partial-")[0] + f".partial-{platform.node()}-{os.getpid()}-0")
    mine.mkdir()  # of a process that is at work
    store = materialize(open_dataset(folder), tmp_path / "stores")
    assert sorted((tmp_path / "stores").iterdir()) == sorted([store.path, mine])


MEASURED = """
import re, sys
from pathlib import Path
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize

def peak_kb():  # since this program began; ru_maxrss would hold that of the process that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

small, wide, stores = map(Path, sys.argv[1:])
materialize(open_dataset(small), stores, workers=2)  # loads what any store needs
dataset = open_dataset(wide)
before = peak_kb()
materialize(dataset, stores, workers=2)
print(peak_kb() - before)
"""


def test_a_million_rows_of_twelve_columns_take_two_threads_less_than_130_mb(tmp_path: Path) -> None:
    num_rows, num_columns = 1_000_000, 12
    numbers = np.random.default_rng(0).integers(0, 1000, num_rows).astype(float)
    columns = {f"x{i}": np.roll(numbers, i) for i in range(num_columns)}
    rows = pa.table({"id": np.arange(num_rows), "at": pa.array(np.arange(num_rows), pa.timestamp("s")), **columns})
    _database(tmp_path / "small", rows.slice(0, 1_000), 50_000)
    _database(tmp_path / "wide", rows, 131_072)
    command = [sys.executable, "-c", MEASURED, *(str(tmp_path / name) for name in ("small", "wide", "stores"))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    more_mb = int(done.stdout) / 1024
    assert more_mb < 130, f"{more_mb:.0f} MB"  # the table alone is 107 MB, its cells and their copies came on top of it


def test_read_column_and_column_of_agree(tmp_path: Path) -> None:
    rows = _random_table(np.random.default_rng(9), 100)
    pq.write_table(rows, tmp_path / "t.parquet", row_group_size=7)
    for name in rows.column_names:
        a, b = read_column(tmp_path / "t.parquet", name), column_of(rows[name])
        assert np.array_equal(a.valid, b.valid) and a.distinct == b.distinct
        if isinstance(a.array, np.ndarray):
            assert np.array_equal(a.array, b.array, equal_nan=a.array.dtype.kind == "f")
        else:
            assert a.array == b.array
