"""Label replay against loops over the rows and RelBench's own regeneration: which times, which labels, and all that is refused."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.base import EntityTask

from rdl_core.database import DatabaseError, load_task, open_dataset
from rdl_core.database.label_replay import further_labels
from tests.nasty_database import TEST, VAL, write_nasty_database
from tests.nasty_tasks import POINTS, WatchedTask
from tests.sql_tasks import GOALS, WINDOW_DAYS, with_sql_tasks, write_sql_task

WINDOW = datetime.timedelta(days=WINDOW_DAYS)
NAMES = ("goals", "plays", "sold")
BOTH = ("train", "val")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, EntityTask]:
    return with_sql_tasks(tmp_path_factory.mktemp("sql") / "nasty")[1]


def own_times(task: EntityTask, *splits: str) -> set[pd.Timestamp]:
    return {time for split in splits for time in task.get_table(split, mask_input_cols=False).df[task.time_col]}


@pytest.mark.parametrize("splits", [("train",), BOTH])
@pytest.mark.parametrize("stride", [0.25, 0.3])
def test_seed_times_are_a_stride_apart_and_every_window_has_closed(
    tasks: Mapping[str, EntityTask], stride: float, splits: tuple[str, ...]
) -> None:
    task, last = tasks["goals"], (VAL if splits == ("train",) else TEST) - WINDOW
    first, step = min(own_times(task, "train")), WINDOW * stride
    expected, time = set(), pd.Timestamp(VAL)
    while time >= first:
        expected.add(time)
        time -= step
    time = pd.Timestamp(VAL) + step
    while time <= last:
        expected.add(time)
        time += step
    found = further_labels(task, stride, splits)["seed_time"]
    assert set(found) == {t for t in expected if t <= last} - own_times(task, *splits)
    assert found.max() + WINDOW <= (VAL if splits == ("train",) else TEST)
    assert found.is_monotonic_increasing


def test_labels_are_those_of_a_loop_over_the_rows(tasks: Mapping[str, EntityTask]) -> None:
    task = tasks["goals"]
    matches = pq.read_table(Path(task.dataset.dataset_dir) / "db" / "match.parquet").to_pylist()
    found = further_labels(task, 0.25, BOTH)
    assert len(found) == 12 * found["seed_time"].nunique()
    for time, team, score in found.itertuples(index=False):
        mine = [
            m["score"]
            for m in matches
            if team in (m["home_id"], m["away_id"])
            and m["played_at"] is not None
            and time < m["played_at"] <= time + WINDOW
            and not np.isnan(m["score"])
        ]
        assert score == pytest.approx(np.mean(mine) if mine else -1.0)
    assert (found["score"] > -1.0).sum() > 20


@pytest.mark.parametrize("splits", [("train",), BOTH])
@pytest.mark.parametrize("name", NAMES)
def test_labels_are_those_that_relbench_makes_at_the_same_times(
    tasks: Mapping[str, EntityTask], name: str, splits: tuple[str, ...]
) -> None:
    task = tasks[name]
    found = further_labels(task, 0.5, splits)
    full = task.get_db(upto_test_timestamp=False)
    db = full.upto(pd.Timestamp(TEST))
    times = pd.DatetimeIndex(sorted(set(found["seed_time"])))
    expected = task.filter_dangling_entities(task.make_table(db, times), db).df
    expected = expected.sort_values([task.time_col, task.entity_col])[list(found.columns)]
    assert len(found) > 5
    np.testing.assert_array_equal(found[task.entity_col], expected[task.entity_col])
    np.testing.assert_allclose(
        found[task.target_col].astype(float), expected[task.target_col].astype(float), rtol=1e-12
    )


def test_entities_after_the_test_timestamp_are_dropped_as_relbench_drops_them(tasks: Mapping[str, EntityTask]) -> None:
    sold = further_labels(tasks["sold"], 0.5)
    rows = pq.read_table(Path(tasks["sold"].dataset.dataset_dir) / "db" / "match.parquet")["played_at"].to_pylist()
    num_entities = sum(time is not None and time <= TEST for time in rows)
    tickets = pq.read_table(Path(tasks["sold"].dataset.dataset_dir) / "db" / "ticket.parquet").to_pylist()
    known = {k["match_id"] for k in tickets if k["sold_at"] is not None and k["sold_at"] <= TEST}
    assert any(match is not None and match >= num_entities for match in known)
    assert set(sold["match_id"]) == {match for match in known if match is not None and match < num_entities}


def test_rows_after_the_validation_timestamp_change_no_label_of_train(tmp_path: Path) -> None:
    """Planted: every match after the validation timestamp has another score, or is gone."""
    found = []
    for plant in (False, True):
        folder = write_nasty_database(tmp_path / f"{plant}")
        path = folder / "db" / "match.parquet"
        rows = pq.read_table(path)
        if plant:
            is_late = [time is not None and time > VAL for time in rows["played_at"].to_pylist()]
            score = [1e6 if late else x for late, x in zip(is_late, rows["score"].to_pylist(), strict=True)]
            rows = rows.set_column(rows.column_names.index("score"), "score", pa.array(score))
            pq.write_table(rows, path)
        task = write_sql_task(folder, "goals", GOALS)
        found.append((further_labels(task, 0.1), further_labels(task, 0.1, BOTH)))
    assert found[0][0].equals(found[1][0])
    assert not found[0][1].equals(found[1][1]), "the plant is seen by windows that it lies in"


def test_no_thread_and_no_second_call_changes_a_bit(tasks: Mapping[str, EntityTask]) -> None:
    for name in NAMES:
        assert further_labels(tasks[name], 0.2).equals(further_labels(tasks[name], 0.2))


def changed_labels(task: EntityTask, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Any:
    table = task.get_table("train", mask_input_cols=False)
    table.df = change(table.df)
    return _WithTrain(task, table)


class _WithTrain(WatchedTask):
    """A task with other train labels."""

    def __init__(self, task: EntityTask, table: Any) -> None:
        super().__init__(task)
        self._table = table

    def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
        return self._table if split == "train" else super().get_table(split, *args, **kwargs)


@pytest.mark.parametrize(
    ("change", "row", "difference"),
    [
        (
            lambda df: df.assign(score=df["score"] + (df.index == 17) * 0.5),
            17,
            r"expected .*team_id 5 .*got team_id 5 ",
        ),
        (lambda df: df.drop(index=3).reset_index(drop=True), 3, r"expected .*team_id 4 .*got team_id 3 "),
        (lambda df: pd.concat([df, df.iloc[[5]].assign(team_id=99)]), None, "team_id 99"),
    ],
    ids=["another label", "a label missing", "a label too many"],
)
def test_labels_that_the_sql_does_not_reproduce_are_refused_naming_the_first(
    tasks: Mapping[str, EntityTask], change: Callable[[pd.DataFrame], pd.DataFrame], row: int | None, difference: str
) -> None:
    task = changed_labels(tasks["goals"], change)
    with pytest.raises(DatabaseError, match="(?s)task 'goals', label replay.*first difference.*remedy") as error:
        further_labels(task, 0.25)
    text = " ".join(str(error.value).split())
    assert row is None or f"labels of train, row {row})" in text
    assert re.search(difference, text)


def test_a_task_without_sql_is_refused_with_its_kind(tmp_path: Path) -> None:
    task = load_task(open_dataset(write_nasty_database(tmp_path / "nasty")), POINTS)
    with pytest.raises(
        DatabaseError, match=r"(?s)task 'team-points'.*with SQL.*kind 'external'.*leave out --label-stride"
    ):
        further_labels(task, 0.25)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        (GOALS.replace("t.timestamp AS seed_time", "t.timestamp + INTERVAL '1 day' AS seed_time"), "was asked for"),
        (GOALS.replace("AS score", "AS scored"), "to give the columns seed_time, team_id, score.*no score"),
        (GOALS.replace("teams x", "teems x"), "SQL that DuckDB runs.*teems"),
        (GOALS.replace("coalesce(avg(m.score), -1.0)", "CASE WHEN day(t.timestamp) = 1 THEN 0.0 END"), "target"),
        (GOALS.replace("coalesce(avg(m.score), -1.0)", "'Infinity'::DOUBLE"), "finite"),
    ],
    ids=["other times", "no such column", "wrong SQL", "null labels", "infinite labels"],
)
def test_sql_that_gives_no_usable_labels_is_refused(tasks: Mapping[str, EntityTask], sql: str, problem: str) -> None:
    task: Any = WatchedTask(tasks["goals"], _sql=sql)
    with pytest.raises(DatabaseError, match=f"(?s)task 'goals', label replay.*{problem}"):
        further_labels(task, 0.25)


def test_columns_that_the_task_must_not_see_are_hidden_from_the_sql_as_relbench_hides_them(
    tasks: Mapping[str, EntityTask],
) -> None:
    task: Any = WatchedTask(tasks["goals"], remove_columns=[("match", "score")])
    with pytest.raises(DatabaseError, match="(?s)DuckDB runs.*score"):
        further_labels(task, 0.25)


@pytest.mark.parametrize("name", ["driver-dnf", "driver-top3", "driver-position"])
def test_real_labels_are_reproduced(data_root: Path, name: str) -> None:
    task = load_task(open_dataset(data_root / "rel-f1"), name)
    own = len(task.get_table("train", mask_input_cols=False).df)
    assert 2.5 * own < len(further_labels(task, 0.25)) < 3.2 * own
