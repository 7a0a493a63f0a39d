"""Good folders open; each kind of bad one is refused with table, column, first offending row, got and remedy."""

import datetime
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rdl_core.database import DatabaseError, load_task, open_dataset, read_table
from rdl_core.graph.materialization import materialize
from rdl_core.timestamps import NO_TIME, seconds_of, series_to_unix_seconds, to_unix_seconds
from tests import REPOSITORY
from tests.nasty_database import TEST, TRAIN_SEEDS, VAL, write_database, write_nasty_database

REAL_DATA = Path(os.environ.get("RDL_DATA", REPOSITORY.parent / "shared" / "data"))
DATES = [datetime.datetime(2020, month, 1) for month in (1, 2, 3, 4)]


class Small:
    """A valid database of two tables and one task, to break one thing of before it is written."""

    def __init__(self) -> None:
        teams = {"team_id": pa.array([0, 1, 2]), "name": pa.array(["a", "b", "c"])}
        match = {"match_id": pa.array([0, 1, 2, 3]), "home": pa.array([0, 2, None, 1]), "date": pa.array(DATES)}
        self.tables = {"teams": pa.table(teams), "match": pa.table(match)}
        self.specs: dict[str, dict[str, Any]] = {
            "teams": {"pkey": "team_id"},
            "match": {"pkey": "match_id", "time_col": "date", "fkeys": {"home": "teams"}},
        }
        columns = {"entity_table": "teams", "entity_col": "team_id", "time_col": "seed_time", "target_col": "wins"}
        manifest = {"kind": "external", "task_type": "binary_classification", **columns}
        labels = {"seed_time": pa.array(DATES[:3]), "team_id": pa.array([0, 1, 2]), "wins": pa.array([0, 1, 1])}
        self.task: dict[str, Any] = {"manifest": manifest, **dict.fromkeys(("train", "val", "test"), pa.table(labels))}
        self.val, self.test = "2020-02-01", "2020-03-15"

    def replace(self, table: str, column: str, values: Any) -> None:
        rows = self.tables[table]
        self.tables[table] = rows.set_column(rows.column_names.index(column), column, pa.array(values))

    def replace_label(self, split: str, column: str, values: Any) -> None:
        rows = self.task[split]
        self.task[split] = rows.set_column(rows.column_names.index(column), column, pa.array(values))

    def write(self, folder: Path) -> Path:
        timestamps = {"val_timestamp": self.val, "test_timestamp": self.test}
        return write_database(folder, self.tables, self.specs, **timestamps, tasks={"wins": self.task})


@pytest.fixture
def small() -> Small:
    return Small()


def refusal(call: Callable[[], object], *, num_problems: int = 1) -> str:
    with pytest.raises(DatabaseError) as caught:
        call()
    assert len(caught.value.problems) == num_problems, str(caught.value)
    return str(caught.value)


def assert_refused(folder: Path, *parts: str, num_problems: int = 1) -> None:
    """Opening the folder raises one error whose text holds every part."""
    text = refusal(lambda: open_dataset(folder), num_problems=num_problems)
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


# -------------------- what is good opens


@pytest.mark.parametrize(("name", "num_rows"), [("rel-f1", 97_606), ("rel-retail", 1_109_765)])
def test_real_datasets_open(name: str, num_rows: int) -> None:
    if not (REAL_DATA / name / "manifest.yaml").exists():
        pytest.skip(f"no {name} under the folder that RDL_DATA names, nor under ../shared/data")
    dataset = open_dataset(REAL_DATA / name)
    assert sum(read_table(dataset, table, []).num_rows for table in dataset.manifest.tables) == num_rows
    for task_name in dataset.get_task_names():
        if task_name in ("driver-circuit-compete", "customer-product"):
            text = refusal(lambda task_name=task_name: load_task(dataset, task_name))  # type: ignore[misc]
            assert "task_type recommendation" in text and "only those are supported" in text
        else:
            assert len(load_task(dataset, task_name).get_table("train")) > 1000


