"""The schema file: what docs/schema-file.md shows is imported; what means nothing is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from relbench.manifest import DatasetManifest

from distributed.importing.importer import import_database
from distributed.schema.declared_table import DeclaredTable
from distributed.schema.refusals import ImportRefused
from distributed.schema.schema_file import read_schema_file
from rdl_core.database.table_settings import read_table_settings
from tests import REPOSITORY
from tests.distributed.importing.small_imports import PAIR, column, config, run, sqlite_file

SHOWN = re.search(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "schema-file.md").read_text(), re.DOTALL)


def documented_folder(folder: Path) -> Path:
    """Writes the folder that the example in docs/schema-file.md declares."""
    folder.mkdir()
    files = {
        "customers.csv": "customer_id,signed_up,segment,postcode\n7,2020-01-01,1,00420\n8,2020-01-05,?,11000\n",
        "products.csv": "sku,code,launched\nA,1,2019-01-01\nB,2,\n",
        "prices.csv": "product,since,until,price\nA,2020-01-01,2020-01-10,1.5\nA,2020-01-10,,2.5\n",
        "orders.csv": "order_id,ordered_at,status,closed_at,customer_id,chain,shop,product_code\n"
        "1,02.01.2020 10:00,done,2020-01-09,7,Süd,2,2\n2,03.01.2020 09:30,open,,8,Süd,1,1\n",
        "order_notes.csv": "note\nhello\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "shops.csv").write_bytes("chain;shop_no;area\nSüd;1;1.234,5\nSüd;2;99\n".encode("cp1252"))
    return folder


def test_the_documented_example_is_imported_as_it_says(tmp_path: Path) -> None:
    assert SHOWN is not None
    (tmp_path / "schema.yaml").write_text(SHOWN.group(1))
    out = tmp_path / "out"
    run(str(documented_folder(tmp_path / "in")), out, schema_file=tmp_path / "schema.yaml")
    tables = DatasetManifest.load(out / "manifest.yaml").tables
    assert {name: (table.pkey, table.time_col, table.fkeys) for name, table in tables.items()} == {
        "customers": ("customer_id", "signed_up", {}),
        "shops": ("chain+shop_no", None, {}),
        "prices": (None, "since", {"product": "products"}),
        "products": ("sku", None, {}),
        "orders": (
            "order_id",
            "ordered_at",
            {"customer_id": "customers", "chain+shop": "shops", "product_code": "products"},
        ),
        "order_notes": (None, None, {}),
    }
    assert column(out, "orders", "ordered_at") == [pd.Timestamp("2020-01-02 10:00"), pd.Timestamp("2020-01-03 09:30")]
    assert column(out, "orders", "chain+shop") == [1, 0] and column(out, "orders", "product_code") == [1, 0]
    assert column(out, "shops", "area") == [1234.5, 99.0] and column(out, "customers", "segment") == [1, None]
    assert column(out, "customers", "postcode") == ["00420", "11000"]
    settings = read_table_settings(out, DatasetManifest.load(out / "manifest.yaml"))
    assert settings["customers"].stypes == {"segment": "categorical", "postcode": "text"}
    assert settings["orders"].known_from == {"status": "closed_at"}
    assert (settings["prices"].valid_from, settings["prices"].valid_to) == ("since", "until")


def test_every_field_is_documented() -> None:
    text = (REPOSITORY / "docs" / "schema-file.md").read_text()
    fields = set(DeclaredTable.__dataclass_fields__) - {"time_col_is_declared"}
    assert {name for name in fields if f"`{name}`" not in text} == set()


def test_tables_restricts_the_file_and_keys_to_others_are_left_out_with_a_line(tmp_path: Path) -> None:
    assert SHOWN is not None
    declared = yaml.safe_load(SHOWN.group(1))
    declared["gone"] = {"pkey": "nothing"}
    del declared["order_notes"]
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(declared))
    source, options = documented_folder(tmp_path / "in"), {"schema_file": tmp_path / "schema.yaml"}
    (source / "products.csv").write_bytes(b"\xff\xfe\x00")  # not even read
    lines = run(str(source), tmp_path / "out", tables=("customers", "orders"), **options)
    assert "orders.product_code: left out, foreign key to 'products', which is not imported" in lines
    assert sorted(DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables) == ["customers", "orders"]
    with pytest.raises(ImportRefused, match=r"(?s)products.csv.*"):
        run(str(source), tmp_path / "all", **options)


def test_a_file_adds_to_what_a_database_declares(tmp_path: Path) -> None:
    script = """CREATE TABLE shop (id INTEGER PRIMARY KEY, opened DATE); CREATE TABLE visit (shop INTEGER, at TEXT);
        INSERT INTO shop VALUES (3, '2020-01-01'), (2, '2020-01-02'); INSERT INTO visit VALUES (2, '03.02.2020');"""
    (tmp_path / "schema.yaml").write_text("visit: {fkeys: {shop: shop}, time_col: at, formats: {at: '%d.%m.%Y'}}")
    source = sqlite_file(tmp_path / "s.db", script)
    report = import_database(config(source, tmp_path / "out", schema_file=tmp_path / "schema.yaml"), None)
    assert report.tables["visit"].fkey_col_to_pkey_table == {"shop": "shop"}
    assert column(tmp_path / "out", "visit", "at") == [pd.Timestamp("2020-02-03")]
    assert (report.tables["shop"].pkey_col, report.tables["shop"].time_col) == ("id", "opened")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "expected YAML in UTF-8"),
        ("- a", "expected a mapping of tables, for example"),
        ("", "expected a mapping of tables, for example"),
        ("a: id", "table 'a': expected a name and a mapping such as `pkey: id`, got 'id'"),
        ("a: {key: id}", "table 'a': key is unknown; DeclaredTable has the fields pkey, fkeys, time_col"),
        ("a: {pkey: {x: y}}", "table 'a': pkey is .*; it should be a valid"),
        ("a: {pkey: [x, x]}", r"table 'a': pkey is \['x', 'x'\]; expected different columns"),
        ("a: {fkeys: [b]}", "table 'a': fkeys.0 is 'b'"),
        ("a: {fkeys: [{columns: [], table: b}]}", "table 'a': .*expected one or more different columns"),
        ("a: {fkeys: [{columns: [x, y], table: b, parent_columns: [z]}]}", "are 2 columns, parent_columns .* expected as many"),
        ("a: {stype: {x: category}}", "table 'a': stype.x is 'category'; it should be 'numerical', 'categorical'"),
        ("a: {columns: {x: {type: numerical}}}", r"columns: 'x' is .*expected a mapping with some of \['stype', 'known_from', 'format'\]"),
        ("a: {delimiter: ''}", "delimiter is ''; expected one character"),
        ("a: {encoding: utf-9}", "encoding is 'utf-9'; expected one such as utf-8 or cp1252"),
        ("a: {decimal: ';'}", "decimal is ';'; it should be '.' or ','"),
        ("a: {valid_to: x}", "valid_to is 'x' without valid_from"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "schema.yaml").write_text(text)
    with pytest.raises(ImportRefused, match="(?s)--schema-file schema.yaml.*" + message):
        read_schema_file(tmp_path / "schema.yaml")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"sale": {"pkey": ["town", "no"]}}, r"table 'sale': pkey \['town', 'no'\] contradicts the source, which declares \['id'\]"),
        ({"sale": {"time_col": "when"}}, r"table 'sale': no column 'when' \(time_col\); it has \['id', 'town'"),
        ({"sale": {"stype": {"size": "numerical"}}}, r"table 'sale': no column 'size' \(stype\)"),
        ({"sales": {}}, r"no table 'sales'; the source has \['sale', 'shop'\]"),
        ({"sale": {"fkeys": {"id": "shop"}}}, r"fkey 'id' refers to 'shop', whose pkey is \['town', 'no'\]; expected as many columns"),
        ({"sale": {"fkeys": {"id": "stores"}}}, "fkey 'id' refers to 'stores', which is no table of the source"),
    ],
)  # fmt: skip
def test_what_the_source_does_not_have_or_contradicts_is_named(
    tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(entries))
    with pytest.raises(ImportRefused, match="--schema-file.*" + message):
        run(sqlite_file(tmp_path / "pair.db", PAIR), tmp_path / "out", schema_file=tmp_path / "schema.yaml")


def test_names_that_yaml_takes_for_something_else_are_text(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(
        "no: {pkey: 1, fkeys: {on: 2024-01-01}}\n2024-01-01: {pkey: 0x10, time_col: null}\n"
    )
    declared = read_schema_file(tmp_path / "schema.yaml")
    assert declared["no"].pkey == ("1",) and declared["no"].fkeys[0].table == "2024-01-01"
    assert declared["2024-01-01"].pkey == ("0x10",) and declared["2024-01-01"].time_col_is_declared
