"""HGSampling: the whole algorithm in plain Python, the law of the draws, and what every sample must hold."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.stats

from rdl_core.config import HGSamplingConfig
from rdl_core.graph.reg import ALWAYS, EdgeType, RelationalEntityGraph, build_graph
from rdl_core.graph.store import Store
from rdl_core.random_streams import stream
from rdl_core.sampling import hg_sampling
from rdl_core.sampling.hg_kernels import ENTRIES, SEGMENTS, draw
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.hg_seeds import default_seed_table
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.timestamps import NO_TIME
from tests.bits import same_subgraphs
from tests.oracles import children_before, python_fold, python_uniform
from tests.random_graphs import random_graph

Rows = dict[str, list[int]]


def grow_in_python(sampler: HGSampling, seeds: list[int], cursor: tuple[int, int]) -> Rows:
    """Algorithms 1 and 2 of Hu et al. 2020 with the sampler's own numbers; floats are added in the same order."""
    graph, config, bound = sampler.graph, sampler.config, sampler.before_s
    tables = graph.node_types
    run = stream(sampler.seed, 2, *cursor)
    sampled: Rows = {t: [] for t in tables}
    for node in dict.fromkeys(seeds):
        t = max(t for t in range(len(tables)) if graph.row_offset[t] <= node)
        sampled[tables[t]].append(int(node - graph.row_offset[t]))
    if config.time_bound == "seeds":
        bound = int(graph.time[seeds].max())
    first_new = dict.fromkeys(tables, 0)
    budget: dict[str, dict[int, float]] = {t: {} for t in tables}
    for hop in range(config.num_hops):
        parent_bound = bound + 1 if hop == 0 and config.time_bound == "seeds" else bound
        hop_stream = python_fold(run, hop)
        for k, key in enumerate(graph.edge_types):
            child, _, parent = key
            for row in sampled[child][first_new[child] :]:
                up = int(graph.key_parent(key)[row])
                if up >= 0 and graph.table_time(parent)[up] < parent_bound and up not in sampled[parent]:
                    budget[parent][up] = budget[parent].get(up, 0.0) + 1.0
            for row in sampled[parent][first_new[parent] :]:
                found = children_before(graph, key, row, bound)
                if len(found) > config.max_children:
                    start = int(python_uniform(python_fold(hop_stream, k), row) * len(found))
                    width = 32 if config.max_children % 32 == 0 else 1
                    stride = len(found) // (config.max_children // width)
                    runs = range(config.max_children // width)
                    found = [found[(start + j * stride + i) % len(found)] for j in runs for i in range(width)]
                for other in found:
                    if other not in sampled[child]:
                        budget[child][other] = budget[child].get(other, 0.0) + 1.0 / len(found)
        first_new = {t: len(rows) for t, rows in sampled.items()}
        for number, table in enumerate(tables):
            key_stream = python_fold(hop_stream, 1_000_000 + number)
            keys = [(-math.log(python_uniform(key_stream, r)) / (b * b), r) for r, b in budget[table].items()]
            chosen = sorted(r for _, r in sorted(keys)[: config.rows_per_hop])
            sampled[table] += chosen
            for row in chosen:
                del budget[table][row]
    return sampled


def links_in_python(graph: RelationalEntityGraph, rows: Rows) -> dict[EdgeType, set[tuple[int, int]]]:
    return {
        key: {(c, int(p)) for c in rows[key[0]] if (p := graph.key_parent(key)[c]) in set(rows[key[2]])}
        for key in graph.edge_types
    }


def check_sample(sampler: HGSampling, sample: Subgraph, seeds: np.ndarray) -> None:
    graph, config = sampler.graph, sampler.config
    rows = {t: r.tolist() for t, r in sample.rows.items()}
    offset = dict(zip(graph.node_types, graph.row_offset.tolist(), strict=False))
    assert rows[sampler.seeds.table][: len(seeds)] == (seeds - offset[sampler.seeds.table]).tolist()
    for table, mine in rows.items():
        assert len(set(mine)) == len(mine)
        assert (graph.table_time(table)[mine] < sampler.before_s).all()
        own = len(seeds) if table == sampler.seeds.table else 0
        assert len(mine) <= own + config.rows_per_hop * config.num_hops
    join = links_in_python(graph, rows)
    for key, links in sample.links.items():
        found = [(rows[key[0]][c], rows[key[2]][p]) for c, p in links.T]
        assert len(found) == len(set(found))
        assert set(found) == join[key]
        assert sample.num_links[key] == len(found)
    assert sample.num_rows == {t: len(r) for t, r in rows.items()}


def nasty_sampler(store: Store, seed: int = 0, **config: object) -> HGSampling:
    options = {"seed_table": "match", "seeds_per_sample": 4, "rows_per_hop": 5, "num_hops": 3, **config}
    return HGSampling(store.graph, HGSamplingConfig(**options), seed=seed, before_s=store.schema.cutoff_s + 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("max_children", [256, 3, 32])
def test_samples_of_nasty_equal_the_algorithm_in_python(nasty_store: Store, max_children: int) -> None:
    for seed, table in itertools.product(range(4), ["match", "order", "order_line", "teams"]):
        sampler = nasty_sampler(nasty_store, seed, seed_table=table, max_children=max_children, rows_per_hop=3)
        for k, sample in enumerate(sampler.sample(1, range(sampler.samples_per_epoch))):
            expected = grow_in_python(sampler, sampler.seeds.nodes(1, k).tolist(), (1, k))
            assert {t: r.tolist() for t, r in sample.rows.items()} == expected


def test_samples_of_random_graphs_equal_the_algorithm_in_python() -> None:
    compared = 0
    for seed in range(120):
        graph = random_graph(seed, max_rows=30)
        bound = int(np.random.default_rng(seed).integers(0, 15))
        for table in graph.node_types:
            if (graph.table_time(table) < bound).sum() < 2:
                continue
            config = HGSamplingConfig(
                seed_table=table, seeds_per_sample=2, rows_per_hop=1 + seed % 4, max_children=2 + seed % 5
            )
            sampler = HGSampling(graph, config, seed=seed, before_s=bound)
            sample = sampler.sample(0, [0])[0]
            expected = grow_in_python(sampler, sampler.seeds.nodes(0, 0).tolist(), (0, 0))
            assert {t: r.tolist() for t, r in sample.rows.items()} == expected, (seed, table)
            check_sample(sampler, sample, sampler.seeds.nodes(0, 0))
            compared += 1
    assert compared > 200


def test_nasty_samples_hold_what_every_sample_must_hold(nasty_store: Store) -> None:
    for bound in (nasty_store.schema.cutoff_s + 1, nasty_store.schema.cutoff_s, NO_TIME):
        config = HGSamplingConfig(seed_table="match", seeds_per_sample=5, rows_per_hop=4)
        sampler = HGSampling(nasty_store.graph, config, seed=1, before_s=bound)
        for k, sample in enumerate(sampler.sample(0, range(sampler.samples_per_epoch))):
            check_sample(sampler, sample, sampler.seeds.nodes(0, k))


def test_f1_samples_hold_what_every_sample_must_hold(f1_store: Store) -> None:
    sampler = HGSampling(f1_store.graph, HGSamplingConfig(), seed=0, before_s=f1_store.schema.cutoff_s + 1)
    assert sampler.seeds.table == "results"
    some = [0, 7, sampler.samples_per_epoch - 1]
    for k, sample in zip(some, sampler.sample(2, some), strict=True):
        check_sample(sampler, sample, sampler.seeds.nodes(2, k))
        assert sum(sample.num_rows.values()) > 500


def test_each_hop_adds_at_most_rows_per_hop_rows_to_each_table(nasty_store: Store) -> None:
    """A sampler of one hop less draws the same rows first: the rest is what the last hop added."""
    samplers = {hops: nasty_sampler(nasty_store, num_hops=hops, rows_per_hop=3) for hops in (1, 2, 3, 4)}
    for hops in (2, 3, 4):
        for k in range(samplers[1].samples_per_epoch):
            fewer, more = (samplers[h].sample(0, [k])[0].rows for h in (hops - 1, hops))
            for table, rows in fewer.items():
                assert more[table][: len(rows)].tolist() == rows.tolist()
                assert len(more[table]) - len(rows) <= 3


def test_the_bound_itself_is_not_visible_and_one_second_before_is(nasty_store: Store) -> None:
    cutoff_s, seen = nasty_store.schema.cutoff_s, {}
    for bound in (cutoff_s, cutoff_s + 1):
        sampler = HGSampling(
            nasty_store.graph, HGSamplingConfig(seed_table="match", seeds_per_sample=1), seed=0, before_s=bound
        )
        times = [nasty_store.graph.table_time(t)[r] for s in sampler.sample(0, range(20)) for t, r in s.rows.items()]
        seen[bound] = int(max(t.max(initial=0) for t in times))
    assert seen[cutoff_s] < cutoff_s
    assert seen[cutoff_s + 1] == cutoff_s


def test_every_eligible_seed_appears_once_an_epoch_but_the_dropped_rest(nasty_store: Store) -> None:
    sampler = nasty_sampler(nasty_store)
    assert (len(sampler.seeds.eligible), sampler.samples_per_epoch, sampler.seeds.num_dropped) == (23, 5, 3)
    epochs = []
    for epoch in range(40):
        seeds = np.concatenate([sampler.seeds.nodes(epoch, k) for k in range(5)])
        assert len(set(seeds.tolist())) == 20
        assert set(seeds.tolist()) <= set(sampler.seeds.eligible.tolist())
        offset = nasty_store.graph.row_offset[nasty_store.graph.node_types.index("match")]
        first_rows = [(s.rows["match"][:4] + offset).tolist() for s in sampler.sample(epoch, range(5))]
        assert sum(first_rows, []) == seeds.tolist()
        epochs.append(seeds.tolist())
    assert len({tuple(e) for e in epochs}) == 40
    assert set(sum(epochs, [])) == set(sampler.seeds.eligible.tolist())  # the rest is another one each epoch


def test_the_seeds_of_an_epoch_are_pinned(nasty_store: Store) -> None:
    """Runs resume and can be compared only while their seeds hold."""
    seeds = nasty_sampler(nasty_store, seed=3).seeds
    assert (seeds.nodes(2, 0) - seeds.eligible[0]).tolist() == [6, 7, 21, 4]
    bounded = nasty_sampler(nasty_store, seed=3, time_bound="seeds").seeds
    assert (bounded.nodes(2, 0) - bounded.eligible.min()).tolist() == [12, 13, 14, 15]


def test_a_sample_does_not_depend_on_order_grouping_object_or_what_came_before(nasty_store: Store) -> None:
    sampler = nasty_sampler(nasty_store)
    together = sampler.sample(3, range(5))
    assert same_subgraphs(together, [sampler.sample(3, [k])[0] for k in range(5)])
    assert same_subgraphs(together[::-1], sampler.sample(3, range(4, -1, -1)))
    sampler.sample(9, [0, 4])
    assert same_subgraphs(together, sampler.sample(3, range(5)))
    assert same_subgraphs(together, nasty_sampler(nasty_store).sample(3, range(5)))
    assert not same_subgraphs(together, nasty_sampler(nasty_store, seed=1).sample(3, range(5)))
    assert not same_subgraphs(together, sampler.sample(4, range(5)))


def sampler_of(store: Store, **config: object) -> HGSampling:
    return HGSampling(store.graph, HGSamplingConfig(**config), seed=0, before_s=store.schema.cutoff_s + 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("direct_index_nodes", [0, 1 << 21])
def test_the_scratch_is_clean_after_every_call(
    nasty_store: Store, f1_store: Store, direct_index_nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hg_sampling, "DIRECT_INDEX_NODES", direct_index_nodes)
    for store, config in ((nasty_store, {"seed_table": "match", "seeds_per_sample": 4}), (f1_store, {})):
        sampler = sampler_of(store, **config)
        sampler.sample(0, [0, 1, 2])
        (scratch,) = sampler._scratch
        assert scratch.counters[[ENTRIES, SEGMENTS]].tolist() == [0, 0]
        assert not scratch.entries[0].any()


def test_a_hash_index_that_grows_gives_the_samples_of_the_direct_one(
    nasty_store: Store, f1_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for store, config in ((nasty_store, {"seed_table": "match", "seeds_per_sample": 4}), (f1_store, {})):
        direct = sampler_of(store, **config).sample(0, [0, 1, 2])
        monkeypatch.setattr(hg_sampling, "DIRECT_INDEX_NODES", 0)
        monkeypatch.setattr(hg_sampling, "FIRST_ENTRIES", 2)
        hashed = sampler_of(store, **config)
        assert same_subgraphs(hashed.sample(0, [0, 1, 2]), direct)
        assert same_subgraphs(hashed.sample(0, [0, 1, 2]), direct)
        node = hashed._scratch[0].entries[1]
        assert len(node) > 8, "must have grown"
        monkeypatch.undo()


def test_threads_share_a_sampler_and_get_what_one_gets(f1_store: Store) -> None:
    sampler = sampler_of(f1_store)
    alone = sampler.sample(0, range(24))
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda k: sampler.sample(0, [k])[0], list(range(24)) * 3))
    assert same_subgraphs(parts, alone * 3)


@pytest.mark.parametrize(
    "options", [{"seeds": "all_tables"}, {"time_bound": "seeds"}, {"seeds": "all_tables", "time_bound": "seeds"}]
)
def test_other_seeds_and_bounds_equal_the_algorithm_in_python(nasty_store: Store, options: dict[str, str]) -> None:
    tables = [None] if "seeds" in options else ["match", "order", "teams"]
    for seed, table in itertools.product(range(3), tables):
        sampler = nasty_sampler(nasty_store, seed, seed_table=table, rows_per_hop=3, **options)
        for k, sample in enumerate(sampler.sample(1, range(sampler.samples_per_epoch))):
            expected = grow_in_python(sampler, sampler.seeds.nodes(1, k).tolist(), (1, k))
            assert {t: r.tolist() for t, r in sample.rows.items()} == expected
            join = links_in_python(sampler.graph, expected)
            for key, links in sample.links.items():
                rows = [(expected[key[0]][c], expected[key[2]][p]) for c, p in links.T]
                assert len(rows) == len(join[key]) and set(rows) == join[key]


def test_seeds_of_all_tables_are_all_visible_rows(nasty_store: Store) -> None:
    sampler = nasty_sampler(nasty_store, seed_table=None, seeds="all_tables", seeds_per_sample=1)
    seeds = np.concatenate([sampler.seeds.nodes(3, k) for k in range(sampler.samples_per_epoch)])
    assert sorted(seeds.tolist()) == np.flatnonzero(nasty_store.graph.time <= nasty_store.schema.cutoff_s).tolist()


def test_bounded_by_its_seeds_a_sample_holds_nothing_as_late_as_its_latest_seed_but_seeds_and_their_parents(
    f1_store: Store,
) -> None:
    sampler = sampler_of(f1_store, time_bound="seeds")
    graph, spans = f1_store.graph, []
    for k, sample in enumerate(sampler.sample(0, range(0, sampler.samples_per_epoch, 7))):
        seeds = sampler.seeds.nodes(0, 7 * k)
        times = graph.time[seeds]
        spans.append(int(times.max() - times.min()))
        rows = {t: set(r.tolist()) for t, r in sample.rows.items()}
        seed_rows = set((seeds - graph.row_offset[graph.node_types.index("results")]).tolist())
        parents = {
            (key[2], int(graph.key_parent(key)[r]))
            for key in graph.edge_types
            if key[0] == "results"
            for r in seed_rows
        }
        for table, mine in rows.items():
            for row in mine:
                time = int(graph.table_time(table)[row])
                is_seed = table == "results" and row in seed_rows
                assert time < times.max() or is_seed or ((table, row) in parents and time == times.max())
    everything = graph.time[sampler.seeds.eligible]
    assert np.median(spans) < 0.02 * (everything.max() - everything.min()), "seeds of a sample are neighbours in time"


def test_bounded_by_its_seeds_every_epoch_takes_other_runs(nasty_store: Store) -> None:
    sampler = nasty_sampler(nasty_store, time_bound="seeds", seeds_per_sample=2)
    assert (sampler.samples_per_epoch, sampler.seeds.num_dropped) == (11, 1)
    epochs = {tuple(np.concatenate([sampler.seeds.nodes(e, k) for k in range(11)]).tolist()) for e in range(30)}
    assert len(epochs) == 30
    assert set(sum(epochs, ())) == set(sampler.seeds.eligible.tolist())
    assert all(len(set(e)) == 22 for e in epochs)
    assert {sampler.seeds.eligible[0] in e for e in epochs} == {False, True}, "the first run begins at random"


def test_rows_that_were_always_there_bound_nothing() -> None:
    graph = build_graph({"a": 3}, {}, {"a": np.full(3, ALWAYS)}, {"a": False})
    with pytest.raises(ValueError, match="'a' has 0 rows with a time up to the cutoff"):
        HGSampling(graph, HGSamplingConfig(seeds_per_sample=1, time_bound="seeds"), seed=0, before_s=5).sample(0, [0])


def test_given_seeds_may_repeat_and_each_is_sampled_once(nasty_store: Store) -> None:
    sampler = nasty_sampler(nasty_store)
    offset = sampler.graph.row_offset[sampler.graph.node_types.index("match")]
    (sample,) = sampler.grow(np.array([[5, 3, 5, 3]]) + offset, [(0, 0)])
    assert sample.rows["match"][:2].tolist() == [5, 3]
    check_sample(sampler, sample, np.array([5, 3]) + offset)


def exact_inclusion(weights: list[float], num_draws: int) -> dict[tuple[int, ...], float]:
    """Probability of each set under successive draws without replacement with probability proportional to weight."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    for order in itertools.permutations(range(len(weights)), num_draws):
        left, p = sum(weights), 1.0
        for i in order:
            p, left = p * weights[i] / left, left - weights[i]
        law[tuple(sorted(order))] += p
    return law


@pytest.mark.parametrize("num_draws", [1, 2, 3])
def test_draws_follow_the_law_of_successive_draws_with_squared_budgets(num_draws: int) -> None:
    budget = np.array(
        [9.0, 1.5, 1.0, np.nan, 0.25, 2.0, 0.5, 9.0]
    )  # NaN: sampled; the first and last are of another table
    nodes = np.array([3, 104, 101, 100, 105, 103, 102, 4])
    segments = np.array([[0, 0, 1], [1, 1, 3], [1, 3, 7], [0, 7, 8]])
    keys, heap, block = np.zeros(num_draws), np.zeros(num_draws, np.int64), np.zeros(2)
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    for trial in range(100_000):
        key = np.uint64(python_fold(77, trial))
        assert draw(segments, 1, 100, nodes, budget, num_draws, key, (keys, heap, block)) == num_draws
        counts[tuple(sorted(heap.tolist()))] += 1
    places = [1, 2, 4, 5, 6]
    law = {
        tuple(places[i] for i in s): p for s, p in exact_inclusion([budget[c] ** 2 for c in places], num_draws).items()
    }
    assert set(counts) <= set(law)
    expected = np.array([law[s] * 100_000 for s in law])
    observed = np.array([counts[s] for s in law])
    rare = expected < 5
    if rare.any():  # chi-square wants five expected a cell
        expected = np.append(expected[~rare], expected[rare].sum())
        observed = np.append(observed[~rare], observed[rare].sum())
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def hub_graph(children: int) -> RelationalEntityGraph:
    parent = np.zeros(children, np.int32)
    times = {"hub": np.zeros(1, np.int64), "leaf": np.arange(children)}
    return build_graph(
        {"hub": 1, "leaf": children}, {("leaf", "hub", "hub"): parent}, times, dict.fromkeys(times, True)
    )


@pytest.mark.parametrize(("visible", "wanted"), [(23, 5), (37, 32), (150, 64)])
def test_of_a_hub_distinct_children_enter_with_the_same_probability(visible: int, wanted: int) -> None:
    """At most `wanted` become candidates, all of which are drawn."""
    config = HGSamplingConfig(seed_table="hub", seeds_per_sample=1, rows_per_hop=64, num_hops=1, max_children=wanted)
    sampler = HGSampling(hub_graph(visible + 1), config, seed=0, before_s=visible)  # the last leaf is not visible
    counts, trials = np.zeros(visible + 1), 20_000
    seeds, cursors = np.zeros((trials, 1), np.int64), [(0, k) for k in range(trials)]
    for sample in sampler.grow(seeds, cursors):
        rows = sample.rows["leaf"]
        assert len(set(rows.tolist())) == wanted
        counts[rows] += 1
    assert counts[visible] == 0
    # Those of one sample depend on each other, so each child is tested alone (Bonferroni), not by a chi-square.
    expected = wanted / visible
    assert min(scipy.stats.binomtest(int(c), trials, expected).pvalue for c in counts[:visible]) > 1e-3 / visible


def test_a_hub_of_exactly_max_children_enters_whole() -> None:
    config = HGSamplingConfig(seed_table="hub", seeds_per_sample=1, rows_per_hop=64, num_hops=1, max_children=23)
    sampler = HGSampling(hub_graph(24), config, seed=0, before_s=23)
    assert sampler.sample(0, [0])[0].rows["leaf"].tolist() == list(range(23))


def test_the_first_samples_of_nasty_are_pinned(nasty_store: Store) -> None:
    """Any change here changes every run; the format's version must change with it."""
    samples = nasty_sampler(nasty_store).sample(0, range(5))
    assert (
        hashlib.sha256(b"".join(s.to_bytes() for s in samples)).hexdigest()
        == "0997f79e151671af8b9f62a677fcb2c67fcc66e4f86eb7ca11a29bd6cb703a3b"
    )


def test_the_default_seed_table_has_most_keys_and_of_ties_most_visible_rows(
    nasty_store: Store, f1_store: Store
) -> None:
    graph = nasty_store.graph
    ties = [t for t in graph.node_types if sum(e[0] == t for e in graph.edge_types) == 2]
    cutoff_s = nasty_store.schema.cutoff_s
    assert default_seed_table(graph, cutoff_s + 1) == max(ties, key=lambda t: (graph.table_time(t) <= cutoff_s).sum())
    assert default_seed_table(f1_store.graph, f1_store.schema.cutoff_s + 1) == "results"


def test_an_unknown_seed_table_is_refused_by_name(nasty_store: Store) -> None:
    with pytest.raises(ValueError, match="seed table 'matches' is not in the database.*match"):
        nasty_sampler(nasty_store, seed_table="matches")


def test_fewer_visible_rows_than_one_sample_needs_are_refused(nasty_store: Store) -> None:
    nasty_sampler(nasty_store, seeds_per_sample=23)
    with pytest.raises(ValueError, match="'match' has 23 rows up to the cutoff, fewer than the 24 seeds"):
        nasty_sampler(nasty_store, seeds_per_sample=24).sample(0, [0])


@pytest.mark.parametrize("sample", [-1, 5, 6])
def test_a_sample_beyond_the_epoch_is_refused(nasty_store: Store, sample: int) -> None:
    """Sample 5 would be the partial one of three seeds, which is dropped."""
    with pytest.raises(IndexError, match=f"sample {sample}.*5 samples"):
        nasty_sampler(nasty_store).sample(0, [sample])


@pytest.mark.parametrize("name", ["seeds_per_sample", "rows_per_hop", "num_hops", "max_children"])
def test_settings_below_one_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"HGSamplingConfig.{name} is 0; it should be greater than 0"):
        HGSamplingConfig(**{name: 0})


def test_a_subgraph_survives_bytes(nasty_store: Store) -> None:
    for sample in nasty_sampler(nasty_store).sample(0, range(5)):
        again = Subgraph.from_bytes(sample.to_bytes(), sample.node_types, sample.edge_types)
        assert again.num_rows == sample.num_rows
        assert again.num_links == sample.num_links
        assert all(np.array_equal(again.rows[t], r) and r.dtype == np.int32 for t, r in sample.rows.items())
        assert all(np.array_equal(again.links[e], x) for e, x in sample.links.items())
        size = len(sample.node_types) + len(sample.edge_types) + sum(sample.num_rows.values())
        assert len(sample.to_bytes()) == 4 * (size + 2 * sum(sample.num_links.values()))
