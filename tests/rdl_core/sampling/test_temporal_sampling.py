"""Temporal trees against brute force: who is visible, what is sampled, how it is laid out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from rdl_core.config import TemporalSamplingConfig
from rdl_core.graph.reg import ALWAYS, EdgeType, RelationalEntityGraph, build_graph, reverse
from rdl_core.graph.store import Store
from rdl_core.random_streams import stream
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.timestamps import NO_TIME
from tests.oracles import Node, Tree, children_before, python_fold, python_uniform, trees_of
from tests.random_graphs import random_graph


def sampled_children(sampler: TemporalSampling, key: EdgeType, row: int, bound: int) -> list[int]:
    """Children that may be sampled, by (time, row): before the bound and, in tables with a time column, within the window."""
    graph, window = sampler.graph, sampler.config.time_window_s
    children = children_before(graph, key, row, bound)
    if window is None or not graph.has_time_col[graph.node_types.index(key[0])]:
        return children
    return [c for c in children if int(graph.table_time(key[0])[c]) >= bound - window]


def tree_in_python(sampler: TemporalSampling, root: Node, bound: int, pick: Callable[..., list[int]]) -> Tree:
    graph = sampler.graph
    tree = Tree({root: 0}, [])
    for hop, wanted in enumerate(sampler.config.num_neighbors):
        for node in [n for n, h in tree.hop.items() if h == hop]:
            for k, key in enumerate(graph.edge_types):
                child, _, parent = key
                if parent == node[0]:
                    for row in pick(k, hop, node, sampled_children(sampler, key, node[1], bound), wanted):
                        tree.hop.setdefault((child, row), hop + 1)
                        tree.edges.append(((child, row), node, key, hop))
                if child == node[0]:
                    up = int(graph.key_parent(key)[node[1]])
                    if up >= 0 and graph.table_time(parent)[up] < bound:
                        tree.hop.setdefault((parent, up), hop + 1)
                        tree.edges.append(((parent, up), node, reverse(key), hop))
    return tree


def latest(k: int, hop: int, node: Node, children: list[int], wanted: int) -> list[int]:
    return children[-wanted:]


def strata(sampler: TemporalSampling, seed_stream: int) -> Callable[..., list[int]]:
    """One child of each of `wanted` strata of time, rotated by the sampler's own number."""

    def pick(k: int, hop: int, node: Node, children: list[int], wanted: int) -> list[int]:
        degree = len(children)
        if degree <= wanted:
            return children
        start = int(python_uniform(python_fold(python_fold(seed_stream, k), hop), node[1]) * degree)
        return [children[(start + i * degree // wanted) % degree] for i in range(wanted)]

    return pick


def assert_equal_trees(found: Tree, expected: Tree) -> None:
    assert found.hop == expected.hop
    assert sorted(found.edges) == sorted(expected.edges)


def questions(graph: RelationalEntityGraph, seed: int, count: int = 6) -> tuple[str, np.ndarray, np.ndarray]:
    """An entity table, rows of it and bounds, some in the very second of a row."""
    rng = np.random.default_rng(seed)
    table = graph.node_types[rng.integers(len(graph.node_types))]
    known = graph.time[(graph.time != NO_TIME) & (graph.time > -(10**15))]
    bounds = rng.choice(known, count) + rng.integers(0, 2, count) if len(known) else np.zeros(count, np.int64)
    return table, rng.integers(0, graph.num_rows(table), count), bounds.astype(np.int64)


@pytest.mark.parametrize("strategy", ["recent", "uniform"])
@pytest.mark.parametrize("window", [None, 1, 6])
def test_trees_of_random_graphs_equal_brute_force(strategy: str, window: int | None) -> None:
    sizes: Counter[int] = Counter()
    for seed in range(150):
        graph = random_graph(seed, max_rows=30)
        neighbors = ((2, 3), (1,), (4, 2, 2))[seed % 3]
        config = TemporalSamplingConfig(num_neighbors=neighbors, strategy=strategy, time_window_s=window)  # type: ignore[arg-type]
        sampler = TemporalSampling(graph, config, seed=seed)
        for epoch in range(2):  # the second time with what the first left behind
            table, entities, bounds = questions(graph, 2 * seed + epoch)
            found = sampler.sample(table, entities, bounds, epoch=epoch)
            trees = trees_of(found, len(entities))
            batch_stream = stream(seed, 3, epoch)
            for s, (entity, bound) in enumerate(zip(entities.tolist(), bounds.tolist(), strict=True)):
                pick = latest if strategy == "recent" else strata(sampler, python_fold(batch_stream, s))
                assert_equal_trees(trees[s], tree_in_python(sampler, (table, entity), bound, pick))
                sizes[min(len(trees[s].hop), 5)] += 1
            assert all((np.diff(edges[1]) >= 0).all() for edges in found.edges.values())  # sorted by row
    assert sizes[5] > 300  # the comparison is not of empty trees


@pytest.mark.parametrize("strategy", ["recent", "uniform"])
def test_trees_of_nasty_hold_only_rows_strictly_before_and_are_complete(nasty_store: Store, strategy: str) -> None:
    graph = nasty_store.graph
    config = TemporalSamplingConfig(num_neighbors=(4, 3), strategy=strategy)  # type: ignore[arg-type]
    sampler = TemporalSampling(graph, config, seed=0)
    times = np.unique(graph.time[(graph.time != NO_TIME) & (graph.time > 0)])
    entities, bounds = (a.ravel() for a in np.meshgrid(np.arange(12), np.concatenate([times, times + 1, times - 1])))
    for s, tree in enumerate(trees_of(sampler.sample("teams", entities, bounds, epoch=0), len(entities))):
        root, bound = ("teams", int(entities[s])), int(bounds[s])
        assert tree.hop[root] == 0
        assert all(graph.table_time(t)[r] < bound for t, r in tree.hop if (t, r) != root)
        degrees = Counter((target, directed) for _, target, directed, _ in tree.edges)
        for node, hop in tree.hop.items():
            for key in graph.edge_types if hop < 2 else ():
                if key[2] == node[0]:
                    visible = len(children_before(graph, key, node[1], bound))
                    assert degrees[node, key] == min(visible, config.num_neighbors[hop])


def test_trees_of_f1_equal_brute_force(f1_store: Store) -> None:
    graph = f1_store.graph
    sampler = TemporalSampling(graph, TemporalSamplingConfig(num_neighbors=(3, 2), strategy="recent"), seed=0)
    entities = np.array([0, 17, 0, 856])
    bounds = np.array(
        [f1_store.schema.cutoff_s, f1_store.schema.cutoff_s, f1_store.test_timestamp_s, f1_store.test_timestamp_s]
    )
    trees = trees_of(sampler.sample("drivers", entities, bounds, epoch=0), 4)
    for s in range(4):
        expected = tree_in_python(sampler, ("drivers", int(entities[s])), int(bounds[s]), latest)
        assert_equal_trees(trees[s], expected)
    assert max(len(tree.hop) for tree in trees) > 10


def test_the_entity_is_there_even_if_nothing_ever_refers_to_it_or_not_yet(nasty_store: Store) -> None:
    graph = nasty_store.graph
    assert graph.table_time("teams")[10] == NO_TIME
    sampler = TemporalSampling(graph, TemporalSamplingConfig(), seed=0)
    found = sampler.sample("teams", np.array([10, 11]), np.full(2, nasty_store.schema.cutoff_s), epoch=0)
    assert found.rows["teams"][found.index["teams"][:2]].tolist() == [10, 11]
    assert found.num_nodes_per_hop["teams"][0] == 2


@pytest.mark.parametrize("strategy", ["uniform", "recent"])
def test_without_hops_trees_are_the_seeds_alone(nasty_store: Store, strategy: str) -> None:
    config = TemporalSamplingConfig(num_neighbors=(), strategy=strategy)  # type: ignore[arg-type]
    sampler = TemporalSampling(nasty_store.graph, config, seed=0)
    found = sampler.sample("teams", np.array([3, 0, 3]), np.full(3, nasty_store.test_timestamp_s), epoch=0)
    assert found.rows["teams"][found.index["teams"]].tolist() == [3, 0, 3]
    assert {table: len(index) for table, index in found.index.items() if len(index)} == {"teams": 3}
    assert all(edges.shape == (2, 0) for edges in found.edges.values())


def test_rows_without_time_never_appear_whatever_the_bound(nasty_store: Store) -> None:
    graph = nasty_store.graph
    sampler = TemporalSampling(graph, TemporalSamplingConfig(num_neighbors=(50, 50, 50)), seed=0)
    found = sampler.sample("teams", np.arange(10), np.full(10, NO_TIME), epoch=0)
    assert sum(len(r) for r in found.rows.values()) > 100
    for table, rows in found.rows.items():
        assert (graph.table_time(table)[rows] != NO_TIME).all()


def test_a_child_dated_before_its_parent_does_not_reveal_the_parent() -> None:
    parents = {("ticket", "match", "match"): np.array([0], np.int32), ("ticket", "fan", "fan"): np.array([0], np.int32)}
    times = {"fan": np.array([1]), "match": np.array([9]), "ticket": np.array([5])}
    graph = build_graph(dict.fromkeys(times, 1), parents, times, dict.fromkeys(times, True))
    sampler = TemporalSampling(graph, TemporalSamplingConfig(num_neighbors=(5, 5)), seed=0)
    sizes = {}
    for bound in (5, 6, 9, 10):
        found = sampler.sample("fan", np.array([0]), np.array([bound]), epoch=0)
        sizes[bound] = (len(found.rows["ticket"]), len(found.rows["match"]))
    assert sizes == {5: (0, 0), 6: (1, 0), 9: (1, 0), 10: (1, 1)}


def test_recent_takes_the_latest_by_time_then_row() -> None:
    times = {"team": np.array([0]), "match": np.array([4, 2, 4, 9, 4, 1])}
    parents = {("match", "team", "team"): np.zeros(6, np.int32)}
    graph = build_graph({"team": 1, "match": 6}, parents, times, {"team": False, "match": True})
    sampler = TemporalSampling(graph, TemporalSamplingConfig(num_neighbors=(2,), strategy="recent"), seed=0)
    rows = {b: sampler.sample("team", np.array([0]), np.array([b]), epoch=0).rows["match"].tolist() for b in (4, 5, 10)}
    assert rows == {4: [5, 1], 5: [2, 4], 10: [4, 3]}


def test_a_window_bounds_dated_children_to_the_second_and_nothing_else() -> None:
    """A fan with tickets (dated) to matches (dated, older) and badges (no time column), at 100 with a window of 10."""
    times = {
        "fan": np.array([1]),
        "ticket": np.array([89, 90, 99, 100, 5, ALWAYS + 2]),
        "match": np.array([3, 3, 3, 3, 3, 3]),
        "badge": np.array([2, ALWAYS]),
    }
    parents = {
        ("ticket", "fan", "fan"): np.zeros(6, np.int32),
        ("ticket", "match", "match"): np.arange(6, dtype=np.int32),
        ("badge", "fan", "fan"): np.zeros(2, np.int32),
    }
    dated = {"fan": False, "ticket": True, "match": True, "badge": False}
    graph = build_graph({t: len(x) for t, x in times.items()}, parents, times, dated)

    def rows(window: int | None, strategy: str = "uniform", bound: int = 100) -> dict[str, list[int]]:
        config = TemporalSamplingConfig(num_neighbors=(9, 9), strategy=strategy, time_window_s=window)  # type: ignore[arg-type]
        found = TemporalSampling(graph, config, seed=0).sample("fan", np.array([0]), np.array([bound]), epoch=0)
        return {t: sorted(r.tolist()) for t, r in found.rows.items()}

    for strategy in ("uniform", "recent"):
        expected = {"fan": [0], "ticket": [1, 2], "match": [1, 2], "badge": [0, 1]}
        assert rows(10, strategy) == expected
        assert rows(11, strategy) == expected | {"ticket": [0, 1, 2], "match": [0, 1, 2]}
        assert rows(9, strategy) == rows(1, strategy) == expected | {"ticket": [2], "match": [2]}
        assert rows(10**6, strategy) == expected | {"ticket": [0, 1, 2, 4], "match": [0, 1, 2, 4]}
        assert rows(None, strategy) == expected | {"ticket": [0, 1, 2, 4, 5], "match": [0, 1, 2, 4, 5]}
    # A window that begins before the smallest int64 does not wrap around and hide what is there.
    assert rows(10, bound=ALWAYS + 5) == {"fan": [0], "ticket": [5], "match": [], "badge": [1]}


@pytest.mark.parametrize("strategy", ["uniform", "recent"])
def test_an_empty_batch_is_fine(nasty_store: Store, strategy: str) -> None:
    sampler = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(strategy=strategy), seed=0)  # type: ignore[arg-type]
    nothing = np.empty(0, np.int64)
    found = sampler.sample("teams", nothing, nothing, epoch=0)
    assert found.num_seeds == 0
    assert all(len(x) == 0 for x in (*found.rows.values(), *found.index.values(), *found.seed.values()))
    assert all(edges.shape == (2, 0) for edges in found.edges.values())


@pytest.mark.parametrize("entities", [[-1, 0], [0, 12]])
def test_entities_that_are_no_rows_are_refused(nasty_store: Store, entities: list[int]) -> None:
    assert nasty_store.graph.num_rows("teams") == 12
    sampler = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(), seed=0)
    with pytest.raises(ValueError, match=r"rows 0 to 11 of 'teams', got -?\d+ to \d+"):
        sampler.sample("teams", np.array(entities), np.zeros(2, np.int64), epoch=0)


@pytest.mark.parametrize("lengths", [(2, 3, 2), (3, 2, 2), (2, 2, 3)])
def test_seeds_of_different_lengths_are_refused(nasty_store: Store, lengths: tuple[int, int, int]) -> None:
    sampler = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(), seed=0)
    entities, bounds, numbers = (np.zeros(n, np.int64) for n in lengths)
    with pytest.raises(ValueError, match="one length"):
        sampler.sample("teams", entities, bounds, epoch=0, numbers=numbers)


