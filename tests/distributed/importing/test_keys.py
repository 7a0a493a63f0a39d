"""Keys become row numbers; keys that are unusual, composite or dangling."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from relbench.manifest import DatasetManifest

from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import NASTY, PAIR, column, config, files, run, sqlite_file


def test_keys_become_row_numbers_in_row_order(imported: Path) -> None:
    orders = pq.read_table(imported / "keys" / "order.parquet").to_pydict()
    # By time, ties by key, no time last; +02:00 of New Year's midnight lies in 2019.
    assert orders == {"source_key": [9, 7, 40, 100], "row_number": [0, 1, 2, 3]}
    assert column(imported, "order", "the id") == [0, 1, 2, 3]
    person = pq.read_table(imported / "keys" / "person.parquet")["source_key"].to_pylist()
    number = {key: row for row, key in enumerate(person)}
    assert column(imported, "order", "buyer") == [None, number["B-2"], number["a-10"], number["Ž-9"]]
    assert column(imported, "order", "seller") == [number["Ž-9"], None, number["B-2"], number["a-10"]]
    boss = dict(zip(person, column(imported, "person", "boss"), strict=True))
    assert boss == {"Ž-9": None, "a-10": number["Ž-9"], "B-2": number["B-2"]}


def test_dangling_keys_are_refused_or_nulled(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "d.db", NASTY + "INSERT INTO \"order\" VALUES (8, 'gone', NULL, NULL, 1, 1, '');")
    with pytest.raises(
        ImportRefused, match=r"'order', column 'buyer', row \d of the source \(\{'the id': 8\}\): value 'gone'.*null"
    ):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
    report = import_database(config(source, tmp_path / "out", dangling="null"), None)
    assert report.tables["order"].dangling_fkeys == {"buyer": 1, "seller": 0}
    assert report.tables["order"].null_fkeys == {"buyer": 1, "seller": 2}
    assert column(tmp_path / "out", "order", "buyer")[3] is None


def test_a_composite_key_becomes_a_column_of_row_numbers_beside_its_columns(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "pair.db", PAIR)
    lines = run(source, tmp_path / "out", time_cols={"sale": "at"})
    tables = DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables
    assert (tables["shop"].pkey, tables["sale"].fkeys) == ("town+no", {"town+no": "shop"})
    shop = pq.read_table(tmp_path / "out" / "db" / "shop.parquet").to_pydict()
    assert shop == {"town": ["Brno", "Praha"], "no": [1, 1], "town+no": [0, 1]}
    assert column(tmp_path / "out", "sale", "town+no") == [0, 1]
    assert column(tmp_path / "out", "sale", "town") == ["Brno", "Praha"]
    keys = pq.read_table(tmp_path / "out" / "keys" / "shop.parquet").to_pylist()
    assert keys[1] == {"source_key": {"town": "Praha", "no": 1}, "row_number": 1}
    assert "sale: the key ['town', 'no'] becomes the column 'town+no', its columns stay attributes" in lines


def test_a_composite_key_of_files_is_followed_like_that_of_a_database(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "pair.db", PAIR)
    run(source, tmp_path / "sql", time_cols={"sale": "at"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "shop.csv").write_text("town,no\nPraha,1\nBrno,1\n")
    (tmp_path / "in" / "sale.csv").write_text(  # pandas wrote `no` as a float
        "id,town,no,at,seen,dob\n5,Brno,1.0,2020-01-01,2020-01-01,2020-01-01\n3,Praha,1.0,2020-03-01,2020-03-03,2020-03-01\n"
    )
    (tmp_path / "schema.yaml").write_text(
        "shop: {pkey: [town, no]}\nsale: {pkey: id, time_col: at, fkeys: [{columns: [town, no], table: shop}]}\n"
    )
    run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
    ours, theirs = files(tmp_path / "out"), files(tmp_path / "sql")
    of_the_source = {"manifest.yaml", "report.html"}
    assert {name: ours[name] for name in ours if name not in of_the_source} == {
        name: theirs[name] for name in theirs if name not in of_the_source
    }


def test_composite_keys_that_are_null_or_dangle_are_counted_or_refused(tmp_path: Path) -> None:
    rows = "INSERT INTO sale (id, town, no) VALUES (7, NULL, 1), (8, 'Brno', 2)"
    source = sqlite_file(tmp_path / "pair.db", PAIR + rows)
    with pytest.raises(
        ImportRefused, match=r"'sale', column 'town\+no', row 3 .*\('Brno', 2\) is no shop.town\+no; 1 of 4"
    ):
        run(source, tmp_path / "out", time_cols={"sale": "at"})
    report = import_database(config(source, tmp_path / "out", time_cols={"sale": "at"}, dangling="null"), None)
    counts = report.tables["sale"]
    assert (counts.null_fkeys, counts.dangling_fkeys) == ({"town+no": 1}, {"town+no": 1})
    assert column(tmp_path / "out", "sale", "town+no") == [0, 1, None, None]


def test_a_composite_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "shop.csv").write_text("town,no\nBrno,1\nPraha,1\nBrno,1\n")
    (tmp_path / "schema.yaml").write_text("shop: {pkey: [town, no]}")
    with pytest.raises(
        ImportRefused, match=r"'shop', key \('town', 'no'\), rows 0 and 2 of the source: \('Brno', 1\) comes 2 times"
    ):
        run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml")


def test_the_date_in_a_composite_key_stays_a_time(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "price.csv").write_text("item,day,price\n1,2020-01-02,3\n1,2020-01-01,2\n")
    (tmp_path / "schema.yaml").write_text("price: {pkey: [item, day]}")
    run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
    table = DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables["price"]
    assert (table.pkey, table.time_col) == ("item+day", "day")
    assert column(tmp_path / "out", "price", "price") == [2, 3]


def test_a_composite_foreign_key_can_be_left_out(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "pair.db", PAIR)
    run(source, tmp_path / "out", exclude=("sale.town+no",), time_cols={})
    assert column(tmp_path / "out", "sale", "town") == ["Praha", "Brno"]  # by source key: no time column
    assert DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables["sale"].fkeys == {}


KEYS = """
CREATE TABLE a (id INTEGER PRIMARY KEY, birth_date DATE);
CREATE TABLE b (x INTEGER, y INTEGER, code TEXT UNIQUE, PRIMARY KEY (x, y));
CREATE TABLE c (a_or_b INTEGER REFERENCES a (id), code TEXT REFERENCES b (code), n INTEGER, hash BLOB,
    PRIMARY KEY (n, hash), FOREIGN KEY (a_or_b) REFERENCES d (id));