@pytest.mark.parametrize("time_zone", [None, "Europe/Prague"])
@pytest.mark.parametrize("time_unit", ["s", "ms", "us", "ns"])
def test_nasty_opens_and_its_times_are_the_same(tmp_path: Path, time_unit: str, time_zone: str | None) -> None:
    dataset = open_dataset(write_nasty_database(tmp_path / "nasty", time_unit=time_unit, time_zone=time_zone))
    reference = open_dataset(str(write_nasty_database(tmp_path / "reference")))
    for table, spec in dataset.manifest.tables.items():
        if spec.time_col is None:
            continue
        times, expected = (read_table(d, table)[spec.time_col] for d in (dataset, reference))
        assert times.type.tz == time_zone and times.type.unit == ("ms" if time_unit == "s" else time_unit)
        assert np.array_equal(to_unix_seconds(times, round_up=True), to_unix_seconds(expected, round_up=True))
    assert seconds_of(dataset.val_timestamp) == seconds_of(reference.val_timestamp)
    assert len(dataset.get_db().table_dict["order"]) == 21
    assert dataset.get_task_names() == ["team-points", "team-wins"]
    for task_name, metric in (("team-wins", "roc_auc"), ("team-points", "nmae")):
        task = load_task(dataset, task_name)
        for split, seeds in (("train", TRAIN_SEEDS), ("val", [VAL]), ("test", [TEST])):
            labels = task.get_table(split, mask_input_cols=False)
            seconds = series_to_unix_seconds(labels.df[task.time_col])
            assert {seconds_of(pd.Timestamp(seed)) for seed in seeds} <= set(seconds.tolist())
            assert labels.df[task.target_col].nunique() > 1
            target = labels.df[task.target_col].to_numpy()
            assert task.evaluate(target, labels) == {metric: 1.0 if metric == "roc_auc" else 0.0}


def test_nasty_holds_its_hard_cases(tmp_path: Path) -> None:
    """What other tests rely on: ties, hub, undated and unreferenced rows, a child before its parent."""
    dataset = open_dataset(write_nasty_database(tmp_path))
    tables = {table: read_table(dataset, table) for table in dataset.manifest.tables}
    assert sum(map(len, tables.values())) < 200
    val_s = seconds_of(pd.Timestamp(VAL))
    match, order = tables["match"], tables["order"]
    played_s = to_unix_seconds(match["played_at"], round_up=True)
    placed_s = to_unix_seconds(order["placed_at"], round_up=True)
    seeds_s = [seconds_of(pd.Timestamp(seed)) for seed in TRAIN_SEEDS]
    assert (played_s == NO_TIME).sum() == 2 and (played_s == val_s).sum() == (placed_s == val_s).sum() == 3
    assert all((played_s == seed).sum() >= 2 for seed in seeds_s)
    assert (np.diff(placed_s) >= 0).all() and (np.diff(played_s) >= 0).all()
    lines = tables["order_line"]["order_id"].to_numpy()
    assert (lines == 3).sum() >= len(lines) / 2
    home, teams = match["home_id"].to_numpy(), order["team_id"].fill_null(-1).to_numpy()
    for team, is_late in ((10, False), (11, True)):
        assert (home == team).any() == is_late and (played_s[home == team] > val_s).all()
        assert (teams == team).any() == is_late and (placed_s[teams == team] > val_s).all()
        assert not any(pc.any(pc.equal(tables[t]["team_id"], team)).as_py() for t in ("lineup", "équipe_catégorie"))
    kinds = np.array(match["kind"].to_pylist())
    assert (kinds == "playoff").any() and (played_s[kinds == "playoff"] > val_s).all()
    sold_s = to_unix_seconds(tables["ticket"]["sold_at"], round_up=True)
    parent = tables["ticket"]["match_id"].fill_null(0).to_numpy()
    assert (sold_s < played_s[parent]).sum() > 10 and (np.diff(sold_s) < 0).any()


