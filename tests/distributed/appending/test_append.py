"""--append: earlier rows keep their numbers and values, new ones follow, what has changed or is gone is said; beside a fresh import."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import relbench

from distributed.import_report.report import Growth, ImportReport
from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize
from tests.distributed.importing.small_imports import column, config, files, run

SHOP = """
CREATE TABLE customer (id TEXT PRIMARY KEY, city TEXT, friend TEXT REFERENCES customer);
CREATE TABLE sale (id INTEGER PRIMARY KEY, customer TEXT REFERENCES customer, happened DATETIME, amount REAL);
CREATE TABLE line (sale INTEGER REFERENCES sale, position INTEGER, note TEXT, PRIMARY KEY (sale, position));
CREATE TABLE visit (customer TEXT REFERENCES customer, at DATETIME, page TEXT);
INSERT INTO customer VALUES ('b', 'Oslo', NULL), ('d', 'Voss', 'b');
INSERT INTO sale VALUES (10, 'b', '2020-01-01', 5), (30, 'd', '2020-01-10', 7), (20, 'b', '2020-02-20', NULL);
INSERT INTO line VALUES (10, 1, 'x'), (10, 2, NULL), (30, 1, 'y');
INSERT INTO visit VALUES ('b', '2020-01-02', 'p'), ('b', '2020-01-02', 'p'), ('d', '2020-01-03', NULL);
"""
LATER = """
INSERT INTO customer VALUES ('a', 'Bergen', 'c'), ('c', 'Oslo', 'd');
INSERT INTO sale VALUES (5, 'a', '2020-03-01', 1), (40, 'b', '2020-03-02', 2);
INSERT INTO line VALUES (5, 1, 'z'), (30, 2, 'w');
INSERT INTO visit VALUES ('b', '2020-01-02', 'p'), ('a', '2020-03-01', 'q');
"""
MONTH = {"val_timestamp": "2020-02-15", "test_timestamp": "2020-03-15"}


def change(path: Path, script: str) -> str:
    """Runs a script on a SQLite file; returns its URL."""
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()
    return f"sqlite:///{path}"


def append(tmp_path: Path, later: str, **options: Any) -> ImportReport:
    """Imports the shop, changes it by a script, and appends its later state."""
    path = tmp_path / "shop.db"
    import_database(config(change(path, SHOP), tmp_path / "out", **options), None)
    return import_database(config(change(path, later), tmp_path / "out", append=True, **{**options, **MONTH}), None)


def keys(out: Path, table: str) -> list[Any]:
    found: list[Any] = pq.read_table(out / "keys" / f"{table}.parquet")["source_key"].to_pylist()
    return found


def by_source_key(out: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Returns the rows of an import as sets would have them: keys replaced by those of the source, sorted."""
    manifest = relbench.load_dataset(out).manifest
    names = {name: keys(out, name) for name, spec in manifest.tables.items() if spec.pkey}
    found = {}
    for name, spec in manifest.tables.items():
        rows = pq.read_table(out / "db" / f"{name}.parquet").to_pylist()
        owners = dict(spec.fkeys) | ({spec.pkey: name} if spec.pkey else {})
        for row in rows:
            row |= {c: None if row[c] is None else names[owner][row[c]] for c, owner in owners.items()}
        found[name] = sorted((tuple(row.values()) for row in rows), key=repr)
    return found