CREATE TABLE d (id INTEGER PRIMARY KEY);
INSERT INTO a VALUES (4, '2001-01-01'), (5, '2000-01-01');
INSERT INTO d VALUES (5), (6);
INSERT INTO b VALUES (1, 2, 'q'), (1, 1, 'r');
"""


def test_unusual_keys(tmp_path: Path) -> None:
    rows = ["(5, 'q', 1, x'00')", "(5, 'r', 1, x'01')", "(5, 'r', NULL, x'01')", "(5, 'q', NULL, x'01')"]
    for out, order in (("out", 1), ("reversed", -1)):
        script = KEYS + f"INSERT INTO c VALUES {', '.join(rows[::order])}"
        (tmp_path / f"in-{out}").mkdir()
        run(sqlite_file(tmp_path / f"in-{out}" / "k.db", script), tmp_path / out)
    # The key's blob is left out, and it has nulls: the other columns settle the order.
    assert files(tmp_path / "out") == files(tmp_path / "reversed")
    tables = DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables
    # One column with two foreign keys becomes two columns.
    assert sorted(tables["c"].fkeys.items()) == [("a_or_b", "a"), ("a_or_b__d", "d"), ("code", "b")]
    assert column(tmp_path / "out", "c", "a_or_b") == [1] * 4 and column(tmp_path / "out", "c", "a_or_b__d") == [0] * 4
    # The unique column that is referred to stays an attribute of a table with a composite pkey.
    assert tables["b"].pkey == "x+y" and column(tmp_path / "out", "b", "code") == ["r", "q"]
    assert column(tmp_path / "out", "c", "code") == [1, 0, 1, 0]
    assert tables["c"].pkey is None  # a part of it is a blob
    assert column(tmp_path / "out", "b", "y") == [1, 2]
    assert tables["a"].time_col is None  # a birthday


def test_fkeys_to_tables_that_are_not_imported_are_left_out(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "nasty.db")
    report = import_database(config(source, tmp_path / "out", tables=["order"]), None)
    assert report.tables["order"].left_out == dict.fromkeys(
        ("buyer", "seller"), "foreign key to 'person', which is not imported"
    )
    names = pq.read_schema(tmp_path / "out" / "db" / "order.parquet").names
    assert names == ["the id", "order_time", "price", "paid", "note"]


def test_sqlite_references_are_compared_without_case(tmp_path: Path) -> None:
    script = """CREATE TABLE Person (Id INTEGER PRIMARY KEY); CREATE TABLE pet (owner INTEGER REFERENCES person (ID));
        INSERT INTO Person VALUES (7); INSERT INTO pet VALUES (7);"""
    run(sqlite_file(tmp_path / "case.db", script), tmp_path / "out")
    assert DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables["pet"].fkeys == {"owner": "Person"}


def test_many_keys_are_mapped_by_columns(tmp_path: Path) -> None:
    """Cost: about a microsecond per key; a search per row would take minutes here."""
    num_rows = 200_000
    (tmp_path / "in").mkdir()
    query = f"SELECT 'k' || (i * 7919 % {num_rows}) AS id, 'k' || (i // 2) AS up FROM range({num_rows}) r(i)"
    with duckdb.connect() as con:
        pq.write_table(con.sql(query).to_arrow_table(), tmp_path / "in" / "t.parquet")
    (tmp_path / "schema.yaml").write_text("t: {pkey: id, fkeys: {up: t}}")
    report = import_database(config(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml"), None)
    assert report.wall_s < 60
    found = pd.read_parquet(tmp_path / "out" / "db" / "t.parquet")
    keys = pd.read_parquet(tmp_path / "out" / "keys" / "t.parquet")["source_key"]
    source = pd.read_parquet(tmp_path / "in" / "t.parquet").set_index("id")["up"]
    assert keys.is_monotonic_increasing
    assert (keys.iloc[found["up"]].to_numpy() == source.loc[keys].to_numpy()).all()
