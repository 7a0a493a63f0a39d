"""A store made table by table: the same bytes as in one process, and each task reads its own table only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from relbench.load import RelBenchDataset

from distributed.storage.materialize import TableEncoder, materialize_in_parallel
from rdl_core.graph.materialization import StoreConfig
from rdl_core.graph.store import Store


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.ray
def test_a_store_made_in_parallel_is_the_same_to_the_byte(
    ray_session: None, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    tables: list[str] = []
    store = materialize_in_parallel(nasty_dataset, tmp_path, StoreConfig(), progress=tables.append)
    assert store.path.name == nasty_store.path.name
    assert files(store.path) == files(nasty_store.path)
    assert sorted(tables) == sorted(nasty_store.schema.tables)


def test_a_task_reads_no_table_but_its_own(nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path) -> None:
    """With the files of all other tables gone: the database was validated once, by the command."""
    for number, (table, schema) in enumerate(nasty_store.schema.tables.items()):
        data, folder = tmp_path / f"data of {table}", tmp_path / f"cells of {table}"
        (data / "db").mkdir(parents=True)
        shutil.copy(nasty_dataset.dataset_dir / "manifest.yaml", data)
        shutil.copy(nasty_dataset.db_dir / f"{table}.parquet", data / "db")
        folder.mkdir()
        visible = np.asarray(nasty_store.graph.table_time(table)) <= nasty_store.schema.cutoff_s
        assert TableEncoder(str(data), StoreConfig()).encode(table, visible, folder) == schema
        assert files(folder) == files(nasty_store.path / "tables" / str(number))
