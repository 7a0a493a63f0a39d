"""Statistics of children: what plain loops find, strictly before, in the order of their names."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from relbench.load import RelBenchDataset

from rdl_core.config import StatisticsConfig, StoreConfig
from rdl_core.graph.materialization import materialize
from rdl_core.graph.reg import ALWAYS
from rdl_core.graph.store import Store
from rdl_core.statistics import KeyStatistics, windows_s
from rdl_core.statistics.names import duration
from rdl_core.timestamps import NO_TIME
from tests.rdl_core.statistics.oracle import Oracle, times_to_ask

CONFIG = StatisticsConfig(num_last=(3, 1), window_shares=(1 / 8, 1 / 64, 1.0))


@pytest.fixture(scope="module", params=["first_reference", "always"])
def store(
    request: pytest.FixtureRequest, nasty_dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """With "always", rows without a time are there before all others."""
    return materialize(nasty_dataset, tmp_path_factory.mktemp("stores"), StoreConfig(timeless_rows=request.param))


def asked(store: Store, table: str, child: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every row of a table at several times, shuffled."""
    rng = np.random.default_rng(seed)
    times = times_to_ask(store.graph.table_time(child), 3, rng)
    pairs = np.array(list(itertools.product(range(store.graph.num_rows(table)), times)))
    pairs = rng.permutation(pairs)
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("raw", [False, True])
def test_every_row_at_every_time_has_the_statistics_that_loops_find(
    store: Store, nasty_dataset: RelBenchDataset, raw: bool
) -> None:
    statistics = KeyStatistics(store, CONFIG)
    num_known = 0
    for seed, edge_type in enumerate(store.graph.edge_types):
        oracle = Oracle(store, nasty_dataset.db_dir, edge_type)
        parents, before_s = asked(store, edge_type[2], edge_type[0], seed)
        found = statistics(edge_type, parents, before_s, raw=raw)
        of = statistics.measures(edge_type), CONFIG, statistics.windows_s, raw
        expected = np.array(
            [oracle.statistics(*pair, *of) for pair in zip(parents.tolist(), before_s.tolist(), strict=True)]
        )
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5, err_msg=str(edge_type))
        num_known += int(np.isfinite(expected).sum())
    assert num_known > 5_000


def test_windows_and_next_children_are_those_that_loops_find(store: Store, nasty_dataset: RelBenchDataset) -> None:
    statistics = KeyStatistics(store, CONFIG)
    num_next = 0
    for seed, edge_type in enumerate(store.graph.edge_types):
        oracle = Oracle(store, nasty_dataset.db_dir, edge_type)
        parents, from_s = asked(store, edge_type[2], edge_type[0], seed)
        until_s = from_s + np.random.default_rng(seed).choice([0, 1, 5 * 86_400, 90 * 86_400], len(from_s))
        counts, means = statistics.window_answers(edge_type, parents, from_s, until_s)
        raw_means = statistics.window_answers(edge_type, parents, from_s, until_s, raw=True)[1]
        following = statistics.next_child(edge_type, parents, from_s, until_s)
        for i, (parent, begin, end) in enumerate(zip(parents.tolist(), from_s.tolist(), until_s.tolist(), strict=True)):
            rows = oracle.children(parent, begin, end)
            assert counts[i] == len(rows)
            assert following[i] == (rows[0] if rows else -1)
            expected = oracle.means(statistics.measures(edge_type), rows, raw=False)
            np.testing.assert_allclose(means[i], expected, rtol=2e-5, atol=2e-5)
            expected = oracle.means(statistics.measures(edge_type), rows, raw=True)
            np.testing.assert_allclose(raw_means[i], expected, rtol=2e-5, atol=2e-5)
            num_next += bool(rows)
    assert num_next > 50


def test_a_child_at_the_very_time_is_not_before_it_and_one_of_the_second_before_is(nasty_store: Store) -> None:
    statistics = KeyStatistics(nasty_store)
    edge_type = ("order", "team_id", "teams")
    times, parent = nasty_store.graph.table_time("order"), nasty_store.graph.key_parent(edge_type)
    row = 4
    assert (times == times[row]).sum() == 1
    at = np.array([times[row], times[row] + 1])
    found = statistics(edge_type, np.repeat(parent[row], 2).astype(np.int64), at, raw=True)
    assert found[1, 0] == found[0, 0] + 1
    assert found[1, 1] == pytest.approx(1 / 86_400)


