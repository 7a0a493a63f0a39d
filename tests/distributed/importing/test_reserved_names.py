"""Names from data never take the place of ours, and no name leads out of its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from relbench.manifest import DatasetManifest

from distributed.runs.folder import open_run
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import column, config, run, sqlite_file
from tests.distributed.importing.test_tasks import DAILY, TASK

BAD_NAMES = ["../x", "/x", "", ".", "..", "a/b", "a\\b", " ", "a\nb", "x" * 300]


@pytest.mark.parametrize(
    "name",
    [
        "__row",
        "__ROW",
        "__row_source",
        "file_row_number",
        "rowid",
        "o",
        "p0",
        "row_number",
        "source_key",
        "__",
        "__index",
    ],
)
def test_a_column_with_a_name_of_ours_comes_through_beside_ours(tmp_path: Path, name: str) -> None:
    script = f"""CREATE TABLE up (id INTEGER PRIMARY KEY, "{name}" INTEGER);
        CREATE TABLE down (up INTEGER REFERENCES up, "{name}" TEXT);
        INSERT INTO up VALUES (30, 3), (10, 3), (20, 1); INSERT INTO down VALUES (20, 'b'), (30, 'a'), (10, 'c');"""
    run(sqlite_file(tmp_path / "x.db", script), tmp_path / "out", timeless=True)
    assert column(tmp_path / "out", "up", "id") == [0, 1, 2] and column(tmp_path / "out", "up", name) == [3, 1, 3]
    pairs = zip(column(tmp_path / "out", "down", "up"), column(tmp_path / "out", "down", name), strict=True)
    assert sorted(pairs) == [(0, "c"), (1, "b"), (2, "a")]
    assert pq.read_table(tmp_path / "out" / "keys" / "up.parquet")["source_key"].to_pylist() == [10, 20, 30]


@pytest.mark.parametrize("name", ["id+no", "ID+NO", "id+no__pkey"])
def test_a_column_with_the_name_of_a_composite_key_comes_through_beside_it(tmp_path: Path, name: str) -> None:
    script = f"""CREATE TABLE up (id INTEGER, no INTEGER, "{name}" TEXT, PRIMARY KEY (id, no));
        CREATE TABLE down (id INTEGER, no INTEGER, "{name}" TEXT, FOREIGN KEY (id, no) REFERENCES up (id, no));
        INSERT INTO up VALUES (1, 2, 'x'), (1, 1, 'y'); INSERT INTO down VALUES (1, 2, 'z')"""
    run(sqlite_file(tmp_path / "x.db", script), tmp_path / "out", timeless=True)
    tables = DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables
    assert column(tmp_path / "out", "up", name) == ["y", "x"]
    assert column(tmp_path / "out", "up", str(tables["up"].pkey)) == [0, 1]
    assert column(tmp_path / "out", "down", next(iter(tables["down"].fkeys))) == [1]
    assert column(tmp_path / "out", "down", name) == ["z"]


@pytest.mark.parametrize("name", ["timestamps", "Timestamps"])
def test_a_table_named_like_the_seed_times_is_refused_with_tasks_and_said_without(tmp_path: Path, name: str) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK)
    source = sqlite_file(
        tmp_path / "daily.db", DAILY + f"CREATE TABLE {name} (timestamp DATE); INSERT INTO {name} VALUES ('2020-01-01')"
    )
    with pytest.raises(
        ImportRefused, match=f"table '{name}' has the name of the relation of seed times.*--tables a b,"
    ):
        run(source, tmp_path / "out", tasks=tmp_path / "tasks")
    assert not (tmp_path / "out").exists()
    assert "no task can be made from this folder by SQL" in "".join(run(source, tmp_path / "out"))
    times = {"val_timestamp": "2020-02-01", "test_timestamp": "2020-02-10"}
    run(source, tmp_path / "other", tasks=tmp_path / "tasks", tables=("a", "b"), **times)
    assert (tmp_path / "other" / "tasks" / "busy" / "test.parquet").is_file()


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImportRefused, match="--name '.*: expected a name that can be a folder's"):
        config("sqlite:///x.db", tmp_path / "out", name=name)
    with pytest.raises(ValueError, match="--run-name '.*expected a folder's name"):
        open_run(tmp_path / "runs", name, "import", "shop", {})
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "busy.yaml").write_text(TASK.replace("name: busy", f"name: {json.dumps(name)}"))
    with pytest.raises(ImportRefused, match=r"task file busy.yaml: .*name"):
        run(sqlite_file(tmp_path / "daily.db", DAILY), tmp_path / "out", tasks=tmp_path / "tasks")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["daily.db", "tasks"]


@pytest.mark.parametrize("name", ["a/b", "..", ".x", "a\\b", "x" * 230])
def test_a_table_that_cannot_be_a_file_is_named_with_the_remedy(tmp_path: Path, name: str) -> None:
    source = sqlite_file(
        tmp_path / "x.db",
        f"CREATE TABLE \"{name}\" (id INTEGER); CREATE TABLE b (at DATE); INSERT INTO b VALUES ('2020-01-01')",
    )
    with pytest.raises(ImportRefused, match="the name cannot be a file name; leave it out by --tables b, or rename it"):
        run(source, tmp_path / "out")
    run(source, tmp_path / "out", tables=("b",))


@pytest.mark.parametrize(
    "name",
    [
        "con",
        "manifest",
        "db",
        "work",
        "o",
        "select",
        "order by",
        "it's",
        'a "q"',
        "ž",
        "a.b",
        "main",
        "t;--",
        "#1",
        "%s",
        "staged_b",
    ],
)
def test_a_table_and_a_column_of_any_other_name_come_through(tmp_path: Path, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    script = f"""CREATE TABLE {quoted} (id INTEGER PRIMARY KEY, {quoted} DATE);
        CREATE TABLE b ({quoted} INTEGER REFERENCES {quoted}, at DATE);
        INSERT INTO {quoted} VALUES (7, '2020-01-01'); INSERT INTO b VALUES (7, '2020-01-02')"""
    run(sqlite_file(tmp_path / "x.db", script), tmp_path / "out")
    assert column(tmp_path / "out", "b", name) == [0] and column(tmp_path / "out", name, "id") == [0]
