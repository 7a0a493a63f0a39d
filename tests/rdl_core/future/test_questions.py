"""Questions of the future level, on small random graphs: where they may lie, how likely each row is, and what they must not see."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from rdl_core.future import Questions, QuestionSource
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph, build_graph
from rdl_core.timestamps import NO_TIME

CUTOFF, WINDOWS = 1000, (30, 120)
KEYS: tuple[EdgeType, ...] = (("sale", "shop_id", "shop"), ("visit", "shop_id", "shop"))
NUM_SHOPS = 12


def random_graph(seed: int = 0, *, late: int = 0) -> RelationalEntityGraph:
    """Shops with sales and visits, some null, undated or after the cutoff; `late` moves all that lies after the cutoff to other times and shops."""
    random = np.random.default_rng(seed)
    parents: dict[EdgeType, NDArray[np.int32]] = {}
    times = {"shop": random.integers(0, 700, NUM_SHOPS)}
    times["shop"][3] = NO_TIME
    for key, rows in zip(KEYS, (150, 60), strict=True):
        owner = random.integers(-1, NUM_SHOPS - 1, rows).astype(np.int32)  # the last shop has no child
        time = random.integers(0, 1400, rows)
        time[5] = NO_TIME
        moved = (time > CUTOFF) & (time < NO_TIME) & (late > 0)
        time[moved] += late
        owner[moved] = 2
        parents[key], times[key[0]] = owner, time
    sizes = {table: len(time) for table, time in times.items()}
    return build_graph(sizes, parents, times, dict.fromkeys(sizes, True), cutoff_s=CUTOFF)


def source(graph: RelationalEntityGraph) -> QuestionSource:
    return QuestionSource(graph, KEYS, WINDOWS)


def questions(graph: RelationalEntityGraph, number: int = 2000) -> Questions:
    return source(graph).draw((0, 1, 2), number, ["shop"])


def children(graph: RelationalEntityGraph, key: EdgeType, row: int) -> list[int]:
    """Times of a shop's children."""
    owners, times = graph.key_parent(key), graph.table_time(key[0])
    return [int(times[i]) for i in range(len(owners)) if owners[i] == row]


def test_a_row_and_a_child_exist_before_the_time_and_the_smallest_window_closes_by_the_cutoff() -> None:
    graph = random_graph()
    asked = questions(graph)
    for row, time in zip(asked.rows.tolist(), asked.time_s.tolist(), strict=True):
        assert graph.table_time("shop")[row] < time
        assert min(t for key in KEYS for t in children(graph, key, row)) < time
        assert time + WINDOWS[0] <= CUTOFF


def test_times_reach_from_just_after_the_first_event_to_the_last_moment() -> None:
    asked = questions(random_graph(), 20_000)
    assert asked.time_s.max() >= CUTOFF - WINDOWS[0] - 3
    assert asked.time_s.min() < 100


def test_half_of_the_questions_are_as_likely_as_a_rows_events() -> None:
    graph, number = random_graph(), 40_000
    asked = questions(graph, number)
    expected = dict.fromkeys(range(NUM_SHOPS), 0.0)
    last = CUTOFF - WINDOWS[0] - 1
    for key in KEYS:
        events = {r: sum(t <= last for t in children(graph, key, r)) for r in range(NUM_SHOPS)}
        events = {r: n if graph.table_time("shop")[r] <= last else 0 for r, n in events.items()}
        for row, n in events.items():
            expected[row] += n / sum(events.values()) / len(KEYS)
    drawn = Counter(asked.rows[: number // 2].tolist())
    for row, share in expected.items():
        assert drawn[row] / (number // 2) == pytest.approx(share, abs=0.01)
    assert expected[3] == expected[NUM_SHOPS - 1] == 0 < min(v for r, v in expected.items() if r not in (3, 11))


def test_the_other_half_is_even_over_the_rows_that_have_had_a_child() -> None:
    graph, number = random_graph(), 40_000
    asked = questions(graph, number)
    late = asked.time_s[number // 2 :] > 800  # by then all that ever have a child have had one
    rows = Counter(asked.rows[number // 2 :][late].tolist())
    assert len(rows) == NUM_SHOPS - 2
    assert max(rows.values()) / min(rows.values()) < 1.2


def test_a_draw_is_a_function_of_seed_epoch_and_sample() -> None:
    graph = random_graph()
    asked = source(graph).draw((0, 1, 2), 50, ["shop"])
    again = source(graph)
    again.draw((5, 5, 5), 10, ["shop"])
    same = again.draw((0, 1, 2), 50, ["shop"])
    assert np.array_equal(asked.rows, same.rows) and np.array_equal(asked.time_s, same.time_s)
    for stream in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not np.array_equal(again.draw(stream, 50, ["shop"]).time_s, asked.time_s)


def test_what_happens_after_the_cutoff_changes_no_question() -> None:
    asked, other = (questions(random_graph(late=late)) for late in (0, 77))
    assert np.array_equal(asked.rows, other.rows)
    assert np.array_equal(asked.time_s, other.time_s)


def test_tables_without_an_event_before_the_last_window_are_not_asked_about() -> None:
    graph = random_graph()
    assert source(graph).tables == ("shop",)
    assert QuestionSource(graph, KEYS, (CUTOFF + 1,)).tables == ()