def test_tables_without_time_or_attributes_or_primary_key_are_fine(tmp_path: Path, small: Small) -> None:
    small.tables["bridge"] = pa.table({"a": pa.array([0, 2]), "b": pa.array([2.0, float("nan")])})
    small.specs["bridge"] = {"fkeys": {"a": "teams", "b": "teams"}}
    small.tables["empty_key"] = pa.table({"a": pa.nulls(2)})
    small.specs["empty_key"] = {"fkeys": {"a": "teams"}}
    open_dataset(small.write(tmp_path / "dated"))
    del small.specs["match"]["time_col"]
    open_dataset(small.write(tmp_path / "static"))


def test_read_table_projects_by_whole_name(tmp_path: Path) -> None:
    """ "home_id" is not "home_id.note", which is no field of a struct; a folder a=b is no partition column."""
    dataset = open_dataset(write_nasty_database(tmp_path / "run=3"))
    assert read_table(dataset, "match", ["home_id"]).column_names == ["home_id"]
    assert read_table(dataset, "match", ["played_at", "home_id.note"]).column_names == ["played_at", "home_id.note"]
    assert read_table(dataset, "categories").column_names == ["category_id", "parent_id", "name"]
    text = refusal(lambda: read_table(dataset, "matches"))
    assert "'matches'" in text and "one of its tables: categories, goal, lineup, match" in text


# -------------------- manifests and files


def test_missing_manifest(tmp_path: Path) -> None:
    assert_refused(tmp_path, "no manifest.yaml", "rdl import")
    assert_refused(tmp_path / "nowhere", "no such folder", "rdl import")
    with pytest.raises(DatabaseError, match="no such folder"):
        open_dataset(f"{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "name: x\ntest_timestamp: '2020-01-01'\ntables: {t: {}}",
            ["val_timestamp: a time", "got None", "add val_timesta"],
        ),
        (
            "name: x\nval_timestamp: '2020-01-01'\ntables: {t: {}}",
            ["test_timestamp: a time", "got None", "add test_time"],
        ),
        (
            "val_timestamp: 2020-01-01\ntest_timestamp: 2021-01-01\ntables: {t: {}}",
            ["name: the", "got None", "add name:"],
        ),
        (
            "name: x\nval_timestamp: soon\ntest_timestamp: 2021-01-01\ntables: {t: {}}",
            ["val_timestamp: a time", "'soon'"],
        ),
        ("name: x\nval_timestamp: 2020-01-01\ntest_timestamp: 2021-01-01", ["tables: a mapping", "None", "list every"]),
        ("name: x\nval_timestamp: 2020-01-01\ntest_timestamp: 2021-01-01\ntables: {}", ["at least one table", "{}"]),
        (
            "name: x\nval_timestamp: 2020-01-01\ntest_timestamp: 2021-01-01\ntables: {t: {fkeys: null}}",
            ["tables: t: ", "{'fkeys': None}", "write t: {pkey: ..."],
        ),
        (
            "name: x\nval_timestamp: 2020-01-01\ntest_timestamp: 2021-01-01\ntables: {t: {pkey: [a, b]}}",
            ["tables: t: pkey and time_col one column", "['a', 'b']", "write t: {pkey: ..."],
        ),
        (
            "name: x\nval_timestamp: 2020-01-01\ntest_timestamp: 2021-01-01T00:00:00Z\ntables: {t: {}}",
            ["both timestamps with a time zone, or neither", "2021-01-01 00:00:00+00:00", "write both alike"],
        ),
        (
            "name: x\nval_timestamp: 2021-01-01\ntest_timestamp: 2021-01-01\ntables: {t: {}}",
            ["val_timestamp before test_timestamp", "val_timestamp 2021-01-01 00:00:00, test", "correct or swap"],
        ),
        ("- a\n- b", ["a mapping with name", "['a', 'b']", "write these four"]),
        ("name: [", ["expected YAML", "line 1", "correct the file"]),
    ],
)
def test_bad_manifest(tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "manifest.yaml").write_text(text)
    assert_refused(tmp_path, "manifest.yaml", *parts)


