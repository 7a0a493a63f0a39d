"""Explanations of predictions of the nasty database: the predictor's own predictions, nothing of what is not read, nothing of what is not past."""

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

from rdl_core.database import open_dataset
from rdl_core.explanation import LEVELS, Explainer
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.problems import InputError
from tests.nasty_database import TEST, VAL
from tests.nasty_tasks import POINTS, TOWNS, add_class_task
from tests.rdl_core.explanation.small_explanations import (
    BACKBONES,
    explainer,
    fine_tuned,
    forget_column,
    forget_key,
    number_of,
)
from tests.rdl_core.prediction.test_predicting_heads import HEADS, with_heads
from tests.rdl_core.prediction.test_predictor import PLANTED, TEAMS, planted

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = tuple(BACKBONES)
Models = dict[str, Path]


@pytest.fixture(scope="module")
def models(nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("explained")
    heads, _ = with_heads(folder / "heads", nasty_dataset, nasty_store, POINTS)
    return {kind: fine_tuned(folder / kind, nasty_store, nasty_dataset, kind) for kind in KINDS} | {"heads": heads}


def opened(models: Models, kind: str, dataset: RelBenchDataset, store: Store) -> Explainer:
    """An explainer of a kind of network, or of a kept head."""
    return explainer(models["heads" if kind in HEADS else kind], dataset, store, kind if kind in HEADS else None)


def rows_of(of: Explainer, keys: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return of.predictor.questions(keys, TEST)


@pytest.mark.parametrize("kind", ["both", "columns", "blend"])
def test_what_is_explained_is_the_prediction_alone_in_a_batch_and_in_any_order(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store, kind: str
) -> None:
    of = opened(models, kind, nasty_dataset, nasty_store)
    keys = [3, 1, 3]
    found = of.leave_out(*rows_of(of, keys))
    np.testing.assert_allclose(found.prediction, of.predictor.predict(keys, TEST)["prediction"], rtol=0, atol=1e-6)
    alone = of.leave_out(*rows_of(of, [3])).contributions[:, 0]
    for place in (0, 2):
        np.testing.assert_allclose(found.contributions[:, place], alone, rtol=0, atol=1e-6)
    assert np.abs(found.contributions).max() > 1e-3
    np.testing.assert_allclose(found.neutral, found.neutral[0], rtol=0, atol=1e-6)  # of whoever it is


def test_a_table_says_whom_when_and_what_level_by_level_the_largest_first(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    of = opened(models, "columns", nasty_dataset, nasty_store)
    table = of.explain([3, 1], [VAL, TEST])
    left_out = of.leave_out(*of.predictor.questions([3, 1], [VAL, TEST]))
    assert table["team_id"].tolist() == [3] * len(of.groups) + [1] * len(of.groups)
    assert table["time"].drop_duplicates().tolist() == [pd.Timestamp(t, tz="UTC") for t in (VAL, TEST)]
    for question, rows in table.groupby("question"):
        assert rows["level"].drop_duplicates().tolist() == list(LEVELS)
        for _, of_level in rows.groupby("level"):
            assert of_level["contribution"].abs().is_monotonic_decreasing
        expected = {(g.level, g.name): left_out.contributions[n, question] for n, g in enumerate(of.groups)}
        got = dict(zip(zip(rows["level"], rows["name"], strict=True), rows["contribution"], strict=True))
        assert got == pytest.approx(expected, abs=1e-6)


def test_the_generated_column_that_tells_most_is_named_with_its_value_in_its_own_unit(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    of = opened(models, "columns", nasty_dataset, nasty_store)
    rows = of.explain([1], TEST).set_index(["level", "name"])
    assert rows.loc["table", "input"].isna().all()
    columns = of.predictor.inputs.columns_of("teams")
    values = dict(zip(columns.names, columns(*rows_of(of, [1]), raw=True)[0], strict=True))
    told = rows.loc["column"].dropna(subset="input")
    assert len(told) > 10
    for row in told.itertuples():
        assert row.value == pytest.approx(values[row.input], rel=1e-6)
    orders = pd.read_parquet(nasty_dataset.db_dir / "order.parquet")
    past = orders[(orders["team_id"] == 1) & (orders["placed_at"] < TEST)]
    statistic = "count of order via team_id"
    assert values[statistic] == len(past)
    single = [n for n, inputs in enumerate(of._inputs_of) if len(inputs) == 1]
    one_by_one = of._single(*(int(x[0]) for x in rows_of(of, [1])), of.leave_out(*rows_of(of, [1])).prediction[0])
    whole = of.leave_out(*rows_of(of, [1]))
    assert single, "some column has one generated column alone"
    for n in single:
        expected = whole.without[n, 0]
        assert one_by_one.without[of._inputs_of[n][0]] == pytest.approx(expected, abs=1e-6)


def test_a_column_that_the_model_does_not_read_contributes_exactly_nothing(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    of = opened(models, "columns", nasty_dataset, nasty_store)
    number = number_of(of, "column", "match.score")
    assert (of.leave_out(*rows_of(of, TEAMS)).contributions[number] != 0).all()
    forget_column(of, "match", "score")
    assert (of.leave_out(*rows_of(of, TEAMS)).contributions[number] == 0).all()


def test_a_key_whose_messages_the_model_ignores_contributes_exactly_nothing(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    of = opened(models, "trees", nasty_dataset, nasty_store)
    key = ("order", "team_id", "teams")
    number = number_of(of, "key", "order.team_id -> teams")
    assert (of.leave_out(*rows_of(of, TEAMS)).contributions[number] != 0).any()
    forget_key(of.predictor.model.encoder, key)
    assert (of.leave_out(*rows_of(of, TEAMS)).contributions[number] == 0).all()


def test_what_no_path_leads_to_contributes_exactly_nothing(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    of = opened(models, "columns", nasty_dataset, nasty_store)  # of one key
    contributions = of.leave_out(*rows_of(of, TEAMS)).contributions
    for level, name in (("table", "ticket"), ("key", "ticket.match_id -> match"), ("column", "ticket.price")):
        assert (contributions[number_of(of, level, name)] == 0).all()


@pytest.mark.parametrize("name", ["match.kind", "match.tags", "order.note", "order.delivered", "order_line.quantity"])
def test_cells_left_out_are_those_of_a_database_with_their_neutral_value_in_it(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path, name: str
) -> None:
    of = opened(models, "trees", nasty_dataset, nasty_store)
    table, _, column = name.partition(".")
    schema = {c.name: c for c in nasty_store.schema.tables[table].columns}[column]

    def neutral(old: pa.ChunkedArray) -> pa.Array:
        if schema.stype == "numerical":
            return pa.array([schema.mean] * len(old))
        if schema.stype != "timestamp":
            return pa.nulls(len(old), old.type)
        return pa.array([schema.median_s] * len(old)).cast(pa.timestamp("s")).cast(old.type)

    changed = rewritten(nasty_dataset, tmp_path, table, column, neutral)
    store = materialize(changed, tmp_path / "stores", model=of.predictor.store.schema)
    expected = opened(models, "trees", changed, store).predictor.predict(TEAMS, TEST)["prediction"]
    found = of.leave_out(*rows_of(of, TEAMS))
    without = found.without[number_of(of, "column", name)]
    np.testing.assert_allclose(without, expected, rtol=0, atol=1e-6)
    assert np.abs(without - found.prediction).max() > 1e-6


def test_a_key_left_out_of_trees_is_that_of_a_database_without_it(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    of = opened(models, "trees", nasty_dataset, nasty_store)
    changed = rewritten(nasty_dataset, tmp_path, "ticket", "match_id", lambda old: pa.nulls(len(old), old.type))
    store = materialize(changed, tmp_path / "stores", model=of.predictor.store.schema)
    expected = opened(models, "trees", changed, store).predictor.predict(TEAMS, TEST)["prediction"]
    found = of.leave_out(*rows_of(of, TEAMS))
    for level, name in (("key", "ticket.match_id -> match"), ("table", "ticket")):
        without = found.without[number_of(of, level, name)]
        np.testing.assert_allclose(without, expected, rtol=0, atol=1e-6)
    assert np.abs(without - found.prediction).max() > 1e-6


def rewritten(dataset: RelBenchDataset, folder: Path, table: str, column: str, change: Any) -> RelBenchDataset:
    """The database with another column in the place of one."""
    shutil.copytree(dataset.dataset_dir, folder / "nasty")
    path = folder / "nasty" / "db" / f"{table}.parquet"
    rows = pq.read_table(path)
    place = rows.column_names.index(column)
    pq.write_table(rows.set_column(place, column, change(rows[column])), path)
    return open_dataset(folder / "nasty")


@pytest.mark.parametrize(("kind", "table"), [("both", "order"), ("both", "ticket"), ("blend", "match")])
def test_a_row_at_or_after_the_time_changes_no_contribution(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path, kind: str, table: str
) -> None:
    before = opened(models, kind, nasty_dataset, nasty_store)
    changed = planted(nasty_dataset, tmp_path / "nasty", table, PLANTED[table])
    store = materialize(changed, tmp_path / "stores", model=before.predictor.store.schema)
    after = opened(models, kind, changed, store)
    expected, found = (of.leave_out(*rows_of(of, TEAMS)) for of in (before, after))
    np.testing.assert_allclose(found.contributions, expected.contributions, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.neutral, expected.neutral, rtol=0, atol=1e-6)


def test_of_several_classes_the_probability_of_the_most_likely_one_is_explained(
    nasty_dataset: RelBenchDataset, tmp_path: Path
) -> None:
    shutil.copytree(nasty_dataset.dataset_dir, tmp_path / "nasty")
    add_class_task(tmp_path / "nasty")
    dataset = open_dataset(tmp_path / "nasty")
    store = materialize(dataset, tmp_path / "stores")
    of = explainer(fine_tuned(tmp_path / "model", store, dataset, "columns", TOWNS), dataset, store)
    table, predicted = of.explain([1, 2], TEST), of.predictor.predict([1, 2], TEST)
    firsts = table.groupby("question").first()
    assert firsts["class"].tolist() == predicted["prediction"].tolist()
    expected = [predicted[f"probability_{name}"][n] for n, name in enumerate(firsts["class"])]
    assert firsts["prediction"].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("keys", "time", "said"),
    [
        ([], None, "the list of keys (teams.team_id) is empty"),
        ([99], TEST, "1 of 1 keys are of no row of teams"),
        ([1], "1850-01-01", "lie before all data"),
        ([11], VAL, "do not exist yet"),
    ],
)
def test_what_predict_refuses_is_refused_by_the_same_words(
    models: Models, nasty_dataset: RelBenchDataset, nasty_store: Store, keys: Any, time: Any, said: str
) -> None:
    with pytest.raises(InputError, match="Remedy") as refused:
        opened(models, "columns", nasty_dataset, nasty_store).explain(keys, time)
    assert said in str(refused.value)
