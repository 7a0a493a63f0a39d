"""Import: hand-made nasty sources against what the folder must hold; SQLite, PostgreSQL, CSV and Parquet."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import relbench
from relbench.manifest import DatasetManifest

from distributed.importing.importer import ImportConfig, import_database
from distributed.importing.refusals import ImportRefused
from rdl_core.database.dataset import open_dataset

NASTY = """
CREATE TABLE person (code TEXT PRIMARY KEY, name TEXT, born DATE, birthdate DATE, boss TEXT REFERENCES person,
    photo BLOB, tag TEXT UNIQUE);
CREATE TABLE "order" ("the id" INTEGER PRIMARY KEY, buyer TEXT REFERENCES person (code),
    seller TEXT REFERENCES person (code), "order time" DATETIME, price NUMERIC, paid BOOLEAN, note JSON);
CREATE TABLE label (tag TEXT REFERENCES person (tag), made TEXT, said TEXT);
CREATE TABLE part ("the id" INTEGER REFERENCES "order", position INTEGER, PRIMARY KEY ("the id", position));
CREATE TABLE badge (code TEXT PRIMARY KEY REFERENCES person (code), colour TEXT);
CREATE VIEW rich AS SELECT * FROM "order" WHERE price > 10;
INSERT INTO person VALUES ('Ž-9', 'Žofie', '1990-01-01', '1990-01-01', NULL, x'00ff', 'z'),
    ('a-10', 'Ann', '1991-05-05', NULL, 'Ž-9', NULL, NULL), ('B-2', '名前', NULL, NULL, 'B-2', NULL, 'b');
INSERT INTO "order" VALUES (40, 'a-10', 'B-2', '2020-02-01 10:00:00', 1.5, 1, '{"a": 1}'),
    (7, 'B-2', NULL, '2020-02-01T10:00:00', 12, 0, NULL), (100, 'Ž-9', 'a-10', NULL, NULL, NULL, '[2]'),
    (9, NULL, 'Ž-9', '2020-01-01 00:00:00+02:00', 3, 1, 'null');
