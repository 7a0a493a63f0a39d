"""Whatever is wrong is named, all of one stage at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import NASTY, PAIR, config, run, sqlite_file


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("UPDATE \"order\" SET price = 'much' WHERE price = 12", {}, r"'price', row 0 .*'the id': 7.*str 'much'"),
        ("INSERT INTO person (name) VALUES ('Nobody')", {}, "'person', key column 'code', row 3 of the source: null"),
        ('UPDATE "order" SET "order time" = \'1.2.2020\' WHERE price = 12', {}, "'order time', row 0 .*'1.2.2020'"),
        (
            "UPDATE person SET birthdate = '9999-12-31' WHERE code = 'B-2'",
            {},
            r"'birthdate', row 2 of the source: .*9999-12-31",
        ),
        ("", {"tables": ["poor"]}, r"no table named \['poor'\]"),
        ("", {"time_cols": {"order": "paid"}}, "'paid' cannot be a time column"),
        ("", {"exclude": ("person.age",)}, r"no column \['age'\]"),
        ("", {"val_timestamp": "1980-01-01"}, "all rows are later"),
        ("", {"val_timestamp": "2021-01-01"}, "must lie before --test-timestamp"),
        ("", {"val_timestamp": "soon"}, "--val-timestamp: .*expected a date"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, change: str, options: dict[str, Any], message: str) -> None:
    source = sqlite_file(tmp_path / "nasty.db", NASTY + change)
    with pytest.raises(ImportRefused, match=message):
        run(source, tmp_path / "out", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nasty.db"]


def test_all_that_is_wrong_at_one_stage_is_named_at_once_with_options(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as refusal:
        config(
            "sqlite:///x.db",
            tmp_path / "out",
            val_timestamp="soon",
            test_timestamp="2020-01-01T00+01:00",
        )
    assert [problem.split(":")[0] for problem in refusal.value.problems] == [
        "--val-timestamp",
        "--test-timestamp 2020-01-01T00+01",
    ]
    # What the schema says, of two tables.
    schema = PAIR + "CREATE TABLE tag (sale INTEGER REFERENCES sale (code), no INTEGER REFERENCES sale (gone));"
    source = sqlite_file(tmp_path / "s.db", schema + "CREATE TABLE log (picture BLOB)")
    with pytest.raises(ImportRefused) as refusal:
        run(source, tmp_path / "out")
    assert len(refusal.value.problems) == 3 and "table 'log': no column can be imported (picture: type" in str(
        refusal.value
    )
    for option in ("--exclude tag.sale", "--exclude tag.no", "--tables sale shop tag"):
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
    with pytest.raises(
        ImportRefused, match="(?s)2 problems.*'x', row 0 of the source.*--dangling null.*'y', row 1 of the source"
    ):
        run(sqlite_file(tmp_path / "k.db", keys), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
