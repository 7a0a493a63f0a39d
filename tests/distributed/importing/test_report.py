"""The report of an import."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distributed.__main__ import main
from distributed.importing.importer import import_database
from tests.distributed.importing.small_imports import config, sqlite_file


def test_report_says_what_was_left_out_and_which_keys_are_null(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "nasty.db")
    report = import_database(config(source, tmp_path / "out"), None)
    assert report.tables["order"].null_fkeys == {"buyer": 1, "seller": 1}
    assert report.tables["person"].left_out == {"photo": "type BLOB is not supported"}
    assert report.manifest.is_file() and report.tables["order"].num_columns == 7
    notes = " ".join(report.notes)
    assert "order: 1 rows have no order time" in notes and "'order time' is written as 'order_time'" in notes


LEAKY = """CREATE TABLE buyer (id INTEGER PRIMARY KEY, joined DATE, last_seen DATETIME);
CREATE TABLE sale (no INTEGER PRIMARY KEY, buyer INTEGER REFERENCES buyer, at DATETIME, paid_at DATETIME, status TEXT, remark TEXT);
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49)
INSERT INTO buyer SELECT i, CASE WHEN i = 7 THEN '2020-03-01' ELSE '2019-12-01' END, '2020-04-09' FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 599)
INSERT INTO sale SELECT i, i % 50, datetime('2020-01-01', '+' || (4 * i) || ' hours'), datetime('2020-01-01', '+' || (4 * i + 240) || ' hours'),
    CASE WHEN i < 540 THEN 'done' ELSE 'pending' END, 'none' FROM n;"""
OPTIONS = {
    "time_cols": {"buyer": "joined", "sale": "at"},
    "val_timestamp": "2020-03-01",
    "test_timestamp": "2020-03-20",
}


def test_leaks_are_findings_lines_and_json_at_once(tmp_path: Path) -> None:
    source, lines = sqlite_file(tmp_path / "leaky.db", LEAKY), list[str]()
    report = import_database(config(source, tmp_path / "out", **OPTIONS), lines.append)
    assert {(leak.kind, leak.place): leak.num_rows for leak in report.leaks} == {
        ("later_time", "buyer.last_seen"): 50,
        ("later_time", "sale.paid_at"): 600,
        ("changes_later", "sale.status"): 60,
        ("key_to_later_row", "sale.buyer"): 8,
    }
    assert [leak.line for leak in report.leaks] == list(report.warnings[:4]) and set(report.warnings) <= set(lines)
    assert "--exclude buyer.last_seen sale.paid_at sale.status sale.buyer" in report.warnings[4]
    found = json.loads((tmp_path / "out" / "import.json").read_text())["report"]
    assert [leak["column"] for leak in found["leaks"]] == [leak.column for leak in report.leaks]
    again = import_database(config(source, tmp_path / "out", **OPTIONS), None)
    assert (again.leaks, again.keys, again.tables, again.rows_over_time) == (
        report.leaks,
        report.keys,
        report.tables,
        report.rows_over_time,
    )


def test_columns_that_are_left_out_leak_no_more(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "leaky.db", LEAKY)
    exclude = ("buyer.last_seen", "sale.paid_at", "sale.status", "sale.buyer")
    report = import_database(config(source, tmp_path / "out", exclude=exclude, **OPTIONS), None)
    assert report.leaks == () and not [line for line in report.warnings if "sale." in line or "buyer." in line]


def test_json_has_tables_keys_rows_nulls_dangling_keys_leaks_warnings_and_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sqlite_file(
        tmp_path / "leaky.db", LEAKY + "INSERT INTO sale VALUES (900, 77, '2020-04-01', NULL, NULL, NULL);"
    )
    words = [
        "--name",
        "shop",
        "--val-timestamp",
        "2020-03-01",
        "--test-timestamp",
        "2020-03-20",
        "--dangling",
        "null",
        "--json",
    ]
    times = ["--time-cols", "buyer", "joined", "sale", "at", "--runs-dir", str(tmp_path / "runs")]
    assert main(["import", "--source", source, "--out", str(tmp_path / "out"), *words, *times]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["rows"] == {"buyer": 50, "sale": 601} and found["dangling"] == {"buyer": {}, "sale": {"buyer": 1}}
    assert found["nulls"] == {"buyer": {}, "sale": {"buyer": 1, "paid_at": 1, "status": 1, "remark": 1}}
    assert {
        (k["role"], k["table"], *k["columns"], k["parent"], k["origin"], k["is_accepted"]) for k in found["keys"]
    } == {
        ("primary key", "buyer", "id", None, "declared", True),
        ("time", "buyer", "joined", None, "declared", True),
        ("primary key", "sale", "no", None, "declared", True),
        ("foreign key", "sale", "buyer", "buyer", "declared", True),
        ("time", "sale", "at", None, "declared", True),
    }
    assert {"kind": "key_to_later_row", "table": "sale", "column": "buyer", "num_rows": 8}.items() <= found["leaks"][
        -1
    ].items()
    assert found["warnings"] and found["tables"]["sale"]["columns"]["status"]["kind"] == "string"
    assert {name: Path(path).exists() for name, path in found["paths"].items() if path} == dict.fromkeys(
        ("manifest", "report", "import", "tables", "keys"), True
    )


def test_how_types_and_nulls_were_found_is_reported_by_column(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = "".join(f"{i},2020-01-{i:02d},{i * 2},{'NA' if i < 4 else i}\n" for i in range(1, 29))
    (tmp_path / "in" / "sale.csv").write_text("id,at,price,discount\n" + rows)
    (tmp_path / "schema.yaml").write_text("sale: {pkey: id, time_col: at}\n")
    report = import_database(config(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml"), None)
    columns = report.tables["sale"].columns
    assert (
        columns["price"].evidence == "text in the source, all values read as integer"
        and columns["id"].kind == "row number"
    )
    assert (columns["discount"].num_null, columns["discount"].null_spellings) == (3, {"NA": 3})
    assert columns["at"].kind == "timestamp[ns]" and "read as timestamp" in columns["at"].evidence
