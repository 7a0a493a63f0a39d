"""The store: made once, whole or not there, the same bytes for the same source; times alike in every unit and zone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from rdl_core.config import StoreConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import encode_table, materialize
from rdl_core.graph.reg import ALWAYS
from rdl_core.graph.schema import TableSchema
from rdl_core.graph.store import Store, open_store
from rdl_core.timestamps import NO_TIME
from tests.nasty_database import write_database, write_nasty_database


def assert_same_store(first: Store, second: Store) -> None:
    assert first.content_hash == second.content_hash
    assert first.schema == second.schema
    assert first.graph.edge_types == second.graph.edge_types
    files = [sorted(str(f.relative_to(s.path)) for f in s.path.rglob("*.npy")) for s in (first, second)]
    assert files[0] == files[1]
    for file in files[0]:
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes(), file


def test_the_same_source_gives_the_same_bytes(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    assert_same_store(materialize(nasty_dataset, tmp_path), nasty_store)


def test_tables_encoded_in_another_order_give_the_same_bytes(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    config = StoreConfig()
    store = materialize(
        nasty_dataset,
        tmp_path,
        encode_tables=lambda work: [encode_table(nasty_dataset, config, *item) for item in reversed(work)],
    )
    assert_same_store(store, nasty_store)


def test_a_reopened_store_is_equal_and_holds_what_was_written(nasty_store: Store) -> None:
    again = open_store(nasty_store.path)
    assert again.schema == nasty_store.schema
    assert again.content_hash == nasty_store.content_hash
    assert again.graph.node_types == nasty_store.graph.node_types
    for name, array in nasty_store.graph.arrays().items():
        other = again.graph.arrays()[name]
        assert array.dtype == other.dtype
        assert np.array_equal(array, other)
    assert again.num_bytes == sum(f.stat().st_size for f in again.path.rglob("*.npy"))


def test_the_content_hash_changes_with_one_cell(nasty_store: Store, tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    path = folder / "db" / "teams.parquet"
    rows = pq.read_table(path)
    size = rows["größe_cm"].to_pylist()
    size[9] += 1
    pq.write_table(rows.set_column(rows.column_names.index("größe_cm"), "größe_cm", pa.array(size, pa.float32())), path)
    store = materialize(open_dataset(folder), tmp_path)
    assert store.content_hash != nasty_store.content_hash
    assert store.path.name != nasty_store.path.name


def test_a_second_call_opens_the_store_without_making_it(nasty_dataset: RelBenchDataset, tmp_path: Path) -> None:
    first = materialize(nasty_dataset, tmp_path)
    made: list[str] = []
    second = materialize(nasty_dataset, tmp_path, progress=made.append)
    assert made == []
    assert second.path == first.path
    assert [p.name for p in tmp_path.iterdir()] == [first.path.name]


def test_progress_names_each_finished_table_once(nasty_dataset: RelBenchDataset, tmp_path: Path) -> None:
    made: list[str] = []
    materialize(nasty_dataset, tmp_path, progress=made.append)
    assert sorted(made) == sorted(nasty_dataset.manifest.tables)


def test_killed_half_way_leaves_no_store_and_the_next_call_makes_it_whole(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    left = tmp_path / f"{nasty_store.path.name}.partial-1"

    def kill(table: str) -> None:
        if table == "match":  # what a killed process leaves, which removes nothing
            (partial,) = tmp_path.iterdir()
            assert ".partial" in partial.name
            shutil.copytree(partial, left)
            raise Killed

    with pytest.raises(Killed):
        materialize(nasty_dataset, tmp_path, progress=kill)
    assert list(tmp_path.iterdir()) == [left]
    with pytest.raises(FileNotFoundError, match="no REG store"):
        open_store(left)
    assert_same_store(materialize(nasty_dataset, tmp_path), nasty_store)


def test_the_loser_of_a_race_opens_the_store_of_the_winner(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    def meanwhile(table: str) -> None:  # another process finishes while the last table is written
        if table == list(nasty_store.schema.tables)[-1]:
            shutil.copytree(nasty_store.path, tmp_path / nasty_store.path.name)

    assert_same_store(materialize(nasty_dataset, tmp_path, progress=meanwhile), nasty_store)
    assert [p.name for p in tmp_path.iterdir()] == [nasty_store.path.name]


def test_cells_that_another_node_wrote_to_its_own_disk_are_missed(
    nasty_dataset: RelBenchDataset, tmp_path: Path
) -> None:
    def elsewhere(work: list[tuple[str, np.ndarray, Path]]) -> list[TableSchema]:
        schemas = [encode_table(nasty_dataset, StoreConfig(), *item) for item in work]
        shutil.rmtree(work[3][2])
        return schemas

    with pytest.raises(OSError, match="the cells of order_line were written where this process cannot see them"):
        materialize(nasty_dataset, tmp_path, encode_tables=elsewhere)


def test_another_format_version_is_refused(nasty_store: Store, tmp_path: Path) -> None:
    shutil.copytree(nasty_store.path, tmp_path / "store")
    manifest = json.loads((tmp_path / "store" / "store.json").read_text())
    (tmp_path / "store" / "store.json").write_text(json.dumps({**manifest, "format_version": 0}))
    with pytest.raises(ValueError, match="format 0, expected 4.*materialize again"):
        open_store(tmp_path / "store")


def test_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="materialize --data"):
        open_store(tmp_path / "nothing")


def test_every_setting_gives_a_folder_of_its_own(nasty_dataset: RelBenchDataset, tmp_path: Path) -> None:
    settings = [
        StoreConfig(),
        StoreConfig(exclude_columns=("teams.budget",)),
        StoreConfig(timeless_rows="always"),
        StoreConfig(text_embedder="hashed-ngram:32"),
    ]
    names = {materialize(nasty_dataset, tmp_path, config).path.name for config in settings}
    assert len(names) == len(settings)
    assert all(name.startswith("nasty-") for name in names)


def test_excluded_columns_are_absent_and_all_else_is_as_before(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    config = StoreConfig(exclude_columns=("teams.budget", "match.home_id.note", "order.placed_at"))
    store = materialize(nasty_dataset, tmp_path, config)
    for table, column in (("teams", "budget"), ("match", "home_id.note"), ("order", "placed_at")):
        schema = store.schema.tables[table]
        assert column not in [c.name for c in schema.columns]
        assert schema.left_out[column] == "excluded by the settings"
        before = nasty_store.schema.tables[table].columns
        assert schema.columns == tuple(c for c in before if c.name != column)
        names = [n for names in store.features[table].gather(np.arange(2)).col_names_dict.values() for n in names]
        assert column not in names
    assert np.array_equal(store.graph.time, nasty_store.graph.time)  # a time column that is no attribute still dates


@pytest.mark.parametrize("column", ["teams.bugdet", "team.budget", "budget", "teams.team_id", "teams.category_id"])
def test_an_excluded_column_that_is_no_attribute_is_refused(
    nasty_dataset: RelBenchDataset, tmp_path: Path, column: str
) -> None:
    """A misspelt name would leave the label in."""
    with pytest.raises(ValueError, match=f"exclude_columns.*'{column}'"):
        materialize(nasty_dataset, tmp_path, StoreConfig(exclude_columns=(column,)))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_rule_for_rows_without_time_is_refused() -> None:
    with pytest.raises(ValueError, match="timeless_rows.*'alway'"):
        StoreConfig(timeless_rows="alway")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unit", "zone"), [("s", None), ("ms", None), ("ns", None), ("us", "Asia/Kathmandu"), ("ns", "America/St_Johns")]
)
def test_every_unit_and_zone_gives_the_same_store(
    nasty_store: Store, tmp_path: Path, unit: str, zone: str | None
) -> None:
    folder = write_nasty_database(tmp_path / "nasty", time_unit=unit, time_zone=zone)
    store = materialize(open_dataset(folder), tmp_path / "stores")
    assert store.schema == nasty_store.schema
    assert store.test_timestamp_s == nasty_store.test_timestamp_s
    assert store.content_hash == nasty_store.content_hash


def test_the_row_order_of_a_table_changes_nothing_but_row_numbers(tmp_path: Path) -> None:
    """A table without primary key shuffled: same schema, and each row's time and children follow it."""
    stores = {}
    order = np.random.default_rng(5).permutation(20)
    for name in ("plain", "shuffled"):
        folder = write_nasty_database(tmp_path / name / "nasty")
        if name == "shuffled":
            path = folder / "db" / "ticket.parquet"
            pq.write_table(pq.read_table(path).take(pa.array(order)), path)
        stores[name] = materialize(open_dataset(folder), tmp_path / name / "stores")
    plain, shuffled = stores["plain"], stores["shuffled"]
    assert plain.schema == shuffled.schema
    for table in plain.graph.node_types:
        times = plain.graph.table_time(table)
        assert np.array_equal(shuffled.graph.table_time(table), times[order] if table == "ticket" else times)
    key = ("ticket", "match_id", "match")
    assert np.array_equal(shuffled.graph.key_parent(key), plain.graph.key_parent(key)[order])


