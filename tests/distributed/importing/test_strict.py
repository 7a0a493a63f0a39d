"""--strict refuses what an import otherwise counts and says."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import config, sqlite_file

CLEAN = """
CREATE TABLE buyer (id INTEGER PRIMARY KEY, joined DATETIME);
CREATE TABLE sale (no INTEGER PRIMARY KEY, buyer INTEGER REFERENCES buyer(id), at DATETIME);
WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 59) INSERT INTO buyer SELECT i, '2019-01-01' FROM n;
WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 119)
INSERT INTO sale SELECT i, i % 60, date('2020-01-01', i || ' days') FROM n;
"""
OPTIONS = {
    "val_timestamp": "2020-03-01",
    "test_timestamp": "2020-04-01",
    "time_cols": {"buyer": "joined", "sale": "at"},
    "strict": True,
    "dangling": "null",
}


def test_a_clean_source_passes(tmp_path: Path) -> None:
    import_database(config(sqlite_file(tmp_path / "s.db", CLEAN), tmp_path / "out", **OPTIONS), None)
    assert (tmp_path / "out" / "manifest.yaml").exists()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        ("UPDATE sale SET buyer = NULL WHERE no = 3", "table 'sale', key 'buyer': 1 rows are null"),
        ("UPDATE sale SET buyer = 777 WHERE no = 3", "table 'sale', key 'buyer': 1 rows have no parent"),
        (
            "UPDATE buyer SET joined = '0000-00-00' WHERE id = 3",
            "column 'joined': 1 '0000-00-00' would be read as null",
        ),
        ("UPDATE buyer SET joined = '2020-12-01' WHERE id < 30", "warning: sale.buyer"),
    ],
)
def test_what_is_otherwise_said_is_refused_by_name_and_leaves_nothing(tmp_path: Path, spoil: str, named: str) -> None:
    source = sqlite_file(tmp_path / "s.db", f"{CLEAN};{spoil}")
    with pytest.raises(ImportRefused) as refused:
        import_database(config(source, tmp_path / "out", **OPTIONS), None)
    assert named in str(refused.value) and "--strict" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_the_remedy_is_said_however_many_doubts_there_are(tmp_path: Path) -> None:
    keys = ", ".join(f"k{number} INTEGER REFERENCES buyer(id)" for number in range(12))
    script = f"{CLEAN}; CREATE TABLE visit (no INTEGER PRIMARY KEY, {keys}); INSERT INTO visit (no) VALUES (1)"
    with pytest.raises(ImportRefused, match=r"import without --strict\n1\. (.|\n)*\.\.\. and 2 more"):
        import_database(config(sqlite_file(tmp_path / "s.db", script), tmp_path / "out", **OPTIONS), None)