INSERT INTO label VALUES ('b', '2020-03-01', 'x'), ('z', '2020-02-01', '2020-02-01'), ('b', '2020-03-01', 'x');
INSERT INTO part VALUES (40, 2), (40, 1), (7, 1);
INSERT INTO badge VALUES ('a-10', 'red'), ('B-2', 'blue');
"""


def sqlite_file(path: Path, script: str = NASTY) -> str:
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()
    return f"sqlite:///{path}"


def config(source: str, out: Path, **options: Any) -> ImportConfig:
    defaults = {"name": "nasty", "val_timestamp": "2020-01-15", "test_timestamp": "2020-02-15"}
    return ImportConfig(source=source, out=out, **{**defaults, **options})


def run(source: str, out: Path, **options: Any) -> list[str]:
    lines: list[str] = []
    import_database(config(source, out, **options), lines.append)
    return lines


def column(out: Path, table: str, name: str) -> list[Any]:
    values: list[Any] = pq.read_table(out / "db" / f"{table}.parquet")[name].to_pylist()
    return values


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "import.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    run(sqlite_file(tmp_path / "nasty.db"), tmp_path / "out")
    return tmp_path / "out"


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


def test_values_keep_their_meaning(imported: Path) -> None:
    times = column(imported, "order", "order_time")
    assert times == [pd.Timestamp("2019-12-31 22:00"), *[pd.Timestamp("2020-02-01 10:00")] * 2, None]
    assert pq.read_schema(imported / "db" / "order.parquet").field("order_time").type == pa.timestamp("ns")
    assert column(imported, "order", "paid") == [True, False, True, None]
    assert column(imported, "order", "price") == [3.0, 12.0, 1.5, None]
    assert column(imported, "order", "note") == ["null", None, '{"a": 1}', "[2]"]
    assert sorted(column(imported, "person", "name")) == ["Ann", "Žofie", "名前"]
    # Text of which every value is an ISO date is a time; text of which some is, stays text.
    assert column(imported, "label", "made") == [pd.Timestamp("2020-02-01"), *[pd.Timestamp("2020-03-01")] * 2]
    assert column(imported, "label", "said") == ["2020-02-01", "x", "x"]


def test_schema_of_the_folder(imported: Path) -> None:
    tables = DatasetManifest.load(imported / "manifest.yaml").tables
    assert sorted(tables) == ["badge", "label", "order", "part", "person"]  # the view is none
    # `born` is the only date that is not named a birthday.
    assert (tables["person"].pkey, tables["person"].time_col) == ("code", "born")
    assert tables["person"].fkeys == {"boss": "person"}
    assert tables["order"].fkeys == {"buyer": "person", "seller": "person"}
    assert (tables["order"].pkey, tables["order"].time_col) == ("the id", "order_time")
    assert "photo" not in pq.read_schema(imported / "db" / "person.parquet").names
    # A foreign key to a unique column that is not the primary key.
    assert (tables["label"].pkey, tables["label"].fkeys) == (None, {"tag": "person"})
    person = pq.read_table(imported / "db" / "person.parquet").to_pylist()
    assert [person[row]["tag"] for row in column(imported, "label", "tag")] == ["z", "b", "b"]
    # A composite primary key: none; its foreign key stays one, its other column an attribute.
    assert (tables["part"].pkey, tables["part"].fkeys) == (None, {"the id": "order"})
    assert list(zip(column(imported, "part", "the id"), column(imported, "part", "position"), strict=True)) == [
        (1, 1), (2, 1), (2, 2)]  # fmt: skip
    # Primary and foreign key in one: both survive.
    assert (tables["badge"].pkey, tables["badge"].fkeys) == ("code__pkey", {"code": "person"})


def test_relbench_opens_it_and_finds_the_keys_in_order(imported: Path) -> None:
    db = relbench.load_dataset(imported).get_db(upto_test_timestamp=False)
    assert {name: len(table) for name, table in db.table_dict.items()} == {
        "badge": 2, "label": 3, "order": 4, "part": 3, "person": 3}  # fmt: skip
    cut = relbench.load_dataset(imported).get_db()  # raises if pkeys are not 0..n-1 after the cut
    assert len(cut.table_dict["label"]) == 1


def test_the_order_of_the_source_leaves_no_trace(tmp_path: Path) -> None:
    first = sqlite_file(tmp_path / "nasty.db")
    shutil.copyfile(tmp_path / "nasty.db", tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as connection:
        for table in ("label", "part", '"order"', "person"):
            connection.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table} ORDER BY rowid DESC")
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM kept")
            connection.execute("DROP TABLE kept")
    connection.close()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "copy.db", tmp_path / "elsewhere" / "nasty.db")
    run(first, tmp_path / "a")
    run(f"sqlite:///{tmp_path}/elsewhere/nasty.db", tmp_path / "b", batch_rows=1)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_report_says_what_was_left_out_and_which_keys_are_null(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "nasty.db")
    report = import_database(config(source, tmp_path / "out"), None)
    assert report.tables["order"].null_fkeys == {"buyer": 1, "seller": 1}
    assert report.tables["person"].left_out == {"photo": "type BLOB is not supported"}
    assert report.manifest.is_file() and report.tables["order"].num_columns == 7
    notes = " ".join(report.notes)
    assert "order: 1 rows have no order time" in notes and "'order time' is written as 'order_time'" in notes


def test_dangling_keys_are_refused_or_nulled(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "d.db", NASTY + "INSERT INTO \"order\" VALUES (8, 'gone', NULL, NULL, 1, 1, '');")
    with pytest.raises(ImportRefused, match=r"'order', column 'buyer', row 3 \(\{'the id': 8\}\): value 'gone'.*null"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
    report = import_database(config(source, tmp_path / "out", dangling="null"), None)
    assert report.tables["order"].dangling_fkeys == {"buyer": 1, "seller": 0}
    assert report.tables["order"].null_fkeys == {"buyer": 1, "seller": 2}
    assert column(tmp_path / "out", "order", "buyer")[3] is None


def test_the_same_import_returns_at_once_and_another_is_refused(tmp_path: Path) -> None:
    source, out = sqlite_file(tmp_path / "nasty.db"), tmp_path / "out"
    first = import_database(config(source, out), None)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = import_database(config(source, out), None)
    assert again.is_reused and not first.is_reused and again.tables == first.tables and again.notes == first.notes
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(FileExistsError, match="other options"):
        import_database(config(source, out, test_timestamp="2020-02-16"), None)
    with sqlite3.connect(tmp_path / "nasty.db") as connection:
        connection.execute("UPDATE person SET name = 'Anna' WHERE code = 'a-10'")
    connection.close()
    with pytest.raises(FileExistsError, match="before the source changed"):
        import_database(config(source, out), None)
    (tmp_path / "other").mkdir()
    with pytest.raises(FileExistsError, match="is no import"):
        import_database(config(source, tmp_path / "other"), None)


PAIR = """
CREATE TABLE shop (town TEXT, no INTEGER, PRIMARY KEY (town, no));
CREATE TABLE sale (id INTEGER PRIMARY KEY, town TEXT, no INTEGER, at DATETIME, seen DATETIME, dob DATE,
    FOREIGN KEY (town, no) REFERENCES shop (town, no));