def test_times_and_parents_are_those_of_the_files(nasty_dataset: RelBenchDataset, nasty_store: Store) -> None:
    graph = nasty_store.graph
    for table, spec in nasty_dataset.manifest.tables.items():
        rows = pq.read_table(nasty_dataset.db_dir / f"{table}.parquet")
        for column, parent in spec.fkeys.items():
            expected = [-1 if v is None or v != v else int(v) for v in rows[column].to_pylist()]
            assert graph.key_parent((table, column, parent)).tolist() == expected
        if spec.time_col:
            seconds = rows[spec.time_col].cast(pa.timestamp("s")).cast(pa.int64()).to_pylist()
            assert graph.table_time(table).tolist() == [NO_TIME if v is None else v for v in seconds]
        assert nasty_store.schema.tables[table].num_rows == rows.num_rows == graph.num_rows(table)


def test_rows_in_the_very_second_of_the_cutoff_are_counted_and_later_ones_not(nasty_store: Store) -> None:
    for table, schema in nasty_store.schema.tables.items():
        visible = nasty_store.graph.table_time(table) <= nasty_store.schema.cutoff_s
        assert schema.num_rows_up_to_cutoff == visible.sum()
    assert nasty_store.schema.tables["order"].num_rows_up_to_cutoff == 16
    assert nasty_store.schema.tables["match"].num_rows_up_to_cutoff == 23