def test_earlier_rows_keep_their_numbers_and_new_ones_follow(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    run(change(path, SHOP), tmp_path / "first")
    (tmp_path / "x").mkdir()
    report, out = append(tmp_path / "x", LATER), tmp_path / "x" / "out"
    for table in ("customer", "sale", "line"):
        before = pq.read_table(tmp_path / "first" / "keys" / f"{table}.parquet")
        assert pq.read_table(out / "keys" / f"{table}.parquet").slice(0, len(before)) == before
    for table in ("customer", "sale", "line", "visit"):
        before = pq.read_table(tmp_path / "first" / "db" / f"{table}.parquet")
        assert pq.read_table(out / "db" / f"{table}.parquet").slice(0, len(before)) == before
    assert keys(out, "customer") == ["b", "d", "a", "c"] and keys(out, "sale") == [10, 30, 20, 5, 40]
    assert column(out, "customer", "friend") == [None, 0, 3, 1]
    assert column(out, "sale", "customer") == [0, 1, 0, 2, 0]
    assert report.growth["sale"] == Growth(num_old=3, num_new=2)
    assert report.growth["visit"] == Growth(num_old=3, num_new=2, num_older=1, has_key=False)


def test_an_appended_import_holds_what_a_fresh_one_holds(tmp_path: Path) -> None:
    append(tmp_path, LATER)
    run(f"sqlite:///{tmp_path}/shop.db", tmp_path / "fresh", **MONTH)
    assert by_source_key(tmp_path / "out") == by_source_key(tmp_path / "fresh")


def test_every_row_that_is_left_has_its_parents_after_several_appends(tmp_path: Path) -> None:
    append(tmp_path, LATER)
    more = "INSERT INTO customer VALUES ('e', 'Voss', 'a'); INSERT INTO sale VALUES (50, 'e', '2020-03-20', 3);"
    source = change(tmp_path / "shop.db", more)
    last = {"val_timestamp": "2020-03-01", "test_timestamp": "2020-03-19"}
    report = import_database(config(source, tmp_path / "out", append=True, **last), None)
    run(source, tmp_path / "fresh", **last)
    assert by_source_key(tmp_path / "out") == by_source_key(tmp_path / "fresh")
    assert report.growth["sale"].num_new == 1 and keys(tmp_path / "out", "sale") == [10, 30, 20, 5, 40, 50]
    history = json.loads((tmp_path / "out" / "import.json").read_text())["history"]
    assert [entry["rows"]["sale"] for entry in history] == [3, 5]
    assert [entry["config"]["val_timestamp"] for entry in history] == ["2020-01-15", "2020-02-15"]


def test_changed_rows_stay_as_they_were_and_are_said_with_columns_and_keys(tmp_path: Path) -> None:
    later = "UPDATE sale SET amount = 99 WHERE id IN (10, 20); UPDATE sale SET customer = 'd' WHERE id = 10;"
    report = append(tmp_path, later)
    assert report.growth["sale"] == Growth(
        num_old=3, num_changed=2, changed_columns={"customer": 1, "amount": 2}, first_changed=("10", "20")
    )
    assert column(tmp_path / "out", "sale", "amount") == [5, 7, None]
    assert column(tmp_path / "out", "sale", "customer") == [0, 1, 0]
    found = {(leak.kind, leak.place): (leak.num_rows, leak.remedy) for leak in report.leaks}
    assert found["overwritten", "sale.amount"][0] == 2 and "known_from" in found["overwritten", "sale.amount"][1]
    assert "filled_later: [customer]" in found["overwritten", "sale.customer"][1]
    line = "sale: 2 rows have changed in the source (customer in 1, amount in 2; keys 10, 20); they stay as they were imported"
    (said,) = [note for note in report.notes if note.startswith(line)]
    assert "A new import into another --out has them" in said


def test_rows_that_are_gone_stay_and_are_said(tmp_path: Path) -> None:
    later = "DELETE FROM line; DELETE FROM sale WHERE id IN (10, 20); DELETE FROM visit WHERE customer = 'd';"
    report = append(tmp_path, later)
    assert report.growth["sale"] == Growth(num_old=3, num_gone=2, first_gone=("10", "20"))
    assert report.growth["line"].num_gone == 3 and report.growth["visit"].num_gone == 1
    assert keys(tmp_path / "out", "sale") == [10, 30, 20] and len(column(tmp_path / "out", "visit", "page")) == 3
    assert "sale: 2 rows are not in the source any more (keys 10, 20); they stay" in report.notes
    assert any(
        note.startswith("visit: 1 rows are not in the source") and "gone and as new" in note for note in report.notes
    )


def test_a_source_in_another_order_adds_nothing_and_changes_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    run(change(path, SHOP), tmp_path / "out")
    before = files(tmp_path / "out")
    again = "".join(
        f"CREATE TEMP TABLE kept AS SELECT * FROM {table} ORDER BY rowid DESC; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; "
        "DROP TABLE kept;"
        for table in ("customer", "sale", "line", "visit")
    )
    report = import_database(config(change(path, again), tmp_path / "out", append=True), None)
    assert {name: growth.num_new + growth.num_changed + growth.num_gone for name, growth in report.growth.items()} == {
        "customer": 0,
        "sale": 0,
        "line": 0,
        "visit": 0,
    }
    after = files(tmp_path / "out")
    assert {n: b for n, b in after.items() if n.endswith(".parquet")} == {
        n: b for n, b in before.items() if n.endswith(".parquet")
    }


def test_a_row_older_than_the_rows_that_were_there_is_said_and_sampled_by_its_time(tmp_path: Path) -> None:
    late = "INSERT INTO sale VALUES (1, 'b', '2020-01-05', 3), (2, 'b', '2020-04-01', 4);"
    report = append(tmp_path, late)
    assert report.growth["sale"].num_older == 1
    assert "sale: 1 of the new rows are older than the last row that was there" in report.notes
    store = materialize(open_dataset(tmp_path / "out"), tmp_path / "stores")
    graph, (key,) = store.graph, [e for e in store.graph.edge_types if e[:2] == ("sale", "customer")]
    k = graph.edge_types.index(key)
    begin, end = graph.children_indptr[graph.indptr_offset[k] :][:2]
    children = graph.children[begin:end]  # of customer b, by time
    assert [keys(tmp_path / "out", "sale")[row] for row in children] == [10, 1, 20, 2]


def test_an_order_that_relbench_cannot_cut_is_said(tmp_path: Path) -> None:
    late = "INSERT INTO sale VALUES (1, 'b', '2020-01-05', 3);"
    path = tmp_path / "shop.db"
    run(change(path, SHOP + "INSERT INTO sale VALUES (9, 'b', NULL, 3);"), tmp_path / "out")
    report = import_database(config(change(path, late), tmp_path / "out", append=True, **MONTH), None)
    (note,) = [note for note in report.notes if "RelBench's own get_db()" in note]
    assert note.startswith("table 'sale': 1 rows up to --test-timestamp 2020-03-15 come after later ones")
    with pytest.raises(RuntimeError, match="not consecutively indexed"):
        relbench.load_dataset(tmp_path / "out").get_db()
    assert len(relbench.load_dataset(tmp_path / "out").get_db(upto_test_timestamp=False).table_dict["sale"]) == 5


def test_relbench_cuts_an_appended_import_whose_new_rows_are_later(tmp_path: Path) -> None:
    report = append(tmp_path, LATER)
    assert not [note for note in report.notes if "RelBench's own" in note]
    assert len(relbench.load_dataset(tmp_path / "out").get_db().table_dict["sale"]) == 5


def test_a_new_table_is_added_and_a_new_column_left_out(tmp_path: Path) -> None:
    later = """CREATE TABLE parcel (id INTEGER PRIMARY KEY, sale INTEGER REFERENCES sale, sent DATE);
        INSERT INTO parcel VALUES (7, 30, '2020-02-01'); INSERT INTO sale VALUES (5, 'd', '2020-03-01', 1);
        ALTER TABLE sale ADD COLUMN colour TEXT; UPDATE sale SET colour = 'red';"""
    report = append(tmp_path, later)
    assert column(tmp_path / "out", "parcel", "sale") == [1] and report.growth["parcel"] == Growth(num_new=1)
    assert report.growth["sale"] == Growth(num_old=3, num_new=1)
    assert "colour" not in pq.read_schema(tmp_path / "out" / "db" / "sale.parquet").names
    assert report.tables["sale"].left_out["colour"].startswith("new in the source")


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ("DROP TABLE visit;", r"table 'visit': it is not in the source any more"),
        ("ALTER TABLE sale DROP COLUMN amount;", r"table 'sale': columns \['amount'\] are not in the source any more"),
        (
            "CREATE TABLE v2 (customer TEXT, at DATETIME, page TEXT); DROP TABLE visit; ALTER TABLE v2 RENAME TO visit;",
            "table 'visit': the foreign keys was {'customer': 'customer'} in the earlier import and is {}",
        ),
        (
            "CREATE TABLE v2 (customer TEXT REFERENCES customer, at DATETIME, page REAL); INSERT INTO v2 VALUES ('b', '2020-01-02', 1.5);"
            "DROP TABLE visit; ALTER TABLE v2 RENAME TO visit;",
            "table 'visit', column 'page': string in the earlier import and double now, such as 1.5",
        ),
    ],
)
def test_a_later_state_that_does_not_fit_is_refused_and_the_earlier_import_stays(
    tmp_path: Path, later: str, message: str
) -> None:
    path = tmp_path / "shop.db"
    run(change(path, SHOP), tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(ImportRefused, match=f"--append, {message}.*another --out"):
        run(change(path, later), tmp_path / "out", append=True)
    assert files(tmp_path / "out") == before and not (tmp_path / "out.partial").exists()


def test_an_error_in_the_later_source_leaves_the_earlier_import(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    run(change(path, SHOP), tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(ImportRefused, match="value 'nobody' is no customer.id"):
        run(change(path, "INSERT INTO sale VALUES (1, 'nobody', NULL, 1)"), tmp_path / "out", append=True)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {"name": "other"}, "was imported with another --name"),
        ({}, {"where": (("sale", "id > 1"),)}, "was imported with another --where"),
        ({"sample_entities": "customer:1"}, {}, "is a sample of entities"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, first: Any, second: Any, message: str) -> None:
    source = change(tmp_path / "shop.db", SHOP)
    run(source, tmp_path / "out", **first)
    with pytest.raises(ImportRefused, match=f"--append: .*{message}"):
        run(source, tmp_path / "out", append=True, **second)


def test_there_must_be_an_import_to_append_to(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="is no import; import into it without --append first"):
        run(change(tmp_path / "shop.db", SHOP), tmp_path / "out", append=True)


def test_the_same_append_again_is_done_at_once(tmp_path: Path) -> None:
    append(tmp_path, LATER)
    before = (tmp_path / "out" / "import.json").stat().st_mtime_ns
    report = import_database(config(f"sqlite:///{tmp_path}/shop.db", tmp_path / "out", append=True, **MONTH), None)
    assert report.is_reused and report.growth["sale"].num_new == 2
    assert (tmp_path / "out" / "import.json").stat().st_mtime_ns == before


TASK = """
name: sales
kind: forecast
task_type: regression
entity_table: customer
entity_col: id
time_col: timestamp
target_col: y
timedelta: 3 days
sql: |-
  SELECT t.timestamp, c.id, CAST(count(s.id) AS DOUBLE) AS y FROM timestamps t CROSS JOIN customer c LEFT JOIN sale s
  ON s.customer = c.id AND s.happened > t.timestamp AND s.happened <= t.timestamp + INTERVAL '{timedelta}' GROUP BY ALL
"""


WEEKS = "".join(f"INSERT INTO sale VALUES ({100 + i}, 'b', '2020-0{1 + i % 2}-{1 + i:02d}', 1);" for i in range(28))


def test_labels_are_made_anew_for_the_new_timestamps_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "sales.yaml").write_text(TASK)
    path = tmp_path / "shop.db"
    run(change(path, SHOP + WEEKS), tmp_path / "out", tasks=tmp_path / "tasks")
    later = LATER + "INSERT INTO sale VALUES (60, 'c', '2020-03-17', 1), (61, 'c', '2020-03-30', 1);"
    import_database(config(change(path, later), tmp_path / "out", append=True, **MONTH), None)  # without --tasks
    run(f"sqlite:///{path}", tmp_path / "fresh", tasks=tmp_path / "tasks", **MONTH)
    labels = []
    for out in (tmp_path / "out", tmp_path / "fresh"):
        rows = pq.read_table(out / "tasks" / "sales" / "val.parquet").to_pylist()
        labels.append(sorted((row["timestamp"], keys(out, "customer")[row["id"]], row["y"]) for row in rows))
    assert labels[0] == labels[1] and {key for _, key, _ in labels[0]} == {"a", "b", "c", "d"}


def test_labels_of_a_folder_that_relbench_cannot_cut_are_refused_with_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "sales.yaml").write_text(TASK)
    path, options = tmp_path / "shop.db", {"tasks": tmp_path / "tasks"}
    run(change(path, SHOP + "INSERT INTO sale VALUES (9, 'b', NULL, 3);" + WEEKS), tmp_path / "out", **options)
    before = files(tmp_path / "out")
    message = (
        r"--append, table 'sale': 2 rows up to --test-timestamp 2020-03-15 come after later ones or such without time"
    )
    with pytest.raises(ImportRefused, match=message):
        run(change(path, LATER), tmp_path / "out", append=True, **options, **MONTH)
    assert files(tmp_path / "out") == before


