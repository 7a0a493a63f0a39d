"""Databases with and without constraints: what is declared always wins, the rest is added by --accept or a schema file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distributed.commands.inputs import refuse_unlinked
from distributed.importing.config import ImportRefused
from distributed.importing.importer import import_database
from rdl_core.database.dataset import open_dataset
from rdl_core.problems import InputError
from tests.distributed.importing.small_imports import config, run, sqlite_file
from tests.distributed.inference.small_sources import fkeys, pkeys, proposed

ROWS = "".join(
    f"INSERT INTO customers VALUES ({i}, 'c{i % 3}'); INSERT INTO orders VALUES ({i}, {1 + i % 20}, '2020-01-{1 + i % 28:02d}');"
    for i in range(1, 31)
)
BARE = f"CREATE TABLE customers (customer_id INTEGER, city TEXT); CREATE TABLE orders (order_id INTEGER, customer_id INTEGER, at DATETIME); {ROWS}"
DECLARED = (
    BARE.replace("customer_id INTEGER, at", "customer_id INTEGER REFERENCES sellers (seller_id), at")
    + "CREATE TABLE sellers (seller_id INTEGER PRIMARY KEY); "
    + "".join(f"INSERT INTO sellers VALUES ({i});" for i in range(1, 31))
)


def test_a_database_without_constraints_is_linked_by_accept(tmp_path: Path) -> None:
    report = import_database(config(sqlite_file(tmp_path / "b.db", BARE), tmp_path / "out", accept=True), None)
    assert report.tables["orders"].fkey_col_to_pkey_table == {"customer_id": "customers"}
    assert (report.tables["orders"].pkey_col, report.tables["customers"].pkey_col) == ("order_id", "customer_id")
    refuse_unlinked(open_dataset(tmp_path / "out"))


def test_a_declared_key_is_never_proposed_against(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "d.db", DECLARED)
    proposal = proposed(source, propose=tmp_path / "s.yaml")
    assert fkeys(proposal, "declared") == {"orders.customer_id -> sellers.seller_id"}
    assert fkeys(proposal, "certain", "likely") == set()
    assert pkeys(proposal, "declared") == {"sellers": "seller_id"}
    report = import_database(config(source, tmp_path / "out", accept=True), None)
    assert report.tables["orders"].fkey_col_to_pkey_table == {"customer_id": "sellers"}


def test_a_declared_foreign_key_in_the_proposed_file_stands_below_fkeys_and_is_said_to_need_no_entry(
    tmp_path: Path,
) -> None:
    proposed(sqlite_file(tmp_path / "d.db", DECLARED), propose=tmp_path / "s.yaml")
    text = (tmp_path / "s.yaml").read_text()
    assert "  # fkeys:\n    # customer_id: sellers  # declared: by the source\n" in text
    assert "What the source itself declares is\n# there to be read and needs no entry." in text


def test_without_keys_the_candidates_are_said_and_pretraining_is_refused(tmp_path: Path) -> None:
    lines = run(sqlite_file(tmp_path / "b.db", BARE), tmp_path / "out")
    assert any(line.startswith("warning: no table refers to another one: of 2 tables") for line in lines)
    assert any("foreign key orders.customer_id -> customers.customer_id (certain" in line for line in lines)
    with pytest.raises(InputError, match="no table refers to another one: customers, orders") as refused:
        refuse_unlinked(open_dataset(tmp_path / "out"))
    assert "--propose schema.yaml" in str(refused.value)
    again = run(sqlite_file(tmp_path / "c.db", BARE), tmp_path / "again")
    assert [line for line in lines if "warning" in line] == [line for line in again if "warning" in line]


def test_one_table_alone_is_not_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(sqlite_file(tmp_path / "b.db", BARE), tmp_path / "out", tables=("orders",))
    assert not any("refers to another" in line for line in lines)
    refuse_unlinked(open_dataset(tmp_path / "out"))
    assert "orders is the only table" in "".join(capsys.readouterr())


def test_a_schema_file_adds_to_a_database_and_a_clash_is_refused(tmp_path: Path) -> None:
    schema = tmp_path / "s.yaml"
    schema.write_text("customers: {pkey: customer_id}\norders: {fkeys: {customer_id: customers}}\n")
    report = import_database(config(sqlite_file(tmp_path / "b.db", BARE), tmp_path / "out", schema_file=schema), None)
    assert report.tables["orders"].fkey_col_to_pkey_table == {"customer_id": "customers"}
    with pytest.raises(ImportRefused, match=r"customer_id.*sellers"):
        run(sqlite_file(tmp_path / "d.db", DECLARED), tmp_path / "clash", schema_file=schema)


def test_the_report_holds_every_proposal_with_its_evidence_and_reads_back(tmp_path: Path) -> None:
    settings = config(sqlite_file(tmp_path / "b.db", BARE), tmp_path / "out", accept=True, val_timestamp=None)
    report = import_database(settings, None)
    found = json.loads((tmp_path / "out" / "import.json").read_text())["report"]["proposal"]
    (key,) = found["foreign_keys"]
    assert (key["num_distinct"], key["num_found"], key["is_accepted"], key["verdict"]) == (20, 20, True, "certain")
    assert found["timestamps"]["val_timestamp"] == open_dataset(tmp_path / "out").manifest.val_timestamp
    again = import_database(settings, None)
    assert again.is_reused and again.proposal == report.proposal