def test_missing_parquet(tmp_path: Path, small: Small) -> None:
    del small.tables["teams"]
    parts = ["table 'teams'", "expected the file db/teams.parquet", "got no such file", "add the file, or drop table"]
    assert_refused(small.write(tmp_path), *parts)


def test_file_that_is_no_parquet(tmp_path: Path, small: Small) -> None:
    small.write(tmp_path)
    (tmp_path / "db" / "teams.parquet").write_text("team_id,name\n0,a\n")
    assert_refused(tmp_path, "table 'teams'", "db/teams.parquet to be a parquet file", "write it again")


def test_manifest_column_that_the_file_lacks(tmp_path: Path, small: Small) -> None:
    small.specs["match"] |= {"pkey": "id", "time_col": "day", "fkeys": {"away": "teams"}}
    parts = [f"table 'match', column '{column}'" for column in ("id", "day", "away")]
    parts += ["names it under time_col", "columns: match_id, home, date", "correct the name in manifest.yaml"]
    assert_refused(small.write(tmp_path), *parts, num_problems=3)


def test_file_without_columns_and_keys_to_a_table_without_rows(tmp_path: Path, small: Small) -> None:
    small.tables["teams"] = small.tables["teams"].slice(0, 0)
    small.tables["void"], small.specs["void"] = pa.table({}), {}
    parts = [
        "table 'void'",
        "a file with no columns",
        "write it again",
        "a row number of table 'teams'",
        "out of range",
    ]
    assert_refused(small.write(tmp_path), *parts, num_problems=2)


@pytest.mark.parametrize("kind", [pa.int64(), pa.null()])
def test_a_table_without_rows_is_no_problem(tmp_path: Path, small: Small, kind: pa.DataType) -> None:
    void = pa.schema([("id", kind), ("home", kind), ("date", pa.timestamp("ns"))])
    small.tables["void"], small.specs["void"] = (
        void.empty_table(),
        {"pkey": "id", "time_col": "date", "fkeys": {"home": "teams"}},
    )
    small.tables["late"] = pa.table({"void": pa.nulls(3, pa.int64()), "x": [1.0, 2.0, 3.0]})
    small.specs["late"] = {"fkeys": {"void": "void"}}
    store = materialize(open_dataset(small.write(tmp_path)), tmp_path / "stores")
    assert store.schema.tables["void"].num_rows == 0


def test_a_time_of_no_type_in_a_table_without_rows(tmp_path: Path, small: Small) -> None:
    small.tables["void"], small.specs["void"] = pa.table({"date": pa.nulls(0)}), {"time_col": "date"}
    assert_refused(small.write(tmp_path), "table 'void', column 'date'", "got no rows (the column is null)")


# -------------------- keys


def test_unknown_target_table(tmp_path: Path, small: Small) -> None:
    small.specs["match"]["fkeys"] = {"home": "clubs"}
    parts = ["table 'match', column 'home'", "one of: match, teams", "unknown table 'clubs'", "correct the name"]
    assert_refused(small.write(tmp_path), *parts)


def test_target_table_without_primary_key(tmp_path: Path, small: Small) -> None:
    small.specs["teams"] = {}
    parts = ["table 'match', column 'home'", "got table 'teams', which has none", "name the pkey of 'teams'"]
    assert_refused(small.write(tmp_path), *parts)


