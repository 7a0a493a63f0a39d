"""Predictions of the nasty database: the same alone and in a batch, what fine-tuning wrote, and nothing of a row that is not past."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from rdl_core.config import StoreConfig
from rdl_core.database import load_task, open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.prediction import Predictor
from rdl_core.problems import InputError
from rdl_core.timestamps import series_to_unix_seconds
from tests.nasty_database import TEST, VAL
from tests.nasty_tasks import POINTS, WINS
from tests.rdl_core.prediction.small_models import PLAIN, READING, fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")
TEAMS = list(range(10))


@pytest.fixture(scope="module")
def models(
    nasty_store: Store, nasty_dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, np.ndarray]]]:
    folder = tmp_path_factory.mktemp("models")
    tasks = {WINS: PLAIN, POINTS: READING}
    return {
        name: fine_tune(folder / name, nasty_store, load_task(nasty_dataset, name), backbone)
        for name, backbone in tasks.items()
    }


def load(models: Any, name: str, dataset: RelBenchDataset, store: Store) -> Predictor:
    return Predictor.load(models[name][0], dataset.dataset_dir, store=store.path)


@pytest.fixture(params=[WINS, POINTS])
def predictor(request: Any, models: Any, nasty_dataset: RelBenchDataset, nasty_store: Store) -> Predictor:
    return load(models, request.param, nasty_dataset, nasty_store)


@pytest.mark.parametrize("name", [WINS, POINTS])
@pytest.mark.parametrize("split", ["val", "test"])
def test_predictions_are_those_that_fine_tuning_wrote_for_the_same_labels(
    models: Any, nasty_dataset: RelBenchDataset, nasty_store: Store, name: str, split: str
) -> None:
    predictor, task = load(models, name, nasty_dataset, nasty_store), load_task(nasty_dataset, name)
    table = task.get_table(split, mask_input_cols=True).df
    known = table[task.entity_col].isin(TEAMS).to_numpy()
    got = predictor.predict(table[task.entity_col][known], table[task.time_col][known])
    np.testing.assert_allclose(got["prediction"], models[name][1][split][known], rtol=0, atol=1e-6)


def test_a_prediction_is_the_same_alone_in_a_batch_and_in_any_order(predictor: Predictor) -> None:
    keys = np.random.default_rng(0).permutation(np.repeat(TEAMS, 4))
    whole = predictor.predict(keys, TEST)
    assert whole["team_id"].tolist() == keys.tolist()
    for key in TEAMS:
        (alone,) = predictor.predict([key], TEST)["prediction"]
        np.testing.assert_allclose(whole["prediction"][keys == key], alone, rtol=0, atol=1e-6)


def test_a_time_per_key_is_that_keys_time(predictor: Predictor) -> None:
    got = predictor.predict([3, 3], [VAL, TEST])
    each = [predictor.predict([3], time)["prediction"][0] for time in (VAL, TEST)]
    np.testing.assert_allclose(got["prediction"], each, rtol=0, atol=1e-6)
    assert got["time"].tolist() == [pd.Timestamp(VAL, tz="UTC"), pd.Timestamp(TEST, tz="UTC")]


def test_tomorrow_is_the_second_after_the_last_row(predictor: Predictor, nasty_dataset: RelBenchDataset) -> None:
    columns = {"order": "placed_at", "match": "played_at", "goal": "scored_at", "ticket": "sold_at"}
    times = [pd.read_parquet(nasty_dataset.db_dir / f"{table}.parquet")[c].max() for table, c in columns.items()]
    assert predictor.tomorrow == pd.Timestamp(max(times), tz="UTC") + pd.Timedelta(seconds=1)
    assert set(predictor.predict(TEAMS)["time"]) == {predictor.tomorrow}


PLANTED: dict[str, dict[str, Any]] = {
    "categories": {"category_id": 6, "parent_id": 1, "name": "new"},
    "teams": {"team_id": 12, "category_id": 1, "home town": "Brno"},
    "order": {"order_id": 24, "team_id": 2, "placed_at": TEST, "note": "late"},
    "order_line": {"order_id": 21, "category_id": 1.0, "quantity": 5, "price": 3.0},  # order 21 is placed after TEST
    "match": {"match_id": 0, "home_id": 2, "away_id": 3, "played_at": TEST, "score": 9.0},
    "lineup": {"lineup_id": 16, "match_id": 30, "team_id": 2, "formation": "late"},  # match 30 is played after TEST
    "goal": {"goal_id": 16, "lineup_id": 2, "scored_at": TEST, "minute": 3},
    "ticket": {"match_id": 1, "sold_at": TEST, "price": 7.0},
    "équipe_catégorie": {"team_id": 10, "category_id": 1},  # team 10 is referred to by nothing else
}


def planted(dataset: RelBenchDataset, folder: Path, table: str, row: dict[str, Any]) -> RelBenchDataset:
    """The database with one row more, the last of its table."""
    shutil.copytree(dataset.dataset_dir, folder)
    path = folder / "db" / f"{table}.parquet"
    rows = pq.read_table(path)
    if (pkey := dataset.manifest.tables[table].pkey) is not None:
        row = row | {pkey: rows.num_rows}
    more = pa.table({field.name: pa.array([row.get(field.name)]).cast(field.type) for field in rows.schema})
    pq.write_table(pa.concat_tables([rows, more]), path)
    return open_dataset(folder)


@pytest.mark.parametrize("table", PLANTED)
def test_a_row_added_at_or_after_the_time_changes_nothing(
    models: Any, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path, table: str
) -> None:
    before = load(models, POINTS, nasty_dataset, nasty_store)
    changed = planted(nasty_dataset, tmp_path / "nasty", table, PLANTED[table])
    store = materialize(changed, tmp_path / "stores", model=before.store.schema)
    assert store.graph.num_rows(table) == nasty_store.graph.num_rows(table) + 1
    after = load(models, POINTS, changed, store)
    assert after.existing_rows(TEST).tolist() == before.existing_rows(TEST).tolist()
    pd.testing.assert_frame_equal(after.predict(TEAMS, TEST), before.predict(TEAMS, TEST), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("table", "time_col"), [("order", "placed_at"), ("match", "played_at")])
def test_a_row_added_before_the_time_changes_what_it_refers_to(
    models: Any, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path, table: str, time_col: str
) -> None:
    before = load(models, POINTS, nasty_dataset, nasty_store)
    row = PLANTED[table] | {time_col: TEST - pd.Timedelta(seconds=1)}
    changed = planted(nasty_dataset, tmp_path / "nasty", table, row)
    after = load(models, POINTS, changed, materialize(changed, tmp_path / "stores", model=before.store.schema))
    moved = after.predict(TEAMS, TEST)["prediction"] != before.predict(TEAMS, TEST)["prediction"]
    assert moved[2]


def test_a_dataset_without_the_task_is_predicted_on(
    models: Any, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    shutil.copytree(nasty_dataset.dataset_dir, tmp_path / "nasty")
    shutil.rmtree(tmp_path / "nasty" / "tasks")
    bare = Predictor.load(models[WINS][0], tmp_path / "nasty", stores_dir=tmp_path / "stores")
    expected = load(models, WINS, nasty_dataset, nasty_store).predict(TEAMS)
    pd.testing.assert_frame_equal(bare.predict(TEAMS), expected, rtol=0, atol=1e-6)


def test_a_fitted_store_of_the_data_is_taken_where_the_model_reads_it(
    models: Any, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    found = Predictor.load(models[WINS][0], nasty_dataset.dataset_dir, stores_dir=nasty_store.path.parent)
    assert found.store.path == nasty_store.path


@pytest.mark.parametrize(
    ("keys", "time", "said"),
    [
        ([], None, "the list of keys (teams.team_id) is empty"),
        ([1, 12, 99, -1], TEST, "3 of 4 keys are of no row of teams: 12, 99, -1"),
        ([1.0, float("nan")], TEST, "1 of 2 keys of teams.team_id are null"),
        ([1, None], TEST, "1 of 2 keys of teams.team_id are null"),
        (["1"], TEST, "such as 0; got string, such as '1'"),
        ([1.5], TEST, "got double, such as 1.5"),
        ([True], TEST, "got bool"),
        ([1, "1"], TEST, "got several types"),
        ([1, 2**70], TEST, "got a number that is too large for 64 bits"),
        ("1", TEST, "expected a list of keys"),
        ([1], "1850-01-01", "1 of 1 times lie before all data: 1850-01-01 00:00:00"),
        ([1], "yesterday-ish", "the time to predict at"),
        ([1], 7, "the time to predict at"),
        ([1, 2], [VAL], "1 times for 2 keys"),
        ([1, 11], VAL, "1 of 2 teams do not exist yet at the time asked for, 2020-06-01 00:00:00: 11 (from 2020-06"),
        ([10], None, "10 (no row refers to it)"),
    ],
)
def test_what_cannot_be_predicted_is_refused_by_name(predictor: Predictor, keys: Any, time: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        predictor.predict(keys, time)
    assert said in str(refused.value)
    assert "Remedy" in str(refused.value)


def test_a_store_with_another_schema_is_refused(models: Any, nasty_dataset: RelBenchDataset, tmp_path: Path) -> None:
    other = materialize(nasty_dataset, tmp_path, StoreConfig(exclude_columns=("match.score",)))
    with pytest.raises(ValueError, match="--schema-of THE_CHECKPOINT"):
        load(models, WINS, nasty_dataset, other)


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, pa.array, iter])
def test_keys_may_be_any_list(predictor: Predictor, kind: Any) -> None:
    assert predictor.predict(kind([2, 1]), TEST)["team_id"].tolist() == [2, 1]


def test_times_with_a_zone_are_of_the_same_moment(predictor: Predictor) -> None:
    there = pd.Timestamp(TEST, tz="UTC").tz_convert("Asia/Tokyo")
    assert predictor.predict([1], there).equals(predictor.predict([1], TEST))
    assert series_to_unix_seconds(predictor.predict([1], there)["time"]).tolist() == [
        int(pd.Timestamp(TEST).timestamp())
    ]
