"""The latest children before a time are those of a loop over the key."""

from __future__ import annotations

import numpy as np

from rdl_core.graph.store import Store
from rdl_core.statistics.latest_children import latest_children
from tests.oracles import children_before


def test_they_are_those_of_a_loop_for_every_key_row_and_time_of_the_nasty_database(nasty_store: Store) -> None:
    graph, longest = nasty_store.graph, 0
    for key in graph.edge_types:
        times = np.unique(graph.table_time(key[0]))
        for bound in (*times[::3].tolist(), int(times[0]) + 1, int(times[-1])):
            parents = np.arange(graph.num_rows(key[2]))
            found = latest_children(graph, key, parents, np.full(len(parents), bound), 3)
            expected = [children_before(graph, key, row, bound)[::-1][:3] for row in parents]
            assert found.tolist() == [rows + [-1] * (3 - len(rows)) for rows in expected]
            longest = max(longest, *map(len, expected))
    assert longest == 3


def test_a_row_without_children_and_no_rows_at_all_have_none(nasty_store: Store) -> None:
    graph, key = nasty_store.graph, ("order", "team_id", "teams")
    assert latest_children(graph, key, np.array([10]), np.array([2**62]), 2).tolist() == [[-1, -1]]
    assert latest_children(graph, key, np.empty(0, np.int64), np.empty(0, np.int64), 2).shape == (0, 2)