def test_a_child_without_a_time_is_never_counted_and_one_that_is_always_there_has_no_age(
    nasty_dataset: RelBenchDataset, tmp_path: Path
) -> None:
    store = materialize(nasty_dataset, tmp_path, StoreConfig(timeless_rows="always"))
    statistics, late = KeyStatistics(store), NO_TIME - 1
    sold, lines = ("ticket", "match_id", "match"), ("order_line", "order_id", "order")
    never = store.graph.table_time("ticket") == NO_TIME
    parent = store.graph.key_parent(sold)
    rows = np.unique(parent[never & (parent >= 0)]).astype(np.int64)
    visible = [int((parent[~never] == row).sum()) for row in rows]
    found = statistics(sold, rows, np.full(len(rows), late), raw=True)
    assert len(rows) and found[:, 0].tolist() == visible
    assert (store.graph.table_time("order_line") == ALWAYS).all()
    found = statistics(lines, np.array([3]), np.array([0]), raw=True)
    assert found[0, 0] >= 24 and np.isnan(found[0, 1:5]).all()
    names = statistics.names(lines)
    assert all(
        found[0, names.index(f"count of order_line within {duration(w)} via order_id")] == 0
        for w in statistics.windows_s
    )


def test_names_are_as_many_as_columns_and_no_two_are_alike(nasty_store: Store) -> None:
    statistics = KeyStatistics(nasty_store)
    for table in nasty_store.graph.node_types:
        found = statistics.of_table(table, np.zeros(2, np.int64), np.zeros(2, np.int64))
        names = statistics.table_names(table)
        assert found.shape == (2, len(names)) == (2, statistics.table_width(table))
        assert len(set(names)) == len(names)


def test_names_are_plain_words(nasty_store: Store) -> None:
    names = KeyStatistics(nasty_store, StatisticsConfig(num_last=(4,), window_shares=(1 / 4,))).names(
        ("order", "team_id", "teams")
    )
    assert names[:6] == [
        "count of order via team_id",
        "days since the last of order via team_id",
        "days since the first of order via team_id",
        "days between the last two of order via team_id",
        "time since the last of order, in mean gaps, via team_id",
        "share of order.note is missing over the last 4 via team_id",
    ]
    assert "share of order.is_paid = 'true' over all via team_id" in names
    assert "count of order within 30.2 days via team_id" in names


def test_the_statistics_of_a_table_are_those_of_its_keys_one_after_another(nasty_store: Store) -> None:
    statistics = KeyStatistics(nasty_store)
    rows, before_s = np.arange(12), np.full(12, nasty_store.test_timestamp_s)
    keys = [e for e in nasty_store.graph.edge_types if e[2] == "teams"]
    parts = [statistics(e, rows, before_s) for e in keys]
    assert len(parts) == 5
    assert statistics.of_table("teams", rows, before_s).tobytes() == np.concatenate(parts, axis=1).tobytes()


def test_the_order_and_company_of_questions_change_nothing(nasty_store: Store) -> None:
    statistics = KeyStatistics(nasty_store)
    edge_type = ("match", "home_id", "teams")
    parents, before_s = asked(nasty_store, "teams", "match", 7)
    whole = statistics(edge_type, parents, before_s)
    order = np.random.default_rng(0).permutation(len(parents))
    assert statistics(edge_type, parents[order], before_s[order]).tobytes() == whole[order].tobytes()
    assert statistics(edge_type, parents[5:6], before_s[5:6]).tobytes() == whole[5:6].tobytes()


def test_windows_are_shares_of_the_time_span_and_at_least_a_second() -> None:
    assert windows_s(86_400, (1 / 4, 1e-9)) == (21_600, 1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 seconds"),
        (119, "119 seconds"),
        (129_600, "36 hours"),
        (86_400 * 78, "78 days"),
        (86_400 * 1153, "1,153 days"),
    ],
)
def test_durations_are_in_the_largest_unit_of_which_there_are_two(seconds: int, words: str) -> None:
    assert duration(seconds) == words
