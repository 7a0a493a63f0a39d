"""settings.yaml: what is written is read, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl_core.config import StoreConfig
from rdl_core.database.column_checks import DatabaseError
from rdl_core.database.dataset import open_dataset
from rdl_core.database.table_settings import TableSettings, read_table_settings, write_table_settings
from rdl_core.graph.materialization import materialize, source_hash
from tests.nasty_database import write_database

DAYS = pa.array([0, 86_400], pa.timestamp("s"))


def folder_of_orders(folder: Path) -> Path:
    columns = {"order_id": [0, 1], "customer": [0, 0], "at": DAYS, "closed": DAYS, "status": ["a", "b"]}
    tables = {"orders": pa.table(columns), "customers": pa.table({"id": [0], "city": ["Oslo"]})}
    specs = {
        "orders": {"pkey": "order_id", "time_col": "at", "fkeys": {"customer": "customers"}},
        "customers": {"pkey": "id"},
    }
    return write_database(folder, tables, specs, val_timestamp="1970-01-02", test_timestamp="1970-01-03")


def test_settings_are_read_as_they_were_written_and_no_file_means_defaults(tmp_path: Path) -> None:
    folder = folder_of_orders(tmp_path / "db")
    manifest = open_dataset(folder).manifest
    assert read_table_settings(folder, manifest) == {"orders": TableSettings(), "customers": TableSettings()}
    settings = {
        "orders": TableSettings(
            stypes={"status": "text"},
            known_from={"status": "closed"},
            valid_from="at",
            valid_to="closed",
            filled_later=("customer",),
        ),
        "customers": TableSettings(),
    }
    write_table_settings(folder, settings)
    assert read_table_settings(folder, manifest) == settings
    open_dataset(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tables: {nobody: {}}", "nobody"),
        ("tables: {orders: {known_since: {status: closed}}}", "known_since is unknown"),
        ("tables: {orders: {stypes: {status: word}}}", "status"),
        ("tables: {orders: {stypes: {status: numerical}}}", "its stype can be categorical, text"),
        ("tables: {orders: {stypes: {closed: text}}}", "its stype can be timestamp"),
        ("[1]", "a mapping with `tables:`"),
        ("tables: {orders: {known_from: {state: closed}}}", "'orders', column 'state'"),
        ("tables: {orders: {known_from: {status: city}}}", "'orders', column 'city'"),
        ("tables: {orders: {known_from: {status: order_id}}}", "got a key"),
        ("tables: {orders: {known_from: {customer: closed}}}", "import --exclude"),
        ("tables: {orders: {known_from: {at: closed}}}", "'orders', column 'at'"),
        ("tables: {orders: {valid_from: closed}}", "valid_from to be the table's time_col"),
        ("tables: {customers: {valid_to: city}}", "'customers', column 'city'"),
        ("tables: {orders: {valid_to: at}}", "name valid_from"),
        ("tables: {orders: {filled_later: [status]}}", "a foreign key: customer"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path: Path, text: str, expected: str) -> None:
    folder = folder_of_orders(tmp_path / "db")
    (folder / "settings.yaml").write_text(text)
    with pytest.raises(DatabaseError, match="settings.yaml") as refused:
        open_dataset(folder)
    assert expected in str(refused.value)


def test_other_settings_make_another_store(tmp_path: Path) -> None:
    folder = folder_of_orders(tmp_path / "db")
    before = source_hash(open_dataset(folder), StoreConfig())
    write_table_settings(folder, {"orders": TableSettings(stypes={"status": "text"})})
    assert source_hash(open_dataset(folder), StoreConfig()) != before


def test_a_semantic_type_that_is_given_takes_the_place_of_the_rule(tmp_path: Path) -> None:
    n = 40
    columns = {"number": list(range(n)), "code": [i % 3 for i in range(n)], "word": [f"w{i % 2}" for i in range(n)]}
    specs: dict[str, dict[str, str]] = {"things": {}}
    timestamps = {"val_timestamp": "1970-01-02", "test_timestamp": "1970-01-03"}
    folder = write_database(tmp_path / "db", {"things": pa.table(columns)}, specs, **timestamps)
    ruled = materialize(open_dataset(folder), tmp_path / "stores").schema.tables["things"].columns
    assert [c.stype for c in ruled] == ["numerical", "categorical", "categorical"]
    given = {"number": "categorical", "code": "numerical", "word": "text"}
    write_table_settings(folder, {"things": TableSettings(stypes=given)})  # type: ignore[arg-type]
    store = materialize(open_dataset(folder), tmp_path / "stores")
    columns_now = store.schema.tables["things"].columns
    assert [c.stype for c in columns_now] == ["categorical", "numerical", "text"]
    assert len(columns_now[0].categories) == n and columns_now[1].mean == pytest.approx(sum(columns["code"]) / n)
    frame = store.features["things"].gather(np.array([4, 5]))
    assert frame.get_col_feat("code").flatten().tolist() == [1.0, 2.0]
    assert frame.get_col_feat("number").flatten().tolist() == [columns_now[0].categories.index(v) for v in ("4", "5")]
