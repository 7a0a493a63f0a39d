"""Folders of CSV and Parquet files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import column, run

SCHEMA = "a:\n  pkey: id\nb:\n  pkey: no\n  time_col: at\n  fkeys:\n    a: a\n"


def folder(path: Path) -> Path:
    path.mkdir()
    (path / "a.csv").write_text("id,zip,size,ok,day\n10,007,1,true,2020-01-01\n9,123,2.5,false,2020-01-02\n")
    table = {
        "no": [5, 4],
        "a": [9, 10],
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "at": pa.array([1, 0], pa.timestamp("s", "Europe/Prague")),
    }
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


def test_bad_folders_are_named(tmp_path: Path) -> None:
    source = folder(tmp_path / "in")
    with pytest.raises(ImportRefused, match=r"pass --schema-file(.|\n)*pkey: customer_id(.|\n)*\['a', 'b'\]"):
        run(str(source), tmp_path / "out")
    for text, message in (
        (SCHEMA.replace("pkey: id", "pkey: ident"), "'a': no column 'ident' .pkey."),
        (SCHEMA.replace("a: a", "a: c"), "refers to 'c', which is no table of the source"),
        (SCHEMA.replace("b:", "c:"), "no table 'c'"),
        (SCHEMA.replace("pkey: no", "pkey: {no: 1}"), "table 'b': pkey is .*; it should be a valid"),
        (SCHEMA.replace("pkey: no", "key: no"), "table 'b': key is unknown; DeclaredTable has the fields pkey, fkeys"),
        ("a: {}", r"tables \['b'\] have files but no entry"),
    ):
        (tmp_path / "schema.yaml").write_text(text)
        with pytest.raises(ImportRefused, match=message):
            run(str(source), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (source / "a.csv").write_text("id,zip\n9,1\n9,2\n10,3\n")
    with pytest.raises(ImportRefused, match=r"'a', key \('id',\), rows 0 and 1 of the source: \(9,\) comes 2 times"):
        run(str(source), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