def test_rows_without_time_are_dated_by_the_rule_of_the_settings(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    first = nasty_store.graph.table_time("teams")
    assert first[10] == NO_TIME
    assert nasty_store.schema.cutoff_s < first[11] < NO_TIME
    always = materialize(nasty_dataset, tmp_path, StoreConfig(timeless_rows="always"))
    assert (always.graph.table_time("teams") == ALWAYS).all()
    assert always.schema.tables["teams"].num_rows_up_to_cutoff == 12


def test_a_database_without_foreign_keys_materializes(tmp_path: Path) -> None:
    rows = pa.table({"id": [0, 1], "at": pa.array([0, 9], pa.timestamp("s")), "x": [1.5, 2.5]})
    folder = write_database(
        tmp_path / "alone",
        {"t": rows},
        {"t": {"pkey": "id", "time_col": "at"}},
        val_timestamp="1970-01-01T00:00:05",
        test_timestamp="1970-01-01T00:00:08",
    )
    store = materialize(open_dataset(folder), tmp_path / "stores")
    assert store.graph.edge_types == ()
    assert store.features["t"].gather(np.arange(2)).num_rows == 2
    assert dataclasses.asdict(store.schema)["tables"]["t"]["num_rows_up_to_cutoff"] == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left on the device")])
def test_an_interrupted_materialization_leaves_nothing_behind_and_can_be_repeated(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path, error: BaseException
) -> None:
    def stop(table: str) -> None:
        raise error

    with pytest.raises(type(error) if isinstance(error, OSError) else KeyboardInterrupt):
        materialize(nasty_dataset, tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert_same_store(materialize(nasty_dataset, tmp_path), nasty_store)


def test_the_text_of_a_store_is_about_ten_lines_that_say_what_it_holds(nasty_store: Store, f1_store: Store) -> None:
    for store in (nasty_store, f1_store):
        text = repr(store)
        assert text == str(store)
        assert 8 <= len(text.splitlines()) <= 12 and len(text) < 1500
        largest = max(store.schema.tables.values(), key=lambda table: table.num_rows)
        rows = sum(table.num_rows for table in store.schema.tables.values())
        for part in (store.schema.database, store.content_hash[:16], f"{store.num_bytes:,} bytes", f"{rows:,} rows"):
            assert part in text
        assert f"{largest.name}: {largest.num_rows:,} rows" in text
        assert f"{len(store.graph.edge_types)} foreign keys" in text
    assert "cutoff   2005-01-01T00:00:00 UTC" in repr(f1_store)
    assert "raceId -> races" in repr(f1_store)
    assert "... and 5 smaller ones" in repr(f1_store)
