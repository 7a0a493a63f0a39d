"""New data read as a model knows it: cells by the model's statistics, unknown values counted, what it lacks refused, what it has besides left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from relbench.load import RelBenchDataset

from rdl_core.config import StoreConfig
from rdl_core.database.column_checks import DatabaseError
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.known_schema import check_known
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from tests.nasty_database import write_nasty_database

LATER = "2020-09-15T00:00:00"
Change = Callable[[Path, dict[str, Any]], None]


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., RelBenchDataset]:
    """Makes a nasty database with a later cutoff, changed by a function of its folder and manifest."""

    def make(change: Change = lambda folder, manifest: None, *, val: str = LATER) -> RelBenchDataset:
        folder = write_nasty_database(tmp_path / "later" / "nasty")
        manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
        manifest |= {"val_timestamp": val, "test_timestamp": "2020-10-01T00:00:00"}
        change(folder, manifest)
        (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True))
        return open_dataset(folder)

    return make


def rewrite(folder: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / "db" / f"{table}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def with_new_country(folder: Path, manifest: dict[str, Any]) -> None:
    """Adds a row to `teams`, a copy of its first one, from a country that nobody has seen."""

    def grown(rows: pa.Table) -> pa.Table:
        new = rows.slice(0, 1)
        for name, value in (("team_id", len(rows)), ("country", "NO"), ("größe_cm", 1e6)):
            at = rows.schema.get_field_index(name)
            new = new.set_column(at, rows.schema.field(at), pa.array([value], rows.schema.field(at).type))
        return pa.concat_tables([rows, new])

    rewrite(folder, "teams", grown)


def arrays(store: Store, table: str) -> dict[str, Any]:
    return {name: np.asarray(array) for name, array in store.features[table].arrays.items()}


def test_the_data_that_a_model_was_trained_on_gives_its_own_arrays(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    store = materialize(nasty_dataset, tmp_path, model=nasty_store.schema)
    assert nasty_store.schema.differences(store.schema) == [] and store.path.name != nasty_store.path.name
    assert store.schema.cutoff_s == nasty_store.schema.cutoff_s
    for path in sorted(nasty_store.path.rglob("*.npy")):
        assert path.read_bytes() == (store.path / path.relative_to(nasty_store.path)).read_bytes()


def test_statistics_are_the_model_s_and_not_those_of_the_new_rows(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path
) -> None:
    dataset = changed(with_new_country)
    known = materialize(dataset, tmp_path, model=nasty_store.schema)
    fitted = materialize(dataset, tmp_path)
    for table in nasty_store.schema.tables:
        assert known.schema.tables[table].columns == nasty_store.schema.tables[table].columns
    assert fitted.schema.tables["order"].columns != nasty_store.schema.tables["order"].columns  # the cutoff has moved
    assert known.schema.cutoff_s == fitted.schema.cutoff_s > nasty_store.schema.cutoff_s
    assert known.schema.time_span_s == nasty_store.schema.time_span_s < fitted.schema.time_span_s
    assert nasty_store.schema.differences(known.schema) == []


def test_old_rows_keep_their_cells_when_rows_are_added(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path
) -> None:
    store = materialize(changed(with_new_country), tmp_path, model=nasty_store.schema)
    before, after = arrays(nasty_store, "teams"), arrays(store, "teams")
    for name in ("numerical", "categorical", "timestamp"):
        np.testing.assert_array_equal(before[name], after[name][: len(before[name])])


def test_a_category_that_the_model_has_not_seen_is_unknown_and_counted(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path
) -> None:
    store = materialize(changed(with_new_country), tmp_path, model=nasty_store.schema)
    column = [c.name for c in store.schema.tables["teams"].columns if c.stype == "categorical"].index("country")
    assert arrays(store, "teams")["categorical"][-1, column] == -1
    assert store.schema.tables["teams"].unknown_values == {"country": 1}
    assert not nasty_store.schema.tables["teams"].unknown_values


def test_a_null_is_not_counted_as_an_unknown_value(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path
) -> None:
    def nulls(folder: Path, manifest: dict[str, Any]) -> None:
        rewrite(folder, "teams", lambda t: t.set_column(6, "country", pa.nulls(len(t), pa.string())))

    store = materialize(changed(nulls), tmp_path, model=nasty_store.schema)
    assert store.schema.tables["teams"].unknown_values == {}


def test_new_tables_keys_and_columns_are_left_out_and_said(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path
) -> None:
    def more(folder: Path, manifest: dict[str, Any]) -> None:
        rewrite(folder, "teams", lambda t: t.append_column("colour", pa.array(["red"] * len(t))))
        rewrite(folder, "ticket", lambda t: t.append_column("extra_id", pa.array([0] * len(t))))
        pq.write_table(pa.table({"extra_id": [0, 1], "team": [0, 1]}), folder / "db" / "extra.parquet")
        extra = {"pkey": "extra_id", "time_col": None, "fkeys": {"team": "teams"}}
        manifest["tables"] = {"extra": extra, **manifest["tables"]}  # first: the model's order of tables must hold
        manifest["tables"]["ticket"]["fkeys"]["extra_id"] = "extra"

    dataset = changed(more)
    lines = check_known(dataset, nasty_store.schema)
    assert "teams.colour: a column that the model does not know; left out" in lines
    assert "ticket.extra_id: a key that the model does not know; left out" in lines
    assert "extra: a table that the model does not know; left out" in lines
    store = materialize(dataset, tmp_path, model=nasty_store.schema)
    assert nasty_store.schema.differences(store.schema) == []
    assert store.graph.edge_types == nasty_store.graph.edge_types
    assert store.schema.tables["teams"].left_out["colour"] == "the model does not know it"
    np.testing.assert_array_equal(store.graph.time, nasty_store.graph.time)


def no_table(folder: Path, manifest: dict[str, Any]) -> None:
    del manifest["tables"]["ticket"]


def no_column(folder: Path, manifest: dict[str, Any]) -> None:
    rewrite(folder, "teams", lambda t: t.drop_columns(["country"]))


def another_type(folder: Path, manifest: dict[str, Any]) -> None:
    rewrite(folder, "teams", lambda t: t.set_column(3, "größe_cm", t["größe_cm"].cast(pa.string())))


def no_key(folder: Path, manifest: dict[str, Any]) -> None:
    del manifest["tables"]["order"]["fkeys"]["team_id"]


def no_time(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["tables"]["ticket"]["time_col"] = None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_table, "table 'ticket'\n   expected this table, which the model knows"),
        (no_column, "table 'teams', column 'country'\n   expected this column, which the model reads as categorical"),
        (another_type, "table 'teams', column 'größe_cm'\n.*read as numerical\n   got values of type string"),
        (no_key, "table 'order', column 'team_id'\n   expected a foreign key to 'teams'.*got no foreign key"),
        (no_time, "table 'ticket'\n   expected the model's time column, sold_at\n   got None"),
    ],
)
def test_what_the_model_needs_and_the_data_lacks_is_refused(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(DatabaseError, match=f"(?s){message}.*remedy:.*--schema-of"):
        materialize(changed(change), tmp_path / "stores", model=nasty_store.schema)
    assert not (tmp_path / "stores").exists()


def test_another_database_than_the_model_s_is_one_problem_and_not_one_a_table(
    changed: Callable[..., RelBenchDataset], nasty_store: Store
) -> None:
    def other(folder: Path, manifest: dict[str, Any]) -> None:
        manifest["tables"] = {"truck": {"pkey": "truck_id", "time_col": None, "fkeys": {}}}
        pq.write_table(pa.table({"truck_id": [0]}), folder / "db" / "truck.parquet")
        (folder / "settings.yaml").unlink()  # of tables that are not there

    with pytest.raises(
        DatabaseError, match="(?s)1 problem\n.*those of nasty, .*got another database, of the tables truck\n"
    ):
        check_known(changed(other), nasty_store.schema)


def test_an_earlier_cutoff_than_the_model_s_is_refused_since_it_has_seen_what_follows(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path
) -> None:
    dataset = changed(val="2020-05-01T00:00:00")
    with pytest.raises(DatabaseError, match="the model has seen rows up to that"):
        materialize(dataset, tmp_path, model=nasty_store.schema)
    earlier = materialize(dataset, tmp_path).schema
    assert any("the model has seen rows up to 2020-06-01" in line for line in nasty_store.schema.differences(earlier))


def test_the_embedder_and_the_timeless_rows_are_the_model_s(nasty_dataset: RelBenchDataset, tmp_path: Path) -> None:
    config = StoreConfig(text_embedder="hashed-ngram:16", timeless_rows="always")
    model = materialize(nasty_dataset, tmp_path, config)
    store = materialize(nasty_dataset, tmp_path, model=model.schema)
    assert model.schema.differences(store.schema) == []
    assert (store.schema.text_embedder, store.schema.timeless_rows) == ("hashed-ngram:16", "always")


def test_the_store_of_a_model_trained_on_the_store_is_the_store(
    changed: Callable[..., RelBenchDataset], nasty_store: Store, tmp_path: Path
) -> None:
    dataset = changed(with_new_country)
    store = materialize(dataset, tmp_path, model=nasty_store.schema)
    assert materialize(dataset, tmp_path, model=store.schema).path == store.path
