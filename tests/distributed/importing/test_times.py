"""Which column is the time of a row, and times after it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.manifest import DatasetManifest

from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import PAIR, column, config, run, sqlite_file


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
    with pytest.raises(
        ImportRefused, match=r"row 0 of the source \(key 1\): 1580515200000 is none of the times \(UNIX seconds\)"
    ):
        run(sqlite_file(tmp_path / "ms.db", script.format(1580515200000)), tmp_path / "ms", **options)


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
        "returned_at": (1, 60 * 86_400),
        "due": (2, (29 * 24 + 14) * 3600),
    }
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
    assert "sale.paid lies after at, the time of its row, in 1 of 2 rows, by up to 0:00:00.400000" in report.warnings[0]
