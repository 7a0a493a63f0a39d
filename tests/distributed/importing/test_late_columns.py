"""From the schema file's words on when rows and cells become known to settings.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from relbench.manifest import DatasetManifest

from distributed.importing.appending import settings_without
from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from rdl_core.database.table_settings import TableSettings

ORDERS = "order_id,ordered at,closed_at,status,customer\n" + "".join(
    f"{i},2024-0{m}-01,2024-0{m}-15,{'ab'[i % 2]},{i % 3}\n" for i, m in enumerate([1, 2, 3, 4, 5, 6])
)
CUSTOMERS = "id,city\n0,Oslo\n1,Bergen\n2,Voss\n"
SCHEMA = """
customers: {pkey: id}
orders:
  pkey: order_id
  fkeys: {customer: customers}
"""


def import_files(folder: Path, orders: str, **options: object) -> Path:
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "orders.csv").write_text(ORDERS)
    (source / "customers.csv").write_text(CUSTOMERS)
    (folder / "schema.yaml").write_text(SCHEMA + orders)
    config = ImportConfig(
        source=str(source), out=folder / "out", name="shop", val_timestamp="2024-04-01", test_timestamp="2024-05-01",
        schema_file=folder / "schema.yaml", **options,  # type: ignore[arg-type]
    )  # fmt: skip
    import_database(config, None)
    return folder / "out"


def test_settings_of_the_schema_file_reach_the_folder(tmp_path: Path) -> None:
    words = "  columns:\n    status: {stype: text, known_from: closed_at}\n    closed_at: {known_from: closed_at}\n"
    out = import_files(tmp_path, words)
    found = yaml.safe_load((out / "settings.yaml").read_text())["tables"]["orders"]
    assert found == {"stypes": {"status": "text"}, "known_from": {"status": "closed_at", "closed_at": "closed_at"}}
    # a column that is known only from itself on is no candidate for the time of the row: the other one is
    assert DatasetManifest.load(out / "manifest.yaml").tables["orders"].time_col == "ordered_at"


def test_valid_from_is_the_time_of_the_row_by_its_name_in_the_folder(tmp_path: Path) -> None:
    out = import_files(tmp_path, "  valid_from: ordered at\n  valid_to: closed_at\n")
    assert DatasetManifest.load(out / "manifest.yaml").tables["orders"].time_col == "ordered_at"
    found = yaml.safe_load((out / "settings.yaml").read_text())["tables"]["orders"]
    assert found == {"valid_from": "ordered_at", "valid_to": "closed_at"}


def test_a_column_that_is_left_out_takes_its_settings_along(tmp_path: Path) -> None:
    words = "  time_col: ordered at\n  columns:\n    status: {known_from: closed_at}\n"
    out = import_files(tmp_path, words, exclude=("orders.status",))
    assert not (out / "settings.yaml").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("  columns: {status: {known_from: customer}}\n", "'orders', column 'customer': .* got a key"),
        ("  columns: {closed_at: {known_from: status}}\n", "'orders', column 'status': .* a column of text"),
        ("  columns: {customer: {known_from: closed_at}}\n", "'customer': known_from is for attributes"),
        ("  columns: {ordered at: {known_from: closed_at}}\n", "'ordered at': it is the time of the row"),
        ("  columns: {state: {known_from: closed_at}}\n", "'orders': no column 'state'"),
        ("  columns: {status: {known_since: closed_at}}\n", "known_since"),
        ("  columns: {status: {stype: numerical}}\n", "column 'status'(.|\n)*can be categorical, text"),
        ("  valid_from: closed_at\n  time_col: ordered at\n", "valid_from 'closed_at'"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_by_name(tmp_path: Path, words: str, expected: str) -> None:
    time = "" if "time_col" in words else "  time_col: ordered at\n"
    with pytest.raises(ImportRefused, match=expected):
        import_files(tmp_path, time + words)
    assert not (tmp_path / "out").exists()


def test_of_columns_that_are_left_out_only_their_own_settings_go() -> None:
    settings = TableSettings(
        stypes={"status": "text"}, known_from={"status": "closed", "gone": "closed"}, filled_later=("gone_key", "key")
    )
    kept = settings_without(settings, {"gone": "", "gone_key": "", "closed": ""})
    # Were the setting of `status` dropped with `closed`, it would be known too early; so it stays, and is refused.
    assert kept == TableSettings(stypes={"status": "text"}, known_from={"status": "closed"}, filled_later=("key",))