def test_nodes_and_edges_are_ordered_by_hop_and_reach_only_one_hop_further(nasty_store: Store) -> None:
    """What trimming to a layer needs: edges of hop h end at nodes of hop h and start at nodes of hop at most h + 1."""
    sampler = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(num_neighbors=(3, 2, 2)), seed=0)
    found = sampler.sample("teams", np.arange(12), np.full(12, nasty_store.test_timestamp_s), epoch=0)
    assert found.num_nodes_per_hop["teams"][0] == found.num_seeds == 12
    assert found.seed["teams"][:12].tolist() == list(range(12))
    hops = {t: np.repeat(np.arange(4), counts) for t, counts in found.num_nodes_per_hop.items()}
    for directed, edges in found.edges.items():
        edge_hop = np.repeat(np.arange(3), found.num_edges_per_hop[directed])
        assert (hops[directed[2]][edges[1]] == edge_hop).all()
        assert (hops[directed[0]][edges[0]] <= edge_hop + 1).all()
    for table, per_hop in found.num_nodes_per_hop.items():
        for hop_seeds in np.split(found.seed[table], np.cumsum(per_hop)[:-1]):
            assert (np.diff(hop_seeds) >= 0).all()


def test_index_names_each_distinct_row_once(nasty_store: Store) -> None:
    sampler = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(num_neighbors=(6, 6)), seed=0)
    found = sampler.sample("teams", np.arange(10), np.full(10, nasty_store.test_timestamp_s), epoch=0)
    assert sum(len(i) for i in found.index.values()) > sum(len(r) for r in found.rows.values())
    for table, rows in found.rows.items():
        assert len(np.unique(rows)) == len(rows)
        assert set(found.index[table].tolist()) == set(range(len(rows)))


@pytest.mark.parametrize(
    "config",
    [
        {"num_neighbors": (0,)},
        {"num_neighbors": (4, 0)},
        {"strategy": "latest"},
        {"time_window_s": 0},
        {"time_window_s": -5},
    ],
)
def test_settings_out_of_range_are_refused_by_name(config: dict) -> None:
    with pytest.raises(ValueError, match=f"TemporalSamplingConfig.{next(iter(config))}"):
        TemporalSamplingConfig(**config)
