"""A table's vectors in a folder: which rows, by which names, the same bytes however the work is cut; what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from rdl_core.config import BackboneConfig
from rdl_core.embedding import Embedding, EmbeddingJob, EmbeddingsFolder, RowEmbedder
from rdl_core.embedding.folder import vectors_of
from rdl_core.graph.store import Store
from rdl_core.problems import InputError
from rdl_core.timestamps import seconds_of
from tests.nasty_database import VAL
from tests.rdl_core.embedding.small_models import (
    READS_COLUMNS,
    READS_STATISTICS,
    SAMPLING,
    fresh_model,
    job,
    saved_model,
)

pytestmark = pytest.mark.usefixtures("one_thread")
AT = seconds_of(VAL) + 1


@pytest.fixture(scope="module")
def model(nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(nasty_store, READS_STATISTICS, tmp_path_factory.mktemp("model"))


@pytest.fixture
def of_order(nasty_dataset: RelBenchDataset, nasty_store: Store, model: Path, tmp_path: Path) -> EmbeddingJob:
    """The orders, as of a second after VAL."""
    return job(nasty_dataset.dataset_dir, nasty_store, model, tmp_path / "out", "order", at_s=AT)


def written(job: EmbeddingJob, parts: list[int] | None = None) -> dict[str, bytes]:
    """Writes the missing parts, or some, and returns all files of the folder."""
    embedding = Embedding(job)
    missing = embedding.begin().missing_parts()
    for part in missing if parts is None else parts:
        embedding.write_part(part)
    return {path.name: path.read_bytes() for path in sorted(Path(job.out).iterdir())}


def test_a_folder_reads_as_one_table_of_keys_times_and_vectors_of_the_rows_that_exist(of_order: EmbeddingJob) -> None:
    written(of_order)
    table = pq.read_table(of_order.out)
    assert table.schema.remove_metadata() == pa.schema(
        [
            ("order_id", pa.int64()),
            ("time", pa.timestamp("ms", "UTC")),
            pa.field("embedding", pa.list_(pa.float32(), 16), nullable=False),
        ]
    )
    assert table["order_id"].to_pylist() == list(range(16))  # 13 before VAL, three in its second
    assert set(table["time"].cast("int64").to_pylist()) == {AT * 1000}
    assert np.isfinite(vectors_of(table)).all() and len(np.unique(vectors_of(table), axis=0)) == 16


def test_a_run_that_is_stopped_and_started_again_leaves_the_same_bytes(of_order: EmbeddingJob, tmp_path: Path) -> None:
    whole = written(of_order)
    stopped = dataclasses.replace(of_order, out=str(tmp_path / "stopped"))
    written(stopped, parts=[3, 0])
    (tmp_path / "stopped" / "part-000001.partial.parquet").write_bytes(b"half")
    before = (tmp_path / "stopped" / "part-000003.parquet").stat().st_mtime_ns
    assert written(stopped) == whole
    assert (tmp_path / "stopped" / "part-000003.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize("backbone", [READS_STATISTICS, READS_COLUMNS])
def test_a_row_has_one_vector_alone_and_among_others_in_any_order(nasty_store: Store, backbone: BackboneConfig) -> None:
    embed = RowEmbedder(nasty_store, fresh_model(nasty_store, backbone), "teams", SAMPLING)
    rows, time_s = np.arange(10), np.full(10, AT)
    together = embed(rows, time_s)
    alone = np.concatenate([embed(rows[[i]], time_s[[i]]) for i in (3, 0, 9)])
    np.testing.assert_allclose(alone, together[[3, 0, 9]], atol=2e-6)
    np.testing.assert_allclose(embed(rows[::-1], time_s), together[::-1], atol=2e-6)


def test_each_row_at_its_own_time_is_the_row_asked_for_then(
    of_order: EmbeddingJob, nasty_store: Store, model: Path
) -> None:
    own = dataclasses.replace(of_order, at_s=None, each_row_at="placed_at")
    written(own)
    table, time_s = pq.read_table(own.out), nasty_store.graph.table_time("order")
    assert table["order_id"].to_pylist() == list(range(24))
    assert table["time"].cast("int64").to_pylist() == (time_s * 1000).tolist()
    from rdl_core.model.checkpoint import from_pretrained

    embed = RowEmbedder(nasty_store, from_pretrained(model), "order", SAMPLING)
    np.testing.assert_allclose(vectors_of(table)[[7]], embed(np.array([7]), time_s[[7]]), atol=2e-6)


def test_rows_that_are_not_asked_about_are_counted_by_reason(of_order: EmbeddingJob) -> None:
    assert Embedding(of_order).questions.left_out == {"later than asked": 8}
    of_match = dataclasses.replace(of_order, table="match", at_s=None)
    assert Embedding(of_match).questions.left_out == {"of unknown time": 2}
    assert Embedding(dataclasses.replace(of_match, each_row_at="played_at")).questions.left_out == {
        "without a time to ask at": 2
    }


def test_by_default_all_rows_look_from_just_after_the_last_one(of_order: EmbeddingJob, nasty_store: Store) -> None:
    about = Embedding(dataclasses.replace(of_order, at_s=None)).about
    assert about.at_s == nasty_store.graph.after_last_row_s == int(nasty_store.graph.table_time("match")[:-2].max()) + 1


def test_rows_of_a_table_without_a_key_are_named_by_their_numbers_on_demand(of_order: EmbeddingJob) -> None:
    of_ticket = dataclasses.replace(of_order, table="ticket")
    with pytest.raises(InputError, match=r"'ticket' has no key of its own.*\nRemedy: --row-numbers"):
        Embedding(of_ticket)
    written(dataclasses.replace(of_ticket, row_numbers=True))
    assert (
        pq.read_table(of_order.out)["row"].to_pylist()
        == Embedding(dataclasses.replace(of_ticket, row_numbers=True)).questions.rows.tolist()
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"at_s": seconds_of("1900-01-01")}, r"no row of table 'order' exists before 1900.*24 later than asked; its first row is of 2020-02"),
        ({"at_s": None, "each_row_at": "note"}, r"'note': expected a column of times \(placed_at, delivered\), got a column of string"),
        ({"at_s": None, "each_row_at": "paid"}, r"'paid': expected a column of times \(placed_at, delivered\), got no such column"),
        ({"at_s": None, "each_row_at": "delivered"}, r"no row of table 'order' exists at its 'delivered': 4 without a time.*20 later"),
        ({"table": "orders"}, r"table 'orders'\n   expected one of: categories, teams, order"),
    ],
)  # fmt: skip
def test_a_job_that_cannot_be_done_is_refused_and_leaves_nothing(
    of_order: EmbeddingJob, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Embedding(dataclasses.replace(of_order, **changes))  # type: ignore[arg-type]
    assert not Path(of_order.out).exists()


def test_a_folder_of_another_run_or_of_something_else_is_refused_and_left_as_it_is(of_order: EmbeddingJob) -> None:
    there = written(of_order)
    with pytest.raises(FileExistsError, match=f"at_s: {AT} -> {AT + 1}"):
        Embedding(dataclasses.replace(of_order, at_s=AT + 1)).begin()
    assert written(of_order) == there
    (Path(of_order.out) / "_embeddings.json").rename(Path(of_order.out) / "mine.json")
    with pytest.raises(FileExistsError, match="something else than embeddings"):
        Embedding(of_order).begin()


def test_a_folder_whose_run_was_stopped_is_not_read_as_a_whole(of_order: EmbeddingJob) -> None:
    written(of_order, parts=[0, 2, 4])
    with pytest.raises(FileNotFoundError, match=r"lacks 2 of 5 parts, the first part-000001.parquet"):
        next(EmbeddingsFolder.open(Path(of_order.out)).parts())


def test_a_model_that_learned_to_read_columns_of_other_tables_only_is_refused(
    of_order: EmbeddingJob, nasty_store: Store, tmp_path: Path
) -> None:
    of_columns = saved_model(nasty_store, READS_COLUMNS, tmp_path)
    with pytest.raises(InputError, match=r"none of 'goal'.*embeds categories, teams, order, match, lineup"):
        Embedding(dataclasses.replace(of_order, checkpoint=str(of_columns), table="goal"))