@pytest.mark.parametrize(
    ("values", "row", "got"),
    [
        ([0, 1, None, 3], 2, "None (null)"),
        ([None, 1, 2, 3], 0, "None (null)"),
        ([0, 1, 1, 3], 2, "1 (duplicate)"),
        ([0, 1, 2, 7], 3, "7 (not consecutive)"),
        ([1, 2, 3, 4], 0, "1 (not consecutive)"),
        ([0, -1, 2, 3], 1, "-1 (not consecutive)"),
        ([0.0, 1.0, 2.0, 3.0], 0, "0.0 (not integer: the column is double)"),
        (["a", "b", "c", "d"], 0, "'a' (not integer: the column is string)"),
    ],
)
def test_primary_key_that_is_not_0_to_n(tmp_path: Path, small: Small, values: list[Any], row: int, got: str) -> None:
    small.replace("match", "match_id", values)
    expected = "a primary key of integers 0..3 in row order"
    where = f"table 'match', column 'match_id', row {row}\n"
    assert_refused(small.write(tmp_path), where, expected, f"got {got}", "renumber the rows 0..n-1")


@pytest.mark.parametrize(
    ("values", "row", "got"),
    [
        (pa.array([0, None, 2, 3]), 3, "3 (out of range)"),
        (pa.array([0, None, -1, 9]), 2, "-1 (negative)"),
        (pa.array([0, 255, 1, 1], pa.uint8()), 1, "255 (out of range)"),
        (pa.array([0.0, np.nan, None, 1.5]), 3, "1.5 (not integral)"),
        (pa.array([np.nan, 3.0, 1.5, 0.0]), 1, "3.0 (out of range)"),
        (pa.array([np.inf, 0.0, 0.0, 0.0]), 0, "inf (out of range)"),
        (pa.array([None, "1", "2", "0"]), 1, "'1' (not a number: the column is string)"),
        (pa.array([True, False, True, True]), 0, "True (not a number: the column is bool)"),
        (pa.array(DATES), 0, "2020-01-01 00:00:00.000000 (not a number: the column is timestamp[us])"),
    ],
)
def test_foreign_key_that_is_no_row(tmp_path: Path, small: Small, values: pa.Array, row: int, got: str) -> None:
    small.replace("match", "home", values)
    expected = "null or an integer 0..2, a row number of table 'teams'"
    where = f"table 'match', column 'home', row {row}\n"
    assert_refused(small.write(tmp_path), where, expected, f"got {got}", "replace keys by the parent's row number")


# -------------------- times


@pytest.mark.parametrize(
    ("values", "row", "got"),
    [
        ([None, "2020-01-01", "", ""], 1, "'2020-01-01' (the column is string)"),
        ([1577836800, 0, 0, 0], 0, "1577836800 (the column is int64)"),
    ],
)
def test_time_column_that_is_no_time(tmp_path: Path, small: Small, values: list[Any], row: int, got: str) -> None:
    small.replace("match", "date", values)
    where = f"table 'match', column 'date', row {row}\n"
    assert_refused(small.write(tmp_path), where, f"got {got}", "store it as a timestamp; `rdl import`")


@pytest.mark.parametrize("arrow_type", [pa.timestamp("us"), pa.null(), pa.string()])
def test_time_column_entirely_null(tmp_path: Path, small: Small, arrow_type: pa.DataType) -> None:
    small.replace("match", "date", pa.nulls(4, arrow_type))
    parts = [
        "table 'match', column 'date', row 0\n",
        "got null in all 4 rows",
        "fill in the times, or name no time_col",
    ]
    assert_refused(small.write(tmp_path), *parts)


def test_nothing_at_or_before_the_validation_timestamp(tmp_path: Path, small: Small) -> None:
    small.replace("match", "date", pa.array([None, *DATES[:0:-1]]))
    small.val = "2020-02-01"  # the last row lies in its very second: at the cutoff is still in
    open_dataset(small.write(tmp_path / "tie"))
    small.val = "2020-01-31 23:59:59.9"
    parts = ["table 'match', column 'date', row 3\n", "at or before val_timestamp 2020-01-31 23:59:59.9"]
    parts += ["got 2020-02-01 00:00:00.000000, the earliest time of all tables", "set a later val_timestamp"]
    assert_refused(small.write(tmp_path / "late"), *parts)


