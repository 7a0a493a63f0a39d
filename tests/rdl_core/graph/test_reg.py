"""Existence times against slow loops, children by time, and the flat arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from rdl_core.graph.existence import existence_rules, existence_times
from rdl_core.graph.reg import ALWAYS, build_graph
from rdl_core.timestamps import NO_TIME
from tests.random_graphs import Parents, Times, random_database


def slow_existence_times(num_rows: Mapping[str, int], parents: Parents, own: Times) -> dict[str, list[int]]:
    """The rule of `existence_times`, row by row in Python integers.

    Lines: tables that reach a dated table by following keys upwards. Entities: those that dated tables or lines (or
    such entities) refer to.
    """
    lines: set[str] = set()
    for _ in num_rows:
        lines |= {child for child, _, up in parents if child not in own and (up in own or up in lines)}
    entities: set[str] = set()
    for _ in num_rows:
        known = {*own, *lines, *entities}
        entities |= {up for child, _, up in parents if child in known and up not in own and up not in lines}
    time: dict[tuple[str, int], int] = {(t, r): int(x) for t, rows in own.items() for r, x in enumerate(rows)}

    def above(table: str, row: int) -> list[tuple[str, int]]:
        keys = [(up, int(p[row])) for (child, _, up), p in parents.items() if child == table]
        return [(up, r) for up, r in keys if r >= 0 and (up in own or up in lines)]

    def ancestors(node: tuple[str, int]) -> set[tuple[str, int]]:
        """Rows reachable upwards; own times are not looked behind."""
        found, stack = set(), above(*node)
        while stack:
            at = stack.pop()
            if at not in found:
                found.add(at)
                stack += above(*at) if at[0] in lines else []
        return found

    line_rows = [(t, r) for t in sorted(lines) for r in range(num_rows[t])]
    unknown = set()
    for node in line_rows:
        own_times = [time[a] for a in ancestors(node) if a[0] in own]
        time[node] = max(own_times, default=NO_TIME)
        if not own_times:
            unknown.add(node)

    def first_reference(node: tuple[str, int], sources: set[str]) -> int:
        below = [
            (c, r)
            for (c, _, up), p in parents.items()
            if up == node[0] and c in sources
            for r in np.flatnonzero(p == node[1])
        ]
        return min((time[c, int(r)] for c, r in below), default=NO_TIME)

    dated = {*own, *lines}
    for _ in range(len(line_rows) + 1):
        for node in line_rows:
            if node in unknown:
                time[node] = min(time[node], first_reference(node, dated))
    entity_rows = [(t, r) for t in sorted(entities) for r in range(num_rows[t])]
    time |= dict.fromkeys(entity_rows, NO_TIME)
    for _ in range(len(entity_rows) + 1):
        for node in entity_rows:
            time[node] = min(time[node], first_reference(node, dated | entities))
    time |= satellite_times(num_rows, parents, time, dated | entities)
    return {t: [time.get((t, r), int(ALWAYS)) for r in range(n)] for t, n in num_rows.items()}


def satellite_times(
    num_rows: Mapping[str, int], parents: Parents, time: Mapping[tuple[str, int], int], known: set[str]
) -> dict[tuple[str, int], int]:
    """Tables left that reach a known one by following keys upwards: each row from the latest of its ancestors."""
    tables: set[str] = set()
    for _ in num_rows:
        tables |= {child for child, _, up in parents if child not in known and (up in known or up in tables)}

    def ancestors(node: tuple[str, int], seen: set[tuple[str, int]]) -> set[tuple[str, int]]:
        for (child, _, up), parent in parents.items():
            above = (up, int(parent[node[1]])) if child == node[0] else None
            if above is not None and above[1] >= 0 and (up in known or up in tables) and above not in seen:
                seen.add(above)
                if up in tables:
                    ancestors(above, seen)
        return seen

    rows = [(t, r) for t in tables for r in range(num_rows[t])]
    return {n: max((time[a] for a in ancestors(n, set()) if a[0] in known), default=NO_TIME) for n in rows}


def test_a_membership_is_not_there_before_the_club_it_leads_to() -> None:
    """member -> person (first seen on day 1) and -> club (first seen on day 9), none of them dated."""
    zero = np.zeros(1, np.int32)
    parents: Parents = {
        ("member", "person", "person"): zero,
        ("member", "club", "club"): zero,
        ("visit", "person", "person"): zero,
        ("match", "club", "club"): zero,
    }
    own = {"visit": np.array([1]), "match": np.array([9])}
    num_rows = dict.fromkeys(("member", "person", "club", "visit", "match"), 1)
    assert existence_times(num_rows, parents, own)["member"].tolist() == [9]


def test_existence_times_equal_the_slow_loop_on_random_databases() -> None:
    for seed in range(400):
        num_rows, parents, own = random_database(seed)
        fast = existence_times(num_rows, parents, own)
        assert {t: x.tolist() for t, x in fast.items()} == slow_existence_times(num_rows, parents, own), seed


def test_existence_times_do_not_depend_on_the_order_of_tables_and_keys() -> None:
    for seed in range(200):
        num_rows, parents, own = random_database(seed)
        rng = np.random.default_rng(seed)
        keys, tables = list(parents), list(num_rows)
        other = existence_times(
            {tables[i]: num_rows[tables[i]] for i in rng.permutation(len(tables))},
            {keys[i]: parents[keys[i]] for i in rng.permutation(len(keys))},
            own,
        )
        first = existence_times(num_rows, parents, own)
        assert all(np.array_equal(first[t], other[t]) for t in tables), seed


def test_a_line_is_not_older_than_a_line_that_it_refers_to() -> None:
    """payment_line -> invoice (day 1) and -> order_line -> order (day 9), the nearer dated key listed first."""
    zero = np.zeros(1, np.int32)
    parents: Parents = {
        ("payment_line", "invoice", "invoice"): zero,
        ("payment_line", "order_line", "order_line"): zero,
        ("order_line", "order", "order"): zero,
    }
    own = {"invoice": np.array([1]), "order": np.array([9])}
    num_rows = dict.fromkeys(("payment_line", "invoice", "order_line", "order"), 1)
    assert existence_times(num_rows, parents, own)["payment_line"].tolist() == [9]


def test_a_reply_is_not_older_than_the_reply_it_answers() -> None:
    """A self reference of a table dated by its parents: reply 1 is on an old post but answers a reply on a new one."""
    parents: Parents = {
        ("reply", "post", "post"): np.array([1, 0], np.int32),
        ("reply", "answers", "reply"): np.array([-1, 0], np.int32),
    }
    times = existence_times({"reply": 2, "post": 2}, parents, {"post": np.array([3, 8])})
    assert times["reply"].tolist() == [8, 8]


def test_a_line_is_there_from_its_parent_on_whether_something_refers_to_it_later_or_never() -> None:
    """Hidden until its first return, an order line that is there would tell that it will never be returned."""
    parents: Parents = {
        ("line", "order", "order"): np.array([0, 0, -1, -1, 1], np.int32),
        ("return", "line", "line"): np.array([1, 2, 2, 4], np.int32),
    }
    own = {"order": np.array([3, NO_TIME]), "return": np.array([9, 8, 7, 5])}
    times = existence_times({"order": 2, "line": 5, "return": 4}, parents, own)
    assert times["line"].tolist() == [3, 3, 7, NO_TIME, NO_TIME]


def test_existence_up_to_a_time_does_not_depend_on_any_dated_row_after_it() -> None:
    """Causality: without the dated rows after t, the rows that exist by t are the same, from the same times."""
    for seed in range(300):
        num_rows, parents, own = random_database(seed)
        t = 5
        past = {table: np.where(x > t, NO_TIME, x) for table, x in own.items()}
        cut = {
            key: np.where(own[key[0]] > t, -1, p).astype(np.int32) if key[0] in own else p for key, p in parents.items()
        }
        whole, known = existence_times(num_rows, parents, own), existence_times(num_rows, cut, past)
        for table in num_rows:
            visible = whole[table] <= t
            assert np.array_equal(visible, known[table] <= t), (seed, table)
            assert np.array_equal(whole[table][visible], known[table][visible]), (seed, table)


def test_an_entity_exists_from_its_first_reference_along_a_chain_or_never() -> None:
    parents: Parents = {
        ("sale", "product", "product"): np.array([0, 0, 1, -1], np.int32),
        ("product", "category", "category"): np.array([1, 0, 1], np.int32),
        ("category", "above", "category"): np.array([-1, 2, -1, -1], np.int32),
    }
    own = {"sale": np.array([7, 5, NO_TIME, 1])}
    times = existence_times({"sale": 4, "product": 3, "category": 4}, parents, own)
    assert times["product"].tolist() == [5, NO_TIME, NO_TIME]
    assert times["category"].tolist() == [NO_TIME, 5, 5, NO_TIME]


def test_always_gives_every_row_without_time_the_smallest_time_and_keeps_the_dated() -> None:
    for seed in range(50):
        num_rows, parents, own = random_database(seed)
        times = existence_times(num_rows, parents, own, timeless="always")
        for table, rows in num_rows.items():
            expected = own[table] if table in own else np.full(rows, ALWAYS)
            assert np.array_equal(times[table], expected)


def test_an_unknown_rule_for_rows_without_time_is_refused() -> None:
    with pytest.raises(ValueError, match="first_reference.*first-reference"):
        existence_times({"t": 1}, {}, {}, timeless="first-reference")


def test_children_are_complete_and_sorted_by_time_then_row() -> None:
    for seed in range(100):
        num_rows, parents, own = random_database(seed, max_rows=25)
        times = existence_times(num_rows, parents, own)
        graph = build_graph(num_rows, parents, times, {t: t in own for t in num_rows}, cutoff_s=5)
        for k, (child, column, up) in enumerate(graph.edge_types):
            key = parents[child, column, up]
            assert np.array_equal(graph.key_parent((child, column, up)), key)
            start = int(graph.indptr_offset[k])
            assert graph.indptr_offset[k + 1] - start == num_rows[up] + 1
            for row in range(num_rows[up]):
                low, high = graph.children_indptr[start + row : start + row + 2]
                assert graph.children_offset[k] <= low <= high <= graph.children_offset[k + 1]
                mine = sorted((int(times[child][c]), int(c)) for c in np.flatnonzero(key == row))
                assert graph.children_end[start + row] - low == sum(t <= 5 for t, _ in mine)
                assert graph.children[low:high].tolist() == [c for _, c in mine]
            assert graph.children_offset[k + 1] - graph.children_offset[k] == (key >= 0).sum()


def test_the_graph_names_rows_and_times_per_table() -> None:
    num_rows, parents, own = random_database(3)
    times = existence_times(num_rows, parents, own)
    graph = build_graph(num_rows, parents, times, {t: t in own for t in num_rows})
    assert graph.num_nodes == sum(num_rows.values())
    for number, table in enumerate(num_rows):
        assert graph.num_rows(table) == num_rows[table]
        assert np.array_equal(graph.table_time(table), times[table])
        assert graph.has_time_col[number] == (table in own)
    assert [graph.node_types[t] for t in graph.child_type] == [e[0] for e in graph.edge_types]
    assert [graph.node_types[t] for t in graph.parent_type] == [e[2] for e in graph.edge_types]
    assert graph.parent.dtype == graph.children.dtype == np.int32
    of_no_expiry = {"expiry"}  # kept only where a row has an end
    assert set(graph.arrays()) == set(vars(graph)) - {"node_types", "edge_types", "cutoff_s"} - of_no_expiry


def test_just_after_the_last_row_every_row_with_a_time_is_seen_and_no_unknown_time_counts() -> None:
    times = {"a": np.array([4, NO_TIME, 9]), "b": np.array([ALWAYS])}
    graph = build_graph({"a": 3, "b": 1}, {}, times, {"a": True, "b": False}, cutoff_s=5)
    assert graph.after_last_row_s == 10
    assert build_graph({"b": 1}, {}, {"b": times["b"]}, {"b": False}, cutoff_s=5).after_last_row_s == 6


def test_a_database_without_any_foreign_key_is_a_graph_without_edges() -> None:
    graph = build_graph({"a": 2}, {}, {"a": np.array([4, NO_TIME])}, {"a": True})
    assert (graph.num_nodes, len(graph.parent), len(graph.children)) == (2, 0, 0)
    assert graph.parent_offset.tolist() == graph.indptr_offset.tolist() == [0]


def test_the_rules_shown_to_people_are_those_that_date_the_rows() -> None:
    """A table is named "always there" exactly if all its rows are, and by its parents if it is a line or a satellite."""
    for seed in range(200):
        num_rows, parents, own = random_database(seed)
        times, rules = (
            existence_times(num_rows, parents, own),
            existence_rules(list(num_rows), list(parents), list(own)),
        )
        for table, rule in rules.items():
            assert (rule == "always there") == bool((times[table] == ALWAYS).all() and table not in own), (seed, table)
            assert (rule == "its time column") == (table in own)
