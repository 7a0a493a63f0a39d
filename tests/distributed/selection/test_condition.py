"""--where: only rows for which a condition is true; keys to the others become null, counted apart from dangling ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import column, config, files, run, sqlite_file

SHOP = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, city TEXT, score REAL, boss INTEGER REFERENCES customer);
CREATE TABLE sale (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer, at DATETIME, amount REAL);
INSERT INTO customer VALUES (1, 'Oslo', 1.5, NULL), (2, 'Voss', NULL, 1), (3, 'Oslo', 3.5, 2), (4, 'Bergen', 0.5, 4);
INSERT INTO sale VALUES (10, 1, '2020-01-01', 5), (11, 2, '2020-01-02', 50), (12, 2, '2020-03-01', 500), (13, 9, '2020-03-02', 1),
    (14, 4, '2020-03-03', NULL);
"""


def source_keys(out: Path, table: str) -> list[object]:
    """Returns the source keys of an imported table in the order of its rows."""
    keys: list[object] = pq.read_table(out / "keys" / f"{table}.parquet")["source_key"].to_pylist()
    return keys


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("amount > 5", [11, 12]),
        ("\"at\" < TIMESTAMP '2020-02-01' OR amount IS NULL", [10, 11, 14]),
        ("sale.id % 2 = 0 -- even ones", [10, 12, 14]),
        ("customer IN (2, 9)", [11, 12, 13]),
        ("AMOUNT / 0 > 1 OR true", [10, 11, 12, 13, 14]),
    ],
)
def test_only_rows_for_which_the_condition_is_true_are_imported(
    tmp_path: Path, condition: str, kept: list[int]
) -> None:
    source = sqlite_file(tmp_path / "shop.db", SHOP)
    run(source, tmp_path / "out", where=(("sale", condition),), dangling="null")
    assert source_keys(tmp_path / "out", "sale") == kept


def test_the_rows_kept_and_those_of_which_the_condition_is_null_are_said(tmp_path: Path) -> None:
    lines = run(
        sqlite_file(tmp_path / "s.db", SHOP), tmp_path / "out", where=(("sale", "amount > 5"),), dangling="null"
    )
    assert "sale: --where keeps 2 of 5 rows; 1 of the others because the condition is null for them" in lines


def test_keys_to_rows_left_out_are_null_and_counted_apart_from_dangling_ones(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP)
    where = (("customer", "city <> 'Voss'"),)
    with pytest.raises(
        ImportRefused, match=r"row \d of the source \(\{'id': 13\}\): value 9 is no customer.id; 1 of 5 rows"
    ):
        run(source, tmp_path / "out", where=where)  # customer 2 is left out, customer 9 has never been
    report = import_database(config(source, tmp_path / "out", where=where, dangling="null"), None)
    assert report.tables["sale"].unselected_fkeys == {"customer": 2}
    assert report.tables["sale"].dangling_fkeys == {"customer": 1}
    assert report.tables["customer"].unselected_fkeys == {"boss": 1}  # of a row to a row of its own table
    assert column(tmp_path / "out", "sale", "customer") == [0, None, None, None, 2]


def test_a_condition_that_keeps_nothing_leaves_an_empty_table_that_is_said(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP)
    lines = run(source, tmp_path / "out", where=(("customer", "false"),), dangling="null")
    assert "customer: --where keeps 0 of 4 rows" in lines
    assert any(line.startswith("customer: no rows; it is imported empty") for line in lines)
    assert any(
        line.startswith("sale.customer: 4 keys set to null, since --where leaves the rows out") for line in lines
    )


def test_a_condition_sees_the_types_of_a_csv_and_not_its_text(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("id,amount,at\n1,9,2020-01-01\n2,10,2020-01-02\n3,100,2020-01-03\n")
    (tmp_path / "schema.yaml").write_text("t: {pkey: id}")
    where = (("t", "amount BETWEEN 10 AND 99 AND \"at\" > DATE '2020-01-01'"),)
    run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml", where=where)
    assert column(tmp_path / "out", "t", "amount") == [10]


def test_columns_of_one_condition_with_the_order_of_rows_changed_give_the_same_bytes(tmp_path: Path) -> None:
    for name, script in (
        ("a", SHOP),
        (
            "b",
            SHOP.replace(
                "(1, 'Oslo', 1.5, NULL), (2, 'Voss', NULL, 1)", "(2, 'Voss', NULL, 1), (1, 'Oslo', 1.5, NULL)"
            ),
        ),
    ):
        (tmp_path / name).mkdir()
        source = sqlite_file(tmp_path / name / "s.db", script)
        run(source, tmp_path / name / "out", where=(("customer", "score > 1"),), dangling="null")
    assert files(tmp_path / "a" / "out") == files(tmp_path / "b" / "out")


@pytest.mark.parametrize(
    ("table", "condition", "message"),
    [
        ("sales", "true", r"no table 'sales'; expected some of \['customer', 'sale'\]"),
        ("sale", "amount >", "DuckDB cannot read it"),
        ("sale", "amount > 1) UNION SELECT (2", "expected one condition"),
        ("sale", "true), (true", "expected one condition"),
        ("sale", "true) FROM range(3) WHERE (true", "expected one condition"),
        ("sale", "true); DROP TABLE x; SELECT (true", "Only SELECT statements.*expected one condition"),
        ("sale", "at < 3", 'double quotes: "at"'),
        ("sale", "customer IN (SELECT 1)", "holds no query"),
        ("sale", "price > 1", r"table 'sale' has no column \['price'\]; it has \['id', 'customer', 'at', 'amount'\]"),
        ("sale", "random() < 0.5", "random changes by itself"),
        ("sale", '"at" < current_date', "current_date changes by itself"),
        ("sale", "amount", "true or false, got DOUBLE; compare it with a value"),
        ("sale", 'CAST("at" AS INTEGER) > 3', r"DuckDB cannot evaluate it.*columns: id \(integer\).*at \(timestamp\)"),
        ("customer", "CAST(city AS INTEGER) > 3", "'CAST.*cannot evaluate it: Conversion Error"),
        ("sale", "sum(amount) > 3", "cannot evaluate it"),
        ("sale", "row_number() OVER () > 3", "cannot evaluate it"),
        ("sale", "no_such_function(amount)", "cannot evaluate it"),
        ("sale", "amount > ?", "expected one condition"),
    ],
)
def test_what_is_no_condition_is_refused_with_table_and_condition(
    tmp_path: Path, table: str, condition: str, message: str
) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP)
    with pytest.raises(ImportRefused, match=f"(?s)--where.*{message}"):
        run(source, tmp_path / "out", where=((table, condition),), dangling="null")
    assert not (tmp_path / "out").exists()


def test_a_table_with_two_conditions_is_refused(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP)
    with pytest.raises(ImportRefused, match="'sale' is named twice; give one condition, joined by AND or OR"):
        run(source, tmp_path / "out", where=(("sale", "id > 1"), ("sale", "id < 9")))


def test_a_condition_leaves_repeated_keys_out_before_keys_are_checked(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("id,version,at\n1,1,2020-01-01\n1,2,2020-01-02\n2,1,2020-01-03\n")
    (tmp_path / "schema.yaml").write_text("t: {pkey: id, time_col: at}")
    run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml", where=(("t", "version = 1"),))
    assert source_keys(tmp_path / "out", "t") == [1, 2]
