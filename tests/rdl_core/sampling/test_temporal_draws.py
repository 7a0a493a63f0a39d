"""The law of temporal draws: how likely, independent of what, a function of what alone, whichever thread asks."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.stats

from rdl_core.config import TemporalSamplingConfig
from rdl_core.graph.reg import build_graph
from rdl_core.graph.store import Store
from rdl_core.sampling.temporal_kernels import grow_trees
from rdl_core.sampling.temporal_layout import collect_edges, collect_nodes
from rdl_core.sampling.temporal_sampling import TemporalSampling, TemporalSubgraph
from tests.oracles import Tree, trees_of


@pytest.mark.parametrize("wanted", [1, 4, 10])
@pytest.mark.parametrize("window", [None, 7])
def test_uniform_draws_every_visible_child_as_often(wanted: int, window: int | None) -> None:
    """As many sets of children as there are, all as likely (chi-square), and each child in `wanted` of them."""
    times = {"team": np.array([0]), "match": np.arange(20)}
    parents = {("match", "team", "team"): np.zeros(20, np.int32)}
    graph = build_graph({"team": 1, "match": 20}, parents, times, {"team": False, "match": True})
    config = TemporalSamplingConfig(num_neighbors=(min(wanted, 6) if window else wanted,), time_window_s=window)
    trials, visible = 20_000, range(4, 11) if window else range(11)
    found = TemporalSampling(graph, config, seed=0).sample(
        "team", np.zeros(trials, np.int64), np.full(trials, 11), epoch=0
    )
    rows = found.rows["match"][found.index["match"]].reshape(trials, -1)
    assert (found.seed["match"].reshape(rows.shape) == np.arange(trials)[:, None]).all()
    sets = Counter(map(tuple, np.sort(rows, axis=1).tolist()))
    assert len(sets) == len(visible)
    assert scipy.stats.chisquare(list(sets.values())).pvalue > 1e-3
    members = Counter(itertools.chain(*sets))
    assert members == dict.fromkeys(visible, config.num_neighbors[0])


@pytest.mark.parametrize("other", ["hop", "key", "number", "epoch", "row"])
def test_draws_of_other_hops_keys_numbers_epochs_and_rows_are_independent(other: str) -> None:
    """Teams 0 and 1 of a league have 8 home matches each (0-7, 8-15) and 8 away matches (16-23, 24-31); one is drawn of each."""
    times = {"league": np.array([0]), "team": np.array([1, 1]), "match": np.tile(np.arange(2, 10), 4)}
    home = np.repeat([0, 1, -1, -1], 8).astype(np.int32)
    parents = {
        ("team", "league", "league"): np.zeros(2, np.int32),
        ("match", "home", "team"): home,
        ("match", "away", "team"): np.roll(home, 16),
    }
    graph = build_graph({t: len(x) for t, x in times.items()}, parents, times, dict.fromkeys(times, True))
    numbers = np.arange(20_000)

    def drawn(table: str, first: int, *, row: int = 0, epoch: int = 0, number: int = 0) -> np.ndarray:
        """Per tree of this root, which match was drawn of the 8 from `first` on: int [trees]."""
        config = TemporalSamplingConfig(num_neighbors=(1,) if table == "team" else (2, 1))
        found = TemporalSampling(graph, config, seed=0).sample(
            table, np.full(len(numbers), row), np.full(len(numbers), 99), epoch=epoch, numbers=numbers + number
        )
        matches = found.rows["match"][found.index["match"]]
        mine = matches // 8 == first // 8
        assert (found.seed["match"][mine] == np.arange(len(numbers))).all()
        return matches[mine] % 8

    second = {
        "hop": lambda: drawn("league", 0),
        "key": lambda: drawn("team", 16),
        "number": lambda: drawn("team", 0, number=1),
        "epoch": lambda: drawn("team", 0, epoch=1),
        "row": lambda: drawn("team", 8, row=1),
    }[other]()
    together = np.zeros((8, 8), int)
    np.add.at(together, (drawn("team", 0), second), 1)
    assert scipy.stats.chi2_contingency(together).pvalue > 1e-3


def test_a_pinned_sequence(nasty_store: Store) -> None:
    """Draws and layout are part of the format: results of two releases can be compared."""
    sampler = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(num_neighbors=(3, 2, 2)), seed=5)
    found = sampler.sample("teams", np.arange(10), np.full(10, nasty_store.test_timestamp_s), epoch=2)
    digest = hashlib.sha256()
    for table in nasty_store.graph.node_types:
        digest.update(found.rows[table][found.index[table]].tobytes() + found.seed[table].tobytes())
    for edges in found.edges.values():
        digest.update(np.ascontiguousarray(edges).tobytes())
    assert digest.hexdigest()[:16] == "26071ddeb8473c44"


def test_threads_that_share_a_sampler_get_the_trees_of_one() -> None:
    """Each call under way has scratch of its own."""
    rng = np.random.default_rng(0)
    times = {"team": np.zeros(50, np.int64), "match": rng.integers(0, 1000, 20_000)}
    parents = {
        ("match", key, "team"): rng.integers(0, 50, 20_000).astype(np.int32) for key in ("home", "away", "champion")
    }
    graph = build_graph({"team": 50, "match": 20_000}, parents, times, {"team": False, "match": True})
    sampler = TemporalSampling(graph, TemporalSamplingConfig(num_neighbors=(30, 10, 3)), seed=0)
    entities, bounds = rng.integers(0, 50, 100), rng.integers(500, 1000, 100)
    expected = [sampler.sample("team", entities, bounds, epoch=e) for e in range(8)]
    barrier = threading.Barrier(2)

    def work(first: int) -> list[TemporalSubgraph]:
        barrier.wait()
        return [sampler.sample("team", entities, bounds, epoch=e) for e in range(first, 8, 2)]

    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            halves = list(pool.map(work, range(2)))
            for e in range(8):
                for name, value in vars(expected[e]).items():
                    np.testing.assert_equal(vars(halves[e % 2][e // 2])[name], value)


def test_the_kernels_release_the_gil() -> None:
    for kernel in (grow_trees, collect_nodes, collect_edges):
        assert kernel.targetoptions["nogil"]


def test_trees_are_a_function_of_seed_epoch_and_number(nasty_store: Store) -> None:
    config = TemporalSamplingConfig(num_neighbors=(2, 2))
    entities, bounds = np.arange(10), np.full(10, nasty_store.test_timestamp_s)

    def trees(seed: int, epoch: int, first: int, sampler: TemporalSampling | None = None) -> list[Tree]:
        sampler = sampler or TemporalSampling(nasty_store.graph, config, seed=seed)
        return trees_of(
            sampler.sample("teams", entities, bounds, epoch=epoch, numbers=np.arange(first, first + 10)), 10
        )

    used = TemporalSampling(nasty_store.graph, config, seed=0)
    first = trees(0, 0, 0, used)
    trees(0, 7, 7, used)
    assert first == trees(0, 0, 0, used) == trees(0, 0, 0)
    assert all(first != other for other in (trees(1, 0, 0), trees(0, 1, 0), trees(0, 0, 1)))
    shorter = used.sample("teams", entities[:3], bounds[:3], epoch=0)
    assert trees_of(shorter, 3) == first[:3]  # a tree does not depend on the others of its batch
    last = used.sample("teams", entities[7:], bounds[7:], epoch=0, numbers=np.arange(7, 10))
    assert trees_of(last, 3) == first[7:]  # nor on its place


def test_the_same_question_twice_in_a_batch_gives_two_trees(nasty_store: Store) -> None:
    sampler = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(strategy="recent"), seed=0)
    found = sampler.sample("teams", np.array([3, 3]), np.full(2, nasty_store.test_timestamp_s), epoch=0)
    first, second = trees_of(found, 2)
    assert first == second
    assert len(first.hop) > 5
