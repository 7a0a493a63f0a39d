"""Rows by the names that the source has for them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from rdl_core.database import DatabaseError, open_dataset
from rdl_core.database.source_keys import read_source_keys
from tests.nasty_database import write_nasty_database


def with_keys(folder: Path, keys: pa.Table) -> RelBenchDataset:
    """The nasty database with a file of the source's keys of its categories."""
    dataset = open_dataset(write_nasty_database(folder / "nasty"))
    (dataset.dataset_dir / "keys").mkdir()
    pq.write_table(keys, dataset.dataset_dir / "keys" / "categories.parquet")
    return dataset


def test_keys_come_in_the_order_of_the_rows_under_the_keys_own_name(tmp_path: Path) -> None:
    rows = [3, 0, 5, 1, 2, 4]
    keys = read_source_keys(
        with_keys(tmp_path, pa.table({"source_key": [f"K-{r}" for r in rows], "row_number": rows})), "categories"
    )
    assert keys.to_pydict() == {"category_id": [f"K-{r}" for r in range(6)]}


def test_a_key_of_several_columns_has_a_column_for_each(tmp_path: Path) -> None:
    structs = pa.array([{"town": "Brno", "no": r} for r in range(6)])
    keys = read_source_keys(
        with_keys(tmp_path, pa.table({"source_key": structs, "row_number": range(6)})), "categories"
    )
    assert keys.to_pydict() == {"town": ["Brno"] * 6, "no": list(range(6))}


def test_without_an_import_the_primary_key_is_the_name(nasty_dataset: RelBenchDataset) -> None:
    assert read_source_keys(nasty_dataset, "teams").to_pydict() == {"team_id": list(range(12))}


def test_a_table_without_a_key_and_one_that_is_not_there_are_refused_with_a_remedy(
    nasty_dataset: RelBenchDataset,
) -> None:
    with pytest.raises(
        DatabaseError, match=r"'ticket'\n   expected a key of its own.*\n.*\n   remedy: declare its pkey"
    ):
        read_source_keys(nasty_dataset, "ticket")
    with pytest.raises(DatabaseError, match="'tickets'\n   expected one of: categories, teams, order"):
        read_source_keys(nasty_dataset, "tickets")


def test_a_file_of_fewer_keys_than_rows_is_refused(tmp_path: Path) -> None:
    dataset = with_keys(tmp_path, pa.table({"source_key": ["a"], "row_number": [0]}))
    with pytest.raises(DatabaseError, match="expected the keys of the table's 6 rows\n   got 1 keys"):
        read_source_keys(dataset, "categories")