INSERT INTO shop VALUES ('Brno', 1), ('Praha', 1);
INSERT INTO sale VALUES (5, 'Brno', 1, '2020-01-01', '2020-01-01', '2020-01-01'),
    (3, 'Praha', 1, '2020-03-01', '2020-03-03', '2020-03-01');
"""


def test_composite_foreign_key_is_refused_or_left_out(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "pair.db", PAIR)
    with pytest.raises(ImportRefused, match=r"composite foreign key .*--exclude sale.town\+no"):
        run(source, tmp_path / "out")
    run(source, tmp_path / "out", exclude=("sale.town+no",), time_cols={})
    assert column(tmp_path / "out", "sale", "town") == ["Praha", "Brno"]  # by source key: no time column
    assert DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables["sale"].fkeys == {}


def test_time_column_is_not_guessed_among_several(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "pair.db", PAIR)
    options = {"exclude": ("sale.town+no",)}
    with pytest.raises(ImportRefused, match=r"sale: at, seen\n.*\n  --time-cols sale at"):
        run(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    run(source, tmp_path / "named", time_cols={"sale": "seen"}, **options)
    assert DatasetManifest.load(tmp_path / "named" / "manifest.yaml").tables["sale"].time_col == "seen"
    assert column(tmp_path / "named", "sale", "town") == ["Brno", "Praha"]
    # Mostly null, or a birthday by name: no candidates.
    run(source, tmp_path / "only", exclude=("sale.town+no", "sale.seen"))
    assert DatasetManifest.load(tmp_path / "only" / "manifest.yaml").tables["sale"].time_col == "at"


def test_mostly_null_times_are_not_row_times(tmp_path: Path) -> None:
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, gone DATE); INSERT INTO t VALUES (1, '2020-01-01'), (2, NULL)"
    for name, rows, expected in (("half", "", "gone"), ("third", ", (3, NULL)", None)):
        run(sqlite_file(tmp_path / f"{name}.db", script + rows), tmp_path / name)
        assert DatasetManifest.load(tmp_path / name / "manifest.yaml").tables["t"].time_col == expected


def test_integer_times_are_unix_seconds_and_milliseconds_are_refused(tmp_path: Path) -> None:
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER); INSERT INTO t VALUES (1, {}), (2, 1577836800)"
    options = {"time_cols": {"t": "at"}}
    run(sqlite_file(tmp_path / "s.db", script.format(1580515200)), tmp_path / "s", **options)
    assert column(tmp_path / "s", "t", "at") == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-02-01")]
    with pytest.raises(ImportRefused, match="row 0 of the source: expected UNIX seconds .* got 1580515200000"):
        run(sqlite_file(tmp_path / "ms.db", script.format(1580515200000)), tmp_path / "ms", **options)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("UPDATE \"order\" SET price = 'much' WHERE price = 12", {}, r"'price', row 0 .*'the id': 7.*str 'much'"),
        ("INSERT INTO person (name) VALUES ('Nobody')", {}, "'person', key column 'code', row 3: null"),
        ("UPDATE \"order\" SET \"order time\" = '1.2.2020' WHERE price = 12", {}, "'order time', row 0 .*'1.2.2020'"),
        ("UPDATE person SET birthdate = '9999-12-31' WHERE code = 'B-2'", {}, r"'birthdate', row \d: .*9999-12-31"),
        ("", {"tables": ["rich"]}, r"no table named \['rich'\].*views"),
        ("", {"time_cols": {"order": "paid"}}, "'paid' cannot be a time column"),
        ("", {"exclude": ("person.age",)}, r"no column \['age'\]"),
        ("", {"val_timestamp": "1980-01-01"}, "all rows are later"),
        ("", {"val_timestamp": "2021-01-01"}, "must lie before --test-timestamp"),
        ("", {"val_timestamp": "soon"}, "--val-timestamp: .*expected a date"),
    ],
)  # fmt: skip
def test_bad_input_is_named(tmp_path: Path, change: str, options: dict[str, Any], message: str) -> None:
    source = sqlite_file(tmp_path / "nasty.db", NASTY + change)
    with pytest.raises(ImportRefused, match=message):
        run(source, tmp_path / "out", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nasty.db"]


def test_a_table_without_rows_is_imported_and_said(tmp_path: Path) -> None:
    script = (
        NASTY
        + """CREATE TABLE void (id INTEGER PRIMARY KEY, "order" INTEGER REFERENCES "order" ("the id"), at DATE, seen DATE);
        CREATE TABLE of_void (void INTEGER REFERENCES void, at DATE); INSERT INTO of_void VALUES (NULL, '2020-01-01')"""
    )
    report = import_database(config(sqlite_file(tmp_path / "v.db", script), tmp_path / "out"), None)
    assert any(note.startswith("void: no rows; it is imported empty") for note in report.notes)
    assert report.tables["void"].num_rows == 0
    assert (report.tables["void"].time_col, report.tables["of_void"].null_fkeys) == (None, {"void": 1})
    db = relbench.load_dataset(tmp_path / "out").get_db()
    assert len(db.table_dict["void"]) == 0 and db.table_dict["void"].fkey_col_to_pkey_table == {"order": "order"}
    assert open_dataset(tmp_path / "out").manifest.tables["void"].pkey == "id"


def test_all_that_is_wrong_at_one_stage_is_named_at_once_with_options(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as refusal:
        config(
            "sqlite:///x.db",
            tmp_path / "out",
            val_timestamp="soon",
            test_timestamp="2020-01-01T00+01:00",
            schema_file=tmp_path,
        )
    assert [problem.split(":")[0] for problem in refusal.value.problems] == [
        "--val-timestamp", "--test-timestamp 2020-01-01T00+01", "--schema-file is for folders of files; a database declares its own keys",
    ]  # fmt: skip
    # What the schema says, of two tables.
    schema = (
        PAIR + "CREATE TABLE tag (sale INTEGER REFERENCES sale (code), town TEXT, no INTEGER REFERENCES sale (gone), "
    )
    source = sqlite_file(tmp_path / "s.db", schema + "FOREIGN KEY (town, no) REFERENCES shop (town, no))")
    with pytest.raises(ImportRefused) as refusal:
        run(source, tmp_path / "out")
    assert len(refusal.value.problems) == 4 and str(refusal.value).startswith("4 problems\n1. table 'sale': composite")
    for option in ("--exclude sale.town+no", "--exclude tag.town+no", "--exclude tag.sale", "--exclude tag.no"):
        assert option in str(refusal.value)
    # What the rows say, of two tables, two columns of one among them; the tables after it are read to their end.
    values = """CREATE TABLE a (id INTEGER PRIMARY KEY, "x y" DATE, z DATE); CREATE TABLE b (id TEXT PRIMARY KEY, n INTEGER);
        CREATE TABLE c (id INTEGER PRIMARY KEY, up INTEGER REFERENCES c, at DATE, seen DATE);
        INSERT INTO a VALUES (1, 'now', 'then'); INSERT INTO b VALUES (1, 'many'), (2, 3); INSERT INTO c VALUES (1, 1, '2020-01-01', '2020-01-02')"""
    with pytest.raises(ImportRefused) as refusal:
        run(sqlite_file(tmp_path / "v.db", values), tmp_path / "out", batch_rows=1)
    text = str(refusal.value)
    assert len(refusal.value.problems) == 4 and "c: at, seen" in text and "got str 'many'" in text
    assert "--exclude 'a.x y'" in text and "--exclude a.z" in text and "--exclude b.n" in text
    # A line of time columns without those of a and b would import these tables without time.
    assert "--time-cols c" not in text and "once these tables can be read: a, b" in text
    # Keys without parents, of two columns.
    keys = """CREATE TABLE a (id INTEGER PRIMARY KEY); INSERT INTO a VALUES (1);
        CREATE TABLE b (x INTEGER REFERENCES a, y INTEGER REFERENCES a); INSERT INTO b VALUES (2, 1), (1, 3)"""
    with pytest.raises(ImportRefused, match="(?s)2 problems.*'x', row 1.*--dangling null.*'y', row 0"):
        run(sqlite_file(tmp_path / "k.db", keys), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_bad_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="no SQLite file at"):
        run(f"sqlite:///{tmp_path}/missing.db", tmp_path / "out")
    assert not (tmp_path / "missing.db").exists()  # SQLite itself would make one
    (tmp_path / "text.db").write_text("not a database, but long enough to look at, and then some more words")
    with pytest.raises(ImportRefused, match="file is not a database"):
        run(f"sqlite:///{tmp_path}/text.db", tmp_path / "out")
    with pytest.raises(ImportRefused, match=r"cannot be opened: (.|\n)*check URL") as refusal:
        pytest.importorskip("psycopg")
        run("postgresql+psycopg://me:hunter2@127.0.0.1:1/x", tmp_path / "out")
    assert "hunter2" not in str(refusal.value)


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
    # The unique column that is referred to becomes the pkey of a table with a composite one.
    assert tables["b"].pkey == "code" and column(tmp_path / "out", "b", "code") == [0, 1]
    assert pq.read_table(tmp_path / "out" / "keys" / "b.parquet")["source_key"].to_pylist() == ["r", "q"]
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


# Times after the row's own


LOANS = """
CREATE TABLE reader (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE loan (id INTEGER PRIMARY KEY, reader INTEGER REFERENCES reader, loaned_at DATETIME, ordered_at DATETIME,
    returned_at DATETIME, due DATE);
CREATE TABLE note (reader INTEGER REFERENCES reader, seen DATETIME, said DATETIME);
INSERT INTO reader VALUES (1, 'a');
INSERT INTO loan VALUES (1, 1, '2020-01-01 10:00', '2019-12-31', '2020-03-01 10:00', '2020-01-31'),
    (2, 1, '2020-01-02 10:00', '2020-01-02 10:00', NULL, '2020-01-31'),
    (3, 1, '2020-02-20 10:00', NULL, '2020-02-20 10:00', '2020-02-20'),
    (4, 1, NULL, '2020-03-01', '2020-04-01', '2020-05-01');
INSERT INTO note VALUES (1, '2020-01-01', '2020-05-05');
"""
LOAN_TIMES = {"loan": "loaned_at"}  # so rows of `note` have no time


def test_times_after_the_rows_own_are_warned_of(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "loans.db", LOANS)
    lines: list[str] = []
    report = import_database(config(source, tmp_path / "out", time_cols=LOAN_TIMES), lines.append)
    # By hand: one return 60 days later, one at the very time, one missing; a loan without a time tells nothing.
    assert {n: (t.num_later, t.largest_lead_s) for n, t in report.tables["loan"].later_times.items()} == {
        "returned_at": (1, 60 * 86_400), "due": (2, (29 * 24 + 14) * 3600)}  # fmt: skip
    assert report.tables["note"].later_times == report.tables["reader"].later_times == {}
    text = "\n".join(report.warnings)
    assert "loan.returned_at lies after loaned_at, the time of its row, in 1 of 4 rows, by up to 60 days" in text
    assert "--exclude loan.returned_at loan.due" in text and "planned or promised" in text and "note" not in text
    assert [line for line in lines if line in report.warnings] == list(report.warnings)
    found = json.loads((tmp_path / "out" / "import.json").read_text())["report"]
    assert found["tables"]["loan"]["later_times"]["returned_at"] == {"num_later": 1, "largest_lead_s": 5_184_000.0}
    # Who repeats the import sees it again.
    again: list[str] = []
    repeated = import_database(config(source, tmp_path / "out", time_cols=LOAN_TIMES), again.append)
    assert again[1:] == list(repeated.warnings) == list(report.warnings) and repeated.tables == report.tables


def test_without_times_after_the_rows_own_there_is_no_warning(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "loans.db", LOANS)
    options = {"time_cols": LOAN_TIMES, "exclude": ("loan.returned_at", "loan.due")}
    assert import_database(config(source, tmp_path / "out", **options), None).warnings == ()
    # No table has a time: nothing is known from when on.
    assert import_database(config(source, tmp_path / "timeless", time_cols={}), None).warnings == ()
    # An import of before the check.
    path = tmp_path / "timeless" / "import.json"
    old = json.loads(path.read_text())
    del old["report"]["warnings"], old["report"]["tables"]["loan"]["later_times"]
    path.write_text(json.dumps(old))
    assert import_database(config(source, tmp_path / "timeless", time_cols={}), None).warnings == ()


def test_times_after_the_rows_own_in_parquet(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "schema.yaml").write_text("sale: {pkey: id, time_col: at}\n")
    at = pa.array([0, 1_000], pa.timestamp("ms", "Europe/Prague"))
    paid = pa.array([0, 1_400_000_000], pa.timestamp("ns"))
    day = pa.array([0, 0], pa.date32())
    pq.write_table(pa.table({"id": [1, 2], "at": at, "paid": paid, "day": day}), tmp_path / "in" / "sale.parquet")
    options = {"schema_file": tmp_path / "schema.yaml", "val_timestamp": "1970-01-02"}
    report = import_database(config(str(tmp_path / "in"), tmp_path / "out", **options), None)
    assert list(report.tables["sale"].later_times) == ["paid"]
    assert "sale.paid lies after at, the time of its row, in 1 of 2 rows, by up to 0.4 seconds" in report.warnings[0]


# Folders


SCHEMA = 'a:\n  pkey: id\nb:\n  pkey: "no"\n  time_col: at\n  fkeys:\n    a: a\n'


def folder(path: Path) -> Path:
    path.mkdir()
    (path / "a.csv").write_text("id,zip,size,ok,day\n10,007,1,true,2020-01-01\n9,123,2.5,false,2020-01-02\n")
    table = {
        "no": [5, 4], "a": [9, 10], "kind": pa.array(["x", "y"]).dictionary_encode(),
        "at": pa.array([1, 0], pa.timestamp("s", "Europe/Prague")),
    }  # fmt: skip
    pq.write_table(pa.table(table), path / "b.parquet")
    return path


def test_folder_of_csv_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    source, options = str(folder(tmp_path / "in")), {"schema_file": tmp_path / "schema.yaml"}
    run(source, tmp_path / "out", val_timestamp="2020-01-01", **options)
    a, b = (pq.read_table(tmp_path / "out" / "db" / f"{name}.parquet").to_pydict() for name in "ab")
    times = [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02")]
    assert a == {"id": [0, 1], "zip": ["007", "123"], "size": [1.0, 2.5], "ok": [True, False], "day": times}
    assert b["a"] == [0, 1] and b["kind"] == ["y", "x"] and b["at"] == [pd.Timestamp(0), pd.Timestamp(1, unit="s")]
    assert pq.read_table(tmp_path / "out" / "keys" / "a.parquet")["source_key"].to_pylist() == [10, 9]  # by day


def test_integer_keys_that_pandas_wrote_as_floats(tmp_path: Path) -> None:
    """pandas has no null integer: a key column with a null is saved as 7.0, in CSV and in Parquet."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id\n10\n9\n")
    (tmp_path / "in" / "b.csv").write_text("n,a\n1,9.0\n2,\n3,10.0\n")
    pd.DataFrame({"a": [None, 10, 9]}).to_parquet(tmp_path / "in" / "c.parquet")
    (tmp_path / "schema.yaml").write_text("a: {pkey: id}\nb: {fkeys: {a: a}}\nc: {fkeys: {a: a}}\n")
    run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
    assert column(tmp_path / "out", "c", "a") == [0, 1, None]
    assert column(tmp_path / "out", "b", "a") == [0, None, 1]  # by n, the first column


