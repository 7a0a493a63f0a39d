"""Own tasks: their labels are those of a loop over rows, nothing outside a window changes them, and what cannot be asked is refused."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.base import Database
from relbench.load import RelBenchDataset, build_task

from distributed.tasks.command import Question
from distributed.tasks.new_task import add_task, task_manifest
from rdl_core.database import load_task, open_dataset
from rdl_core.problems import InputError
from tests.distributed.tasks.label_oracle import Oracle, Row, Time, mode, values
from tests.nasty_database import TEST, VAL, write_nasty_database

WINDOW = datetime.timedelta(days=30)
SEEDS = [*(VAL - number * WINDOW for number in (4, 3, 2, 1)), VAL, VAL + WINDOW, TEST]
Labels = dict[tuple[Time, int], Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nasty_database(tmp_path_factory.mktemp("own_tasks") / "nasty")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> RelBenchDataset:
    return open_dataset(folder)


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    return Oracle(folder)


def team_of_line(oracle: Oracle) -> Callable[[Row], Any]:
    return lambda row: (oracle.parent("order_line", row, "order_id") or {}).get("team_id")


def order_time(oracle: Oracle) -> Callable[[Row], Time | None]:
    return lambda row: oracle.time("order", oracle.parent("order_line", row, "order_id"))


def match_time(oracle: Oracle) -> Callable[[Row], Time | None]:
    return lambda row: oracle.time("match", oracle.parent("lineup", row, "match_id"))


def team_of_goal(oracle: Oracle) -> Callable[[Row], Any]:
    return lambda row: (oracle.parent("goal", row, "lineup_id") or {}).get("team_id")


def teams_seen(oracle: Oracle) -> Callable[[int], Time | None]:
    """From when on a team is referred to by a row with a time."""
    times: dict[int, list[Time]] = {}
    for table, column, time_of in (
        ("order", "team_id", lambda row: row["placed_at"]),
        ("match", "home_id", lambda row: row["played_at"]),
        ("match", "away_id", lambda row: row["played_at"]),
        ("lineup", "team_id", match_time(oracle)),
    ):
        for row in oracle.rows[table]:
            if row[column] is not None and time_of(row) is not None:
                times.setdefault(int(row[column]), []).append(time_of(row))
    return lambda team: min(times[team]) if team in times else None


def of(table: str, oracle: Oracle) -> tuple[Callable[[Row], Any], Callable[[Row], Time | None]]:
    """(team, time) of the rows of a table; of a match the home team."""
    return {
        "order": (lambda row: row["team_id"], lambda row: row["placed_at"]),
        "match": (lambda row: row["home_id"], lambda row: row["played_at"]),
        "order_line": (team_of_line(oracle), order_time(oracle)),
        "lineup": (lambda row: row["team_id"], match_time(oracle)),
        "goal": (team_of_goal(oracle), lambda row: row["scored_at"]),
    }[table]


def first(found: list[Any]) -> Any:
    return found[0] if found else None


CASES: dict[str, tuple[str, str, Callable[[list[Row]], Any]]] = {
    "COUNT(order)": ("order", "regression", len),
    "COUNT(order) = 0": ("order", "binary_classification", lambda rows: int(not rows)),
    "COUNT(order_line) >= 2": ("order_line", "binary_classification", lambda rows: int(len(rows) >= 2)),
    "EXISTS(match)": ("match", "binary_classification", lambda rows: int(bool(rows))),
    "COUNT(lineup)": ("lineup", "regression", len),
    "COUNT(goal)": ("goal", "regression", len),
    "SUM(order_line.price)": ("order_line", "regression", lambda rows: sum(values(rows, "price"))),
    "AVG(match.score)": (
        "match",
        "regression",
        lambda rows: float(np.mean(values(rows, "score"))) if values(rows, "score") else None,
    ),
    "MIN(order_line.quantity)": ("order_line", "regression", lambda rows: min(values(rows, "quantity"), default=None)),
    "MAX(match.score) > 6.5": (
        "match",
        "binary_classification",
        lambda rows: int(max(values(rows, "score")) > 6.5) if values(rows, "score") else None,
    ),
    "MODE(match.kind)": ("match", "multiclass_classification", lambda rows: mode(values(rows, "kind"))),
    "MODE(order_line.quantity)": (
        "order_line",
        "multiclass_classification",
        lambda rows: mode(values(rows, "quantity")),
    ),
    "NEXT(match.home_id.note)": (
        "match",
        "multiclass_classification",
        lambda rows: first(values(rows, "home_id.note")),
    ),
    "NEXT(match.score)": ("match", "regression", lambda rows: first(values(rows, "score"))),
    "NEXT(match.kind) = 'cup'": (
        "match",
        "binary_classification",
        lambda rows: int(values(rows, "kind")[0] == "cup") if rows else None,
    ),
    "NEXT(order.is_paid)": (
        "order",
        "binary_classification",
        lambda rows: first([int(value) for value in values(rows, "is_paid")]),
    ),
}


def question(target: str, **more: Any) -> Question:
    via = ("match.home_id",) if "match" in target else ()
    return Question(**{"entity": "teams", "target": target, "window": "30d", "via": via, "name": "own"} | more)


@pytest.fixture(scope="module")
def database(dataset: RelBenchDataset) -> Database:
    return dataset.get_db(upto_test_timestamp=False)


def labels_of(dataset: RelBenchDataset, database: Database, asked: Question) -> Labels:
    """{(seed time, entity): label} at SEEDS."""
    manifest = task_manifest(dataset, asked)
    task = build_task(dataset, manifest, regenerate=True)
    rows = task.make_table(database, pd.DatetimeIndex(SEEDS)).df
    times = [pd.Timestamp(time).to_pydatetime().replace(tzinfo=None) for time in rows[manifest.time_col]]
    found = dict(
        zip(zip(times, rows[manifest.entity_col].tolist(), strict=True), rows[manifest.target_col], strict=True)
    )
    assert len(found) == len(rows)
    return found


def expected_labels(oracle: Oracle, table: str, answer: Callable[[list[Row]], Any], **more: Any) -> Labels:
    """The labels of teams at SEEDS by the loop."""
    entity_of, time_of = of(table, oracle)
    named = {"table": table, "entity_of": entity_of, "time_of": time_of, "answer": answer, "window": WINDOW}
    return oracle.labels("teams", SEEDS, first_seen=teams_seen(oracle), **named | more)


def same(found: Labels, expected: Labels) -> bool:
    if found.keys() != expected.keys():
        return False
    return all(
        value == expected[key] if isinstance(value, str) else np.isclose(value, float(expected[key]), rtol=1e-12)
        for key, value in found.items()
    )


@pytest.mark.parametrize("target", CASES)
def test_labels_are_those_of_a_loop_over_rows(
    target: str, dataset: RelBenchDataset, database: Database, oracle: Oracle
) -> None:
    table, task_type, answer = CASES[target]
    expected = expected_labels(oracle, table, answer)
    assert len(set(expected.values())) > 1
    assert same(labels_of(dataset, database, question(target)), expected)
    assert task_manifest(dataset, question(target)).task_type == task_type


def test_a_condition_and_activity_before_the_seed_time_are_those_of_the_loop(
    dataset: RelBenchDataset, database: Database, oracle: Oracle
) -> None:
    asked = question("COUNT(order)", where="note LIKE 'note%' -- and nothing else", active_within="60 days")
    more: dict[str, Any] = {
        "keeps": lambda row: (row["note"] or "").startswith("note"),
        "active_within": datetime.timedelta(days=60),
    }
    expected = expected_labels(oracle, "order", len, **more)
    assert 0 < len(expected) < len(expected_labels(oracle, "order", len))
    assert same(labels_of(dataset, database, asked), expected)


def test_a_row_of_an_entity_table_with_times_is_asked_from_its_own_time_on(
    dataset: RelBenchDataset, database: Database, oracle: Oracle
) -> None:
    expected = oracle.labels(
        "match",
        SEEDS,
        table="ticket",
        entity_of=lambda row: row["match_id"],
        time_of=lambda row: row["sold_at"],
        answer=len,
        first_seen=lambda match: oracle.rows["match"][match]["played_at"],
        window=WINDOW,
    )
    assert same(labels_of(dataset, database, question("COUNT(ticket)", entity="match", via=())), expected)


def test_rows_of_a_table_belong_to_their_parent_in_it(dataset: RelBenchDataset) -> None:
    with pytest.raises(InputError, match="nothing dates the rows of categories"):
        task_manifest(dataset, question("COUNT(categories)", entity="categories"))


def test_rows_that_only_their_entity_dates_are_refused_as_that(dataset: RelBenchDataset) -> None:
    with pytest.raises(InputError, match="nothing dates the rows of order_line but their row of order, the entity"):
        task_manifest(dataset, question("COUNT(order_line)", entity="order"))


def test_no_row_at_the_seed_time_or_after_the_window_changes_a_label(tmp_path: Path) -> None:
    """Orders get another team, all but those in the window of validation."""
    changed = write_nasty_database(tmp_path / "nasty")
    asked = question("COUNT(order)")
    before = val_labels(changed, asked)
    path = changed / "db" / "order.parquet"
    orders = pq.read_table(path)
    placed = [time.replace(tzinfo=None) for time in orders["placed_at"].to_pylist()]
    teams = [
        team if VAL < time <= VAL + WINDOW else 4
        for team, time in zip(orders["team_id"].to_pylist(), placed, strict=True)
    ]
    assert sum(time == VAL for time in placed) > 1 and sum(time > VAL + WINDOW for time in placed) > 1
    pq.write_table(orders.set_column(1, "team_id", pa.array(teams)), path)
    after = val_labels(changed, asked)
    assert before == after and sum(before.values()) > 0


def val_labels(folder: Path, asked: Question) -> dict[int, float]:
    dataset = open_dataset(folder)
    add_task(dataset, task_manifest(dataset, asked), replaces=True)
    rows = pq.read_table(folder / "tasks" / "own" / "val.parquet").to_pylist()
    return {row["team_id"]: row["own"] for row in rows}


def test_a_row_at_the_end_of_the_window_counts_and_one_a_microsecond_later_does_not(tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    path = folder / "db" / "order.parquet"
    orders = pq.read_table(path)
    place = next(i for i, time in enumerate(orders["placed_at"].to_pylist()) if time > VAL + WINDOW)
    counts = []
    for later in (datetime.timedelta(0), datetime.timedelta(microseconds=1)):
        times = orders["placed_at"].to_pylist()
        times[place] = VAL + WINDOW + later
        pq.write_table(orders.set_column(2, "placed_at", pa.array(times, orders["placed_at"].type)), path)
        counts.append(sum(val_labels(folder, question("COUNT(order)")).values()))
    assert counts[0] == counts[1] + 1


def test_a_new_task_is_loaded_like_an_imported_one_and_leaves_all_other_files_alone(tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    dataset = open_dataset(folder)
    manifest = task_manifest(dataset, question("COUNT(order) = 0", name=None))
    assert manifest.name == "teams-count-order-is-0-30d" and manifest.target_col == "teams_count_order_is_0_30d"
    numbers = add_task(dataset, manifest)
    task = load_task(open_dataset(folder), manifest.name)
    regenerated = dataset.load_task(manifest.name, regenerate=True)
    for split, number in numbers.items():
        found, made = (one.get_table(split, mask_input_cols=False).df for one in (task, regenerated))
        assert len(found) == number > 0
        pd.testing.assert_frame_equal(found, made, check_dtype=False)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(FileExistsError, match="--replace"):
        add_task(dataset, manifest)


def test_a_task_whose_labels_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    dataset = open_dataset(folder)
    manifest = task_manifest(dataset, question("NEXT(goal.minute)", where="minute > 250"))
    with pytest.raises(InputError, match="task own"):
        add_task(dataset, manifest)
    assert sorted(path.name for path in (folder / "tasks").iterdir()) == ["team-points", "team-wins"]


REFUSED = {
    "COUNT(orders)": r"no table 'orders' among .*; did you mean 'order'\?",
    "SUM(order_line.prise)": r"table 'order_line' has no column 'prise' among .*; did you mean 'price'\?",
    "CONT(order)": r"no aggregate 'CONT'; did you mean 'COUNT'\?",
    "how many": "expected an aggregate of a table or column, such as",
    "COUNT(order.note)": r"expected COUNT\(order\)",
    "SUM(order)": r"expected SUM\(order.COLUMN\)",
    "SUM(order.note)": "SUM is of numbers; got order.note, which holds string",
    "MODE(match.score)": "MODE is of texts",
    "MODE(order.team_id)": "order.team_id is a key",
    "NEXT(order.note) = 3": "compared with 3; expected a text in single quotes",
    "COUNT(order) = 'three'": "compared with 'three'; expected a number",
    "COUNT(équipe_catégorie)": "nothing dates the rows of équipe_catégorie",
    "COUNT(categories)": "no foreign keys lead from categories to teams.*Tables whose rows belong to teams: order,",
}


@pytest.mark.parametrize("target", REFUSED)
def test_a_target_that_cannot_be_asked_is_refused_with_what_is_near(target: str, dataset: RelBenchDataset) -> None:
    with pytest.raises(InputError, match=REFUSED[target]):
        task_manifest(dataset, Question(entity="teams", target=target, window="30d"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entity": "team"}, "--entity: no table 'team' among .*; did you mean 'teams'"),
        ({"entity": "order_line"}, "--entity order_line: has no primary key"),
        ({"window": "a month"}, "--window 'a month': expected a time span such as 60d"),
        ({"window": "30"}, "--window '30': expected a time span"),
        ({"window": "100d"}, "--window 100 days: longer than the 92 days"),
        ({"active_within": "-3d"}, "--active-within '-3d'"),
        ({"where": "paid = 1"}, r"table 'order' has no column \['paid'\]"),
        ({"where": "placed_at < now()"}, "changes by itself"),
        ({"name": "a/b"}, "--name 'a/b' cannot name a folder"),
        ({"target": "COUNT(match)"}, r"2 ways; .*\n  --via match.home_id .*\n  --via match.away_id"),
        ({"via": ("match.home",)}, "--via: no foreign key 'match.home' among .*did you mean 'match.home_id'"),
        ({"via": ("match.home_id",)}, "no way from order to teams goes along it"),
    ],
)
def test_a_question_that_does_not_fit_is_refused_by_the_option(
    options: dict[str, Any], message: str, dataset: RelBenchDataset
) -> None:
    with pytest.raises(InputError, match=message):
        task_manifest(dataset, Question(**{"entity": "teams", "target": "COUNT(order)", "window": "30d"} | options))
