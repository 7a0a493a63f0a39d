"""Answers to questions: a loop over the children, what is not known, what is left out, and leaks that are planted after the cutoff."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.config import BackboneConfig, ColumnsConfig, FutureConfig, StatisticsConfig, TemporalKernelsAggregation
from rdl_core.database.dataset import open_dataset
from rdl_core.future import FutureAnswers, FutureSource, Questions, QuestionSource
from rdl_core.graph.materialization import materialize
from rdl_core.graph.measures import MeasureValues
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.store import Store
from tests.nasty_database import TEST, VAL

READS_ALL = BackboneConfig(
    statistics=StatisticsConfig(), columns=ColumnsConfig(), aggregation=TemporalKernelsAggregation()
)
CONFIG = FutureConfig(questions_per_sample=64, window_shares=(1 / 16, 1 / 4))


def asked_of(store: Store, answers: FutureAnswers, table: str) -> Questions:
    return QuestionSource(store.graph, answers.edge_types, answers.windows_s).draw((0, 0, 0), 200, [table])


def by_loop(store: Store, answers: FutureAnswers, edge_type: EdgeType, row: int, time_s: int) -> list[float]:
    """The answers to one question by one key, from the rows of the child table."""
    child, graph, cutoff_s = edge_type[0], store.graph, store.schema.cutoff_s
    times, owners = graph.table_time(child), graph.key_parent(edge_type)
    cells = MeasureValues(store.features[child])
    coming = [(int(times[i]), i) for i in range(len(times)) if owners[i] == row and time_s <= times[i] <= cutoff_s]
    found: list[float] = []
    for window_s in answers.windows_s:
        rows = [i for t, i in sorted(coming) if t < time_s + window_s]
        values = cells(np.array(rows, np.int64)).astype(np.float64)
        means = [np.mean(known) if len(known := v[np.isfinite(v)]) else math.nan for v in values.T]
        one = [math.log(1 + len(rows)), float(len(rows) > 0), *means]
        found += one if time_s + window_s <= cutoff_s else [math.nan] * len(one)
    if answers.config.next_row:
        first = cells(np.array([min(coming)[1]], np.int64))[0].tolist() if coming else [math.nan] * len(cells.measures)
        found += first
    return found


@pytest.mark.parametrize("next_row", [True, False])
def test_answers_are_those_of_a_loop_over_the_children(nasty_store: Store, next_row: bool) -> None:
    config = FutureConfig(window_shares=CONFIG.window_shares, next_row=next_row)
    answers = FutureAnswers(nasty_store, config)
    tables = QuestionSource(nasty_store.graph, answers.edge_types, answers.windows_s).tables
    assert len(tables) >= 4
    for table in tables:
        asked = asked_of(nasty_store, answers, table)
        got = answers(asked)
        keys = [e for e in answers.edge_types if e[2] == table]
        assert got.shape == (200, len(answers.targets(table)))
        for i in range(0, 200, 7):
            question = int(asked.rows[i]), int(asked.time_s[i])
            expected = [v for e in keys for v in by_loop(nasty_store, answers, e, *question)]
            np.testing.assert_allclose(got[i], expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(got).any() and np.isnan(got).any()


def test_windows_that_do_not_close_by_the_cutoff_are_not_known(nasty_store: Store) -> None:
    answers = FutureAnswers(nasty_store, CONFIG)
    small, large = answers.windows_s
    end = nasty_store.schema.cutoff_s
    times = np.array([end - large, end - large + 1, end - small, end - small + 1])
    got = answers(Questions(table="teams", rows=np.arange(4), time_s=times))
    names = [target.name for target in answers.targets("teams")]
    counts = [i for i, name in enumerate(names) if name.startswith("log count of match via home_id")]
    assert np.isfinite(got[:, counts]).tolist() == [[True, True], [True, False], [True, False], [False, False]]


def test_targets_say_what_they_are(nasty_store: Store) -> None:
    targets = FutureAnswers(nasty_store, CONFIG).targets("teams")
    by_name = {target.name: target for target in targets}
    assert len(by_name) == len(targets)
    (name,) = [n for n in by_name if n.startswith("any match via home_id")][:1]
    assert by_name[name].kind == "any" and by_name[name].is_binary
    assert by_name["match.score of the next via home_id"].kind == "next"
    assert not by_name["match.score of the next via home_id"].is_binary


def test_what_is_excluded_is_not_asked_for(nasty_store: Store) -> None:
    def names(*exclude: str) -> list[str]:
        answers = FutureAnswers(nasty_store, FutureConfig(exclude=exclude))
        return [target.name for table in nasty_store.graph.node_types for target in answers.targets(table)]

    everything, no_table, no_column = names(), names("match"), names("match.score")
    assert any("match.score" in name for name in everything) and any("order_line" in name for name in no_table)
    assert not any("match." in name or " match via" in name for name in no_table)
    assert not any("match.score" in name for name in no_column)
    assert [n for n in everything if "match.score" not in n] == no_column


@pytest.mark.parametrize("name", ["goals", "match.home_id", "match.nothing"])
def test_an_exclusion_that_names_nothing_is_refused(nasty_store: Store, name: str) -> None:
    with pytest.raises(ValueError, match=f"future.exclude names '{name}'"):
        FutureAnswers(nasty_store, FutureConfig(exclude=(name,)))


def test_nothing_left_to_ask_is_refused(nasty_store: Store) -> None:
    children = tuple({child for child, _, _ in nasty_store.graph.edge_types})
    with pytest.raises(ValueError, match="nothing to ask"):
        FutureAnswers(nasty_store, FutureConfig(exclude=children))


def with_another_future(source: Path, folder: Path) -> Path:
    """A copy whose dated rows after the cutoff have other cells and times, and so have lines of orders after it."""
    shutil.copytree(source, folder)
    for table, time_col, changed in (
        ("match", "played_at", "score"),
        ("ticket", "sold_at", "price"),
        ("order", "placed_at", None),
    ):
        path = folder / "db" / f"{table}.parquet"
        rows = pq.read_table(path)
        times = rows[time_col]
        is_late = pc.fill_null(pc.greater(times, pa.scalar(VAL, pa.timestamp("us")).cast(times.type)), False)
        later = pc.add(times, pa.scalar(3 * 86_400_000_000, pa.duration("us")))
        rows = _set(rows, time_col, pc.if_else(is_late, later, times))
        if changed is not None:
            rows = _set(rows, changed, pc.if_else(is_late, 1e4, rows[changed]))
        pq.write_table(rows, path)
    return folder


def _set(rows: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, column, values.cast(rows.schema.field(column).type))


def test_a_future_planted_after_the_cutoff_changes_no_batch(
    nasty_store: Store, nasty_dataset: RelBenchDataset, tmp_path: Path
) -> None:
    folder = with_another_future(nasty_dataset.dataset_dir, tmp_path / "nasty")
    other = materialize(open_dataset(folder), tmp_path)
    assert not np.array_equal(other.graph.table_time("match"), nasty_store.graph.table_time("match"))
    late = other.graph.table_time("match") > other.schema.cutoff_s
    assert late.sum() > 5 and TEST > VAL
    sources = [FutureSource(store, CONFIG, READS_ALL) for store in (nasty_store, other)]
    assert sources[0].tables == sources[1].tables
    for sample in range(12):
        one, two = (source([(0, sample)], seed=0)[0] for source in sources)
        assert one.table == two.table
        for name in ("target", "weight"):
            assert np.array_equal(getattr(one, name).numpy(), getattr(two, name).numpy())
        for table, frame in one.trees.frames.items():
            assert frame == two.trees.frames[table], table
            assert np.array_equal(one.trees.index[table], two.trees.index[table])
        assert one.trees.statistics is not None
        assert two.trees.statistics is not None
        for table, statistics in one.trees.statistics.items():
            assert np.array_equal(statistics, two.trees.statistics[table], equal_nan=True), table
        assert one.trees.columns is not None
        assert two.trees.columns is not None
        assert np.array_equal(one.trees.columns, two.trees.columns, equal_nan=True)
        for table, ages in one.trees.distinct_age_days.items():
            assert np.array_equal(ages, two.trees.distinct_age_days[table])


def test_a_tree_holds_only_rows_strictly_before_its_question(nasty_store: Store) -> None:
    source = FutureSource(nasty_store, CONFIG, READS_ALL)
    seen: NDArray[np.bool_] = np.zeros(0, bool)
    for table in source.tables:
        asked = asked_of(nasty_store, source.answers, table)
        trees = source.trees.sample(table, asked.rows, asked.time_s, epoch=0)
        for name, rows in trees.rows.items():
            times = nasty_store.graph.table_time(name)[rows][trees.index[name]]
            seen = np.concatenate([seen, times < asked.time_s[trees.seed[name]]])
    assert seen.all() and len(seen) > 1000