def test_all_problems_are_collected_and_ten_shown(tmp_path: Path, small: Small) -> None:
    small.replace("match", "home", [0, 5, 5, 5])
    small.replace("match", "date", ["x"] * 4)
    small.specs |= {f"table_{i}": {} for i in range(10)}
    folder = small.write(tmp_path)
    text = refusal(lambda: open_dataset(folder), num_problems=12)
    assert "12 problems" in text and "\n10. " in text and "\n11. " not in text and text.endswith("... and 2 more")
    assert len(text.splitlines()) == 42 and str(folder) in text
    with pytest.raises(DatabaseError) as caught:
        open_dataset(folder)
    copy = pickle.loads(pickle.dumps(caught.value))  # as Ray sends it from a worker
    assert str(copy) == text and copy.problems == caught.value.problems


# -------------------- tasks


def assert_task_refused(folder: Path, *parts: str, num_problems: int = 1) -> None:
    dataset = open_dataset(folder)
    text = refusal(lambda: load_task(dataset, "wins"), num_problems=num_problems)
    for part in ("task 'wins'", *parts):
        assert part in text, f"{part!r} is not in:\n{text}"


def test_unknown_task(tmp_path: Path) -> None:
    dataset = open_dataset(write_nasty_database(tmp_path))
    for name in ("team-loses", "", "../team-wins"):
        text = refusal(lambda name=name: load_task(dataset, name))  # type: ignore[misc]
        assert repr(name) in text and "tasks: team-points, team-wins" in text and "correct the name" in text


def test_task_comes_from_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """relbench alone takes a folder of the task's name in the working directory, here with other labels."""
    dataset = open_dataset(write_nasty_database(tmp_path / "nasty"))
    other = write_nasty_database(tmp_path / "other")
    (other / "tasks" / "team-points").rename(tmp_path / "team-wins")
    monkeypatch.chdir(tmp_path)
    assert load_task(dataset, "team-wins").target_col == "wins"


@pytest.mark.parametrize("task_type", ["recommendation", "multilabel_classification"])
def test_unsupported_task_type(tmp_path: Path, task_type: str) -> None:
    folder = write_nasty_database(tmp_path)
    (folder / "tasks" / "next").mkdir()
    (folder / "tasks" / "next" / "manifest.yaml").write_text(f"name: next\nkind: external\ntask_type: {task_type}\n")
    text = refusal(lambda: load_task(open_dataset(folder), "next"))
    for part in ("entity task of type", "only those are supported", f"got task_type {task_type}"):
        assert part in text
    assert "choose one of: team-points, team-wins" in text


@pytest.mark.parametrize("text", ["task_type: regression", "[1]", "name: ["])
def test_task_manifest_that_cannot_be_read(tmp_path: Path, small: Small, text: str) -> None:
    folder = small.write(tmp_path)
    (folder / "tasks" / "wins" / "manifest.yaml").write_text(text)
    assert_task_refused(folder, "manifest.yaml", "at least name, kind and task_type", "correct the file")


def test_task_of_unknown_table_or_without_seed_times(tmp_path: Path, small: Small) -> None:
    small.task["manifest"]["entity_table"] = "clubs"
    assert_task_refused(small.write(tmp_path / "a"), "got 'clubs'", "name one of: teams, match")
    small.task["manifest"] |= {"entity_table": "teams", "time_col": None}
    assert_task_refused(small.write(tmp_path / "b"), "got no time_col", "add it; an entity task needs a seed time")


def test_label_column_missing_in_each_split(tmp_path: Path, small: Small) -> None:
    small.task["manifest"] |= {"target_col": "won", "task_type": "regression"}  # relbench itself fails with a KeyError
    parts = [f"{split}.parquet, column 'won'" for split in ("train", "val", "test")]
    parts += ["names it under target_col", "got columns: seed_time, team_id, wins", "correct the name in the task's"]
    assert_task_refused(small.write(tmp_path), *parts, num_problems=3)