def test_keys_that_were_integers_and_are_text_now_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "schema.yaml").write_text("t: {pkey: id, time_col: at}")
    options: dict[str, Any] = {"schema_file": tmp_path / "schema.yaml"}
    (tmp_path / "in" / "t.csv").write_text("id,at\n1,2020-01-01\n2,2020-01-02\n")
    run(str(tmp_path / "in"), tmp_path / "out", **options)
    (tmp_path / "in" / "t.csv").write_text("id,at\n1,2020-01-01\n2,2020-01-02\nA3,2020-03-01\n")
    with pytest.raises(ImportRefused, match="table 't': its keys were int64 in the earlier import and are string"):
        run(str(tmp_path / "in"), tmp_path / "out", append=True, **options)


def test_integers_come_into_a_column_of_text_or_floats_and_a_column_without_values_takes_any(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "schema.yaml").write_text("t: {pkey: id, time_col: at}")
    options: dict[str, Any] = {"schema_file": tmp_path / "schema.yaml"}
    (tmp_path / "in" / "t.csv").write_text("id,at,code,size,late\nx1,2020-01-01,007,1.5,\n")
    run(str(tmp_path / "in"), tmp_path / "out", **options)
    (tmp_path / "in" / "t.csv").write_text("id,at,code,size,late\n2,2020-01-03,8,2,3\n")
    report = import_database(config(str(tmp_path / "in"), tmp_path / "out", append=True, **options), None)
    assert report.growth["t"] == Growth(num_old=1, num_new=1, num_gone=1, first_gone=("x1",))
    found = [column(tmp_path / "out", "t", name) for name in ("code", "size", "late")]
    assert found == [["007", "8"], [1.5, 2.0], [None, 3]] and keys(tmp_path / "out", "t") == ["x1", "2"]
