"""The benchmark of materialize measures the peak of a whole process tree, and its large source has the keys that it says."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from benchmarks.large_source import SCHEMA, write_source
from benchmarks.materialize import measured

CHILD = """
import subprocess, sys, time
mine = b'x' * 100_000_000
subprocess.run([sys.executable, "-c", "import time; kept = b'x' * 100_000_000; time.sleep(1)"])
print('{"rows": 3}')
"""


def test_the_peak_is_that_of_a_process_and_its_children_together() -> None:
    run = measured([sys.executable, "-c", CHILD], quiet=False)
    assert 200e6 < run["peak_bytes"] < 300e6
    assert run["rows"] == 3 and run["wall_s"] > 1


def test_the_large_source_is_a_shop_whose_keys_have_parents_and_the_same_in_every_run(tmp_path: Path) -> None:
    counts = write_source(tmp_path / "a", 5_000)
    assert write_source(tmp_path / "b", 5_000) == counts and counts["rows"] == 5_000 and counts["keys"] >= 10_000
    tables = {path.stem: pq.read_table(path) for path in (tmp_path / "a").glob("*.parquet")}
    assert all(table.equals(pq.read_table(tmp_path / "b" / f"{name}.parquet")) for name, table in tables.items())
    schema = yaml.safe_load(SCHEMA)
    assert set(schema) == set(tables) and counts["keys"] == sum(
        len(tables[t]) * len(s.get("fkeys", {})) for t, s in schema.items()
    )
    for table, settings in schema.items():
        for column, parent in settings.get("fkeys", {}).items():
            found = pc.is_in(tables[table][column].drop_null(), value_set=tables[parent][schema[parent]["pkey"]])
            assert pc.all(found).as_py(), (table, column)