@pytest.mark.parametrize(
    ("split", "column", "values", "row", "parts"),
    [
        ("val", "team_id", [0, 1, 3], 2, ["0..2, a row number of table 'teams'", "got 3 (out of range)", "row number"]),
        (
            "test",
            "team_id",
            [0, None, 1],
            1,
            ["no null: every row needs its entity", "got null (1 of 3 rows)", "drop the rows"],
        ),
        (
            "test",
            "seed_time",
            [None, *DATES[:2]],
            0,
            ["no null: every row needs its seed time", "got null (1 of 3", "drop the rows"],
        ),
        (
            "train",
            "seed_time",
            ["x", "y", "z"],
            0,
            ["timestamps or dates", "got 'x' (the column is string)", "store it"],
        ),
        (
            "train",
            "wins",
            [0, None, 1],
            1,
            ["no null: every row needs its target", "got null (1 of 3 rows)", "drop the rows"],
        ),
        (
            "val",
            "wins",
            [0.0, 1.0, np.nan],
            2,
            ["no null: every row needs its target", "got null (1 of 3 rows)", "drop the rows"],
        ),
        ("train", "wins", [0, 1, 2], 2, ["a target of 0 or 1", "got 2", "correct the labels"]),
        ("test", "wins", ["no", "yes", "no"], 0, ["a target of 0 or 1", "'no' (the column is string)", "correct the"]),
    ],
)
def test_bad_labels(
    tmp_path: Path, small: Small, split: str, column: str, values: list[Any], row: int, parts: list[str]
) -> None:
    small.replace_label(split, column, values)
    assert_task_refused(small.write(tmp_path), f"{split}.parquet, column {column!r}, row {row}\n", *parts)


def test_targets_that_are_fine(tmp_path: Path, small: Small) -> None:
    small.replace_label("test", "wins", pa.nulls(3, pa.int64()))  # hidden test labels
    small.replace_label("train", "wins", [True, False, True])
    assert len(load_task(open_dataset(small.write(tmp_path / "a")), "wins").get_table("train")) == 3
    small.task["manifest"]["task_type"] = "regression"
    small.replace_label("train", "wins", [0.5, -1e9, 3.0])
    load_task(open_dataset(small.write(tmp_path / "b")), "wins")
    small.replace_label("train", "wins", [0.5, float("inf"), 3.0])
    parts = ["train.parquet, column 'wins', row 1\n", "a target that is a finite number", "got inf"]
    assert_task_refused(small.write(tmp_path / "c"), *parts)


def test_label_file_missing(tmp_path: Path, small: Small) -> None:
    """Labels of kind external cannot be made again; those of kind forecast are relbench's to make."""
    del small.task["val"]
    parts = ["the file tasks/wins/val.parquet", "got no such file", "labels of kind external cannot be regenerated"]
    assert_task_refused(small.write(tmp_path / "external"), *parts)
    sql = "SELECT timestamp AS seed_time, team_id, 1 AS wins FROM timestamps, teams"
    small.task["manifest"] |= {"kind": "forecast", "timedelta": "15 days", "sql": sql}
    task = load_task(open_dataset(small.write(tmp_path / "forecast")), "wins")
    assert len(task.get_table("val")) == 3
    small.task["manifest"]["sql"] = "SELECT nothing"
    task = load_task(open_dataset(small.write(tmp_path / "wrong")), "wins")
    with pytest.raises(Exception, match="nothing"):  # duckdb's own error, not hidden
        task.get_table("val")


def test_empty_label_file(tmp_path: Path, small: Small) -> None:
    small.task["val"] = small.task["val"].slice(0, 0)
    assert_task_refused(small.write(tmp_path), "val.parquet", "got 0 rows", "write the file again")


def test_written_parquet_is_what_was_given(tmp_path: Path, small: Small) -> None:
    """The writer of these tests adds nothing: a check that passes does so for the table given."""
    folder = small.write(tmp_path)
    for name, rows in small.tables.items():
        assert pq.read_table(folder / "db" / f"{name}.parquet").equals(rows)
