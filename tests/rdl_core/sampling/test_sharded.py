"""Shares of a graph: who owns what, what they hold, and that sampling them equals sampling the whole, bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from rdl_core.config import HGSamplingConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.feature_rows import concatenate_rows, take_rows
from rdl_core.graph.features import TableFeatures
from rdl_core.graph.materialization import materialize
from rdl_core.graph.reg import RelationalEntityGraph
from rdl_core.graph.schema import Schema, TableSchema
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.sharded import ShardedHGSampling
from rdl_core.sampling.share import GraphShare, Ownership, Request, Response, cell_bytes, ownership
from tests.bits import same_subgraphs
from tests.random_graphs import random_graph


class Shares:
    """All shares of a store in this process; counts rounds and what each share was asked for."""

    def __init__(self, store: Store, num_shares: int, config: HGSamplingConfig, before_s: int) -> None:
        self.owned = ownership(store.graph, num_shares)
        self.shares = [GraphShare(store, self.owned, s, config, before_s=before_s) for s in range(num_shares)]
        self.rounds: list[dict[int, Request]] = []

    def ask(self, requests: dict[int, Request]) -> dict[int, Response]:
        self.rounds.append(requests)
        return {share: self.shares[share].expand(request) for share, request in requests.items()}


def sampling(store: Store, num_shares: int, config: HGSamplingConfig) -> tuple[HGSampling, ShardedHGSampling, Shares]:
    before_s = store.schema.cutoff_s + 1
    shares = Shares(store, num_shares, config, before_s)
    local = HGSampling(store.graph, config, seed=3, before_s=before_s)
    sharded = ShardedHGSampling(store.graph, shares.owned, shares.ask, config, seed=3, before_s=before_s)
    return local, sharded, shares


def bare_store(graph: RelationalEntityGraph) -> Store:
    """A store of a graph without attributes."""
    tables = {
        t: TableSchema(
            name=t,
            num_rows=graph.num_rows(t),
            num_rows_up_to_cutoff=0,
            pkey_col=None,
            time_col=None,
            fkey_col_to_pkey_table={},
            columns=(),
            left_out={},
        )
        for t in graph.node_types
    }
    schema = Schema(
        database="bare", cutoff_s=0, time_span_s=86_400, text_embedder="", timeless_rows="always", tables=tables
    )
    store = Store(Path("bare"), schema, {})
    store.__dict__.update(
        graph=graph, features={t: TableFeatures(tables[t], {}) for t in tables}
    )  # its cached properties
    return store


OPTIONS = [
    {},
    {"max_children": 2},
    {"max_children": 32},
    {"time_bound": "seeds"},
    {"time_bound": "seeds", "max_children": 1},
    {"seeds": "all_tables"},
    {"num_hops": 1},
    {"rows_per_hop": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("num_shares", [1, 2, 3, 7])
def test_nasty_in_shares_gives_the_same_bits(nasty_store: Store, num_shares: int, options: dict) -> None:
    tables = [None] if "seeds" in options else ["match", "order", "teams"]
    for table in tables:
        config = HGSamplingConfig(**{"seed_table": table, "seeds_per_sample": 4, "rows_per_hop": 5, **options})
        local, sharded, shares = sampling(nasty_store, num_shares, config)
        every = range(local.samples_per_epoch)
        assert same_subgraphs(local.sample(0, every), sharded.sample(0, every))
        assert len(shares.rounds) == config.num_hops + 1
        assert same_subgraphs([sharded.sample(1, [k])[0] for k in every], local.sample(1, every))


def test_random_graphs_in_shares_give_the_same_bits() -> None:
    compared = 0
    for seed in range(100):
        graph = random_graph(seed, max_rows=40)
        bound = int(np.random.default_rng(seed).integers(2, 15))
        store = bare_store(graph)
        for table, time_bound in itertools.product(graph.node_types, ["cutoff", "seeds"]):
            config = HGSamplingConfig(
                seed_table=table,
                seeds_per_sample=2,
                rows_per_hop=1 + seed % 4,
                max_children=1 + seed % 5,
                time_bound=time_bound,
            )  # type: ignore[arg-type]
            local = HGSampling(graph, config, seed=seed, before_s=bound)
            try:
                every = range(min(4, local.samples_per_epoch))
            except ValueError:
                continue  # too few rows before the bound
            owned = ownership(graph, 1 + seed % 5)
            shares = [GraphShare(store, owned, s, config, before_s=bound) for s in range(owned.num_shares)]
            sharded = ShardedHGSampling(
                graph,
                owned,
                lambda r, shares=shares: {s: shares[s].expand(q) for s, q in r.items()},
                config,
                seed=seed,
                before_s=bound,
            )
            assert same_subgraphs(sharded.sample(0, every), local.sample(0, every)), (seed, table, time_bound)
            compared += len(every)
    assert compared > 500


@pytest.mark.parametrize("database", ["rel-f1", "rel-retail"])
def test_real_databases_in_four_shares_give_the_same_bits_and_each_holds_at_most_thirty_percent(
    data_root: Path, tmp_path: Path, database: str
) -> None:
    store = materialize(open_dataset(data_root / database), tmp_path)
    config = HGSamplingConfig()
    before_s = store.schema.cutoff_s + 1
    owned = ownership(store.graph, 4, cell_bytes(store))
    shares = [GraphShare(store, owned, s, config, before_s=before_s) for s in range(4)]
    sharded = ShardedHGSampling(
        store.graph, owned, lambda r: {s: shares[s].expand(q) for s, q in r.items()}, config, seed=0, before_s=before_s
    )
    local = HGSampling(store.graph, config, seed=0, before_s=before_s)
    some = range(0, local.samples_per_epoch, local.samples_per_epoch // 24)
    assert same_subgraphs(sharded.sample(2, some), local.sample(2, some))
    whole = GraphShare(store, ownership(store.graph, 1), 0, config, before_s=before_s)
    sizes = [sum(s.num_bytes.values()) for s in shares]
    assert max(sizes) <= 0.30 * sum(whole.num_bytes.values())


def test_every_row_has_one_owner_and_ranges_are_contiguous(nasty_store: Store) -> None:
    graph = nasty_store.graph
    for num_shares in (1, 2, 5, 100):
        owned = ownership(graph, num_shares)
        for t, table in enumerate(graph.node_types):
            rows = np.arange(graph.num_rows(table))
            owners = owned.owner(t, rows)
            assert (np.diff(owners) >= 0).all()
            assert ((owners >= 0) & (owners < num_shares)).all()
            for share in range(num_shares):
                first, last = owned.cuts[t, share], owned.cuts[t, share + 1]
                assert rows[owners == share].tolist() == list(range(first, last))


def test_rows_with_more_children_and_wider_tables_get_shorter_ranges() -> None:
    graph = random_graph(1, max_rows=400)
    heavy = dict.fromkeys(graph.node_types, 1000.0)
    assert not np.array_equal(ownership(graph, 3).cuts, ownership(graph, 3, heavy).cuts)
    even = ownership(
        graph, 3, dict.fromkeys(graph.node_types, 1000000000000.0)
    ).cuts  # cells outweigh children: even ranges
    sizes = np.diff(even, axis=1)
    assert (sizes.max(1) - sizes.min(1) <= 1).all()


def test_ownership_of_no_share_is_refused(nasty_store: Store) -> None:
    with pytest.raises(ValueError, match="num_shares must be at least 1, got 0"):
        ownership(nasty_store.graph, 0)


def test_a_share_is_asked_only_for_its_own_rows_and_for_each_once(nasty_store: Store) -> None:
    config = HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=5)
    _, sharded, shares = sampling(nasty_store, 3, config)
    sharded.sample(0, range(5))
    assert shares.rounds
    asked = 0
    for requests in shares.rounds:
        for share, request in requests.items():
            for t in range(len(nasty_store.graph.node_types)):
                rows = request.rows[request.row_begin[t] : request.row_begin[t + 1]]
                assert (shares.owned.owner(t, rows) == share).all()
                assert len(np.unique(rows)) == len(rows)
                asked += len(rows)
    assert asked > 100


def test_the_last_round_asks_for_parents_only(nasty_store: Store) -> None:
    _, sharded, shares = sampling(
        nasty_store, 2, HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=5)
    )
    sharded.sample(0, [0])
    assert [{r.with_lists for r in requests.values()} for requests in shares.rounds] == [
        {True},
        {True},
        {True},
        {False},
    ]


def test_a_share_holds_no_row_of_another_and_no_child_from_the_bound_on(nasty_store: Store) -> None:
    """Loaded at an earlier bound, a share is smaller by what is later."""
    graph, config = nasty_store.graph, HGSamplingConfig(seed_table="match")
    owned = ownership(graph, 2)
    late = GraphShare(nasty_store, owned, 0, config, before_s=nasty_store.schema.cutoff_s + 1)
    early = GraphShare(nasty_store, owned, 0, config, before_s=int(np.median(graph.table_time("match"))))
    assert early.num_bytes["topology"] < late.num_bytes["topology"]
    assert early.num_bytes["cells"] == late.num_bytes["cells"]


@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_rows_taken_in_parts_gather_the_same_cells(nasty_store: Store, num_parts: int) -> None:
    stypes = set()
    for table, features in nasty_store.features.items():
        if not features.schema.columns:
            continue
        stypes |= {c.stype for c in features.schema.columns}
        rows = np.random.default_rng(0).integers(0, features.schema.num_rows, 23)
        parts = [take_rows(features.arrays, part) for part in np.array_split(rows, num_parts)]
        again = [take_rows(p, np.arange(len(r))) for p, r in zip(parts, np.array_split(rows, num_parts), strict=True)]
        for candidate in (parts, again):
            mine = TableFeatures(features.schema, concatenate_rows(candidate)).gather(np.arange(len(rows)))
            assert mine == features.gather(rows), table
    assert stypes >= {"numerical", "categorical", "timestamp", "text", "multicategorical"}


def test_shares_send_times_and_cells_of_their_rows(nasty_store: Store) -> None:
    graph = nasty_store.graph
    owned = Ownership(ownership(graph, 2).cuts)
    for share in range(2):
        holder = GraphShare(nasty_store, owned, share, HGSamplingConfig(), before_s=0)
        rows = {
            t: np.arange(owned.cuts[i, share], owned.cuts[i, share + 1])[::-1] for i, t in enumerate(graph.node_types)
        }
        for table, (times, cells) in holder.cells(rows).items():
            assert np.array_equal(times, graph.table_time(table)[rows[table]])
            features = nasty_store.features[table]
            if features.schema.columns and len(times):
                assert TableFeatures(features.schema, cells).gather(np.arange(len(times))) == features.gather(
                    rows[table]
                )