def test_sqlite_references_are_compared_without_case(tmp_path: Path) -> None:
    script = """CREATE TABLE Person (Id INTEGER PRIMARY KEY); CREATE TABLE pet (owner INTEGER REFERENCES person (ID));
        INSERT INTO Person VALUES (7); INSERT INTO pet VALUES (7);"""
    run(sqlite_file(tmp_path / "case.db", script), tmp_path / "out")
    assert DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables["pet"].fkeys == {"owner": "Person"}


def test_bad_folders_are_named(tmp_path: Path) -> None:
    source = folder(tmp_path / "in")
    with pytest.raises(ImportRefused, match=r"pass --schema-file(.|\n)*pkey: customer_id(.|\n)*\['a', 'b'\]"):
        run(str(source), tmp_path / "out")
    for text, message in (
        (SCHEMA.replace("pkey: id", "pkey: ident"), "no column 'ident' in a.csv"),
        (SCHEMA.replace("a: a", "a: c"), "refers to 'c', which has no pkey"),
        (SCHEMA.replace("b:", "c:"), "no file c.csv"),
        (SCHEMA.replace('"no"', "no"), "table 'b': False is no name; .* in quotes"),
        ("a: {}", r"tables \['b'\] have files but no entry"),
    ):
        (tmp_path / "schema.yaml").write_text(text)
        with pytest.raises(ImportRefused, match=message):
            run(str(source), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (source / "a.csv").write_text("id,zip\n9,1\n9,2\n10,3\n")
    with pytest.raises(ImportRefused, match=r"'a', key \('id',\), rows 0 and 1: \(9,\) comes 2 times"):
        run(str(source), tmp_path / "out", schema_file=tmp_path / "schema.yaml")


# Tasks


TASK = """name: busy
kind: forecast
task_type: binary_classification
entity_table: a
entity_col: a
target_col: busy
time_col: timestamp
timedelta: 5 days
sql: |-
  SELECT t.timestamp, b.a, CAST(count(*) > 1 AS BIGINT) AS busy FROM timestamps t JOIN b
  ON b.at > t.timestamp AND b.at <= t.timestamp + INTERVAL '{timedelta}' GROUP BY t.timestamp, b.a
"""
DAILY = """CREATE TABLE a (id TEXT PRIMARY KEY); CREATE TABLE b (no INTEGER PRIMARY KEY, a TEXT REFERENCES a, at DATE);
INSERT INTO a VALUES ('x'), ('y');
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 59)
INSERT INTO b SELECT 3 * i, CASE WHEN i % 7 < 4 THEN 'x' ELSE 'y' END,
    date('2020-01-01', '+' || i || ' days') FROM n;"""


def test_task_labels_are_relbenchs_own(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK)
    source = sqlite_file(tmp_path / "daily.db", DAILY)
    options = {"tasks": tmp_path / "tasks", "val_timestamp": "2020-02-01", "test_timestamp": "2020-02-10"}
    report = import_database(config(source, tmp_path / "out", **options), None)
    folder = tmp_path / "out" / "tasks" / "busy"
    assert (folder / "manifest.yaml").read_text() == TASK
    task = relbench.load_dataset(tmp_path / "out").load_task("busy", regenerate=True)
    for split, num_rows in report.tasks["busy"].items():
        found = pq.read_table(folder / f"{split}.parquet")
        expected = task.get_table(split, mask_input_cols=False).df
        assert found.to_pandas().astype({"timestamp": "M8[ns]"}).equals(expected.astype({"timestamp": "M8[ns]"}))
        assert found.num_rows == num_rows > 0
        assert found.schema.field("timestamp").type == pa.timestamp("ns")
    # By hand: the seed is 1 February, day 31; x buys on days 0 to 3 of 7.
    val = pq.read_table(folder / "val.parquet").to_pydict()
    days = [(31 + i) % 7 for i in range(1, 6)]
    assert val["busy"] == [int(sum(d < 4 for d in days) > 1), int(sum(d >= 4 for d in days) > 1)] and val["a"] == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("GROUP BY t.timestamp, b.a", "GROUPED BY x", r"task file busy.yaml: DuckDB refuses the SQL:(.|\n)*GROUPED"),
        ("count(*) > 1", "NULL", "busy.yaml, train, column 'busy', row 0: null"),
        ("AS busy", "AS bussy", "no column 'busy'"),
        ("entity_table: a", "entity_table: c", "no table 'c'; expected one of"),
        ("JOIN b\n", "JOIN (SELECT * FROM b WHERE no < 0) b\n", "the SQL gives no row for a split"),
        ("5 days", "20 days", "RelBench refuses the task: timedelta cannot be larger"),
        ("5 days", "five", "task file busy.yaml"),
        ("kind: forecast", "kind: guess", "kind must be one of"),
        ("kind: forecast", "kind: external", "kind 'external'"),
    ],
)
def test_bad_tasks_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "tasks").mkdir()
    assert old in TASK
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK.replace(old, new))
    source = sqlite_file(tmp_path / "daily.db", DAILY)
    options = {"tasks": tmp_path / "tasks", "val_timestamp": "2020-02-01", "test_timestamp": "2020-02-10"}
    with pytest.raises(ImportRefused, match=message):
        run(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


# PostgreSQL


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that lives as long as this module's tests, on a socket only."""
    pytest.importorskip("psycopg", reason="PostgreSQL's driver psycopg is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) + [Path(shutil.which("initdb") or "/nonexistent")]
    if not found[0].is_file():
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    binaries = found[0].parent
    is_root = os.geteuid() == 0  # as which PostgreSQL refuses to run
    if is_root and shutil.which("runuser") is None:
        pytest.skip("root, and no runuser to start PostgreSQL as another user")
    # Not below tmp_path: that is closed to other users, and too long for a socket.
    base = Path(tempfile.mkdtemp(prefix="pg-"))
    user = ["runuser", "-u", "postgres", "--"] if is_root else []
    if is_root:
        shutil.chown(base, "postgres")

    def call(*command: str) -> None:
        subprocess.run([*user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60)

    data, log = str(base / "data"), str(base / "log")
    try:
        call(str(binaries / "initdb"), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = f"-c listen_addresses='' -k {base} -c fsync=off -c timezone=America/New_York"
        call(str(binaries / "pg_ctl"), "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={base}"
        finally:
            call(str(binaries / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(base)


POSTGRES = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN email AS text;
CREATE TABLE person (id uuid PRIMARY KEY, nick email UNIQUE, mood mood, boss uuid REFERENCES person, face bytea);
CREATE TABLE "order" (id numeric(20) PRIMARY KEY, buyer uuid REFERENCES person, nick text REFERENCES person (nick),
    at timestamptz, price numeric(8, 2), more jsonb, ok boolean, tags text[], big bigint, opens time);
CREATE VIEW seen AS SELECT * FROM "order";
INSERT INTO person VALUES ('bbbbbbbb-0000-0000-0000-000000000000', 'b@x', 'sad', NULL, 'x'),
    ('aaaaaaaa-0000-0000-0000-000000000000', 'a@x', 'glad', 'bbbbbbbb-0000-0000-0000-000000000000', NULL);
INSERT INTO "order" VALUES
    (9007199254740993, 'aaaaaaaa-0000-0000-0000-000000000000', 'b@x', '2020-02-01 12:00+02', 1.25, '{"b": 1}', true,
     '{a}', 9007199254740993, '08:30'),
    (9007199254740992, NULL, NULL, '2020-01-01 00:00+00', NULL, NULL, NULL, NULL, NULL, NULL);
"""


def test_postgres(postgres: str, tmp_path: Path) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql(POSTGRES)
    report = import_database(config(postgres, tmp_path / "out", batch_rows=1), None)
    person = pq.read_table(tmp_path / "out" / "db" / "person.parquet").to_pydict()
    assert person == {"id": [0, 1], "nick": ["a@x", "b@x"], "mood": ["glad", "sad"], "boss": [1, None]}
    order = pq.read_table(tmp_path / "out" / "db" / "order.parquet").to_pydict()
    assert order["at"] == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-02-01 10:00")]  # UTC, not the server's zone
    assert (order["buyer"], order["nick"], order["ok"]) == ([None, 0], [None, 1], [None, True])
    assert (order["price"], order["more"], order["opens"]) == ([None, 1.25], [None, '{"b": 1}'], [None, "08:30:00"])
    assert order["big"] == [None, 9007199254740993]
    keys = pq.read_table(tmp_path / "out" / "keys" / "order.parquet")["source_key"].to_pylist()
    assert keys == [9007199254740992, 9007199254740993]  # a float would have merged them
    assert list(report.tables["order"].left_out) == ["tags"] and sorted(report.tables) == ["order", "person"]
    run(postgres, tmp_path / "again")
    assert files(tmp_path / "out") == files(tmp_path / "again")
    # A time that Python cannot hold is named, not turned into a traceback of the driver.
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE \"order\" SET at = 'infinity' WHERE ok")
    engine.dispose()
    with pytest.raises(ImportRefused, match="table 'order', after row .*: the driver cannot read on"):
        run(postgres, tmp_path / "infinite")


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
