"""An import streams: its bytes depend neither on threads nor on how the database hands out rows, and a small memory limit is enough."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from distributed.schema import row_groups
from distributed.schema.refusals import ImportRefused

NUM_ROWS = 300_000


def _source(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    days = rng.integers(0, 700, NUM_ROWS).astype("timedelta64[D]")
    visits = {
        "visit": pa.array(rng.permutation(NUM_ROWS)),
        "person": pa.array(rng.integers(0, 1_000, NUM_ROWS)),
        "at": pa.array(np.datetime64("2020-01-01", "us") + days),
        "note": pa.array([f"note {i}" for i in rng.integers(0, NUM_ROWS, NUM_ROWS)]),
    }
    pq.write_table(pa.table(visits), folder / "visits.parquet")
    pq.write_table(pa.table({"person": np.arange(1_000)}), folder / "people.parquet")
    (folder / "schema.yaml").write_text(
        "people: {pkey: person}\nvisits: {pkey: visit, time_col: at, fkeys: {person: people}}\n"
    )
    return folder


def _config(source: Path, out: Path, **settings: int) -> ImportConfig:
    return ImportConfig(
        source=str(source),
        out=out,
        name="visits",
        schema_file=source / "schema.yaml",
        val_timestamp="2021-01-01",
        test_timestamp="2021-06-01",
        **settings,  # type: ignore[arg-type]
    )


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _source(tmp_path_factory.mktemp("bounded") / "source")


def test_an_import_that_spills_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    import_database(_config(source, tmp_path / "roomy"), progress=None)
    import_database(_config(source, tmp_path / "tight", memory_bytes=60_000_000, batch_rows=7_001), progress=None)
    assert _digests(tmp_path / "tight" / "db") == _digests(tmp_path / "roomy" / "db")
    assert _digests(tmp_path / "tight" / "keys") == _digests(tmp_path / "roomy" / "keys")


def test_row_groups_have_one_size_however_the_rows_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "ROW_GROUP_ROWS", 10)
    rng = np.random.default_rng(1)
    for _ in range(50):
        lengths = rng.integers(0, 35, rng.integers(0, 6))
        ends = np.cumsum(lengths)
        batches = [
            pa.record_batch({"x": np.arange(end - length, end)}) for length, end in zip(lengths, ends, strict=True)
        ]
        reader = pa.RecordBatchReader.from_batches(pa.schema({"x": pa.int64()}), batches)
        groups = list(row_groups.row_groups(reader))
        assert pa.concat_tables(groups)["x"].to_pylist() == list(range(lengths.sum()))
        assert all(len(group) == 10 for group in groups[:-1]) and len(groups[-1]) <= 10
        assert all(group["x"].num_chunks == 1 for group in groups)


def test_times_out_of_range_are_named_by_their_row_in_the_source_in_whatever_row_group(tmp_path: Path) -> None:
    source = _source(tmp_path / "source")
    visits = pq.read_table(source / "visits.parquet")
    due = np.full(NUM_ROWS, np.datetime64("2021-01-01", "us"))
    due[0] = np.datetime64("2999-12-31", "us")
    pq.write_table(visits.append_column("due", pa.array(due)), source / "visits.parquet")
    with pytest.raises(ImportRefused, match="column 'due', row 0 of the source: .* got 2999-12-31"):
        import_database(_config(source, tmp_path / "out"), progress=None)
    at, visit = visits["at"].to_numpy(), visits["visit"].to_numpy()
    row = int(((at < at[0]) | ((at == at[0]) & (visit < visit[0]))).sum())
    assert row > row_groups.ROW_GROUP_ROWS  # the row lies in another row group than in the source
