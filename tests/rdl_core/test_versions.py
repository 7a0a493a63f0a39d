"""Versions of one entity: whoever looks at a time sees the version that is valid then, and no column tells when it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl_core.config import HGSamplingConfig, StoreConfig, TemporalSamplingConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.database.table_settings import TableSettings, write_table_settings
from rdl_core.graph.materialization import materialize
from rdl_core.graph.reg import build_graph
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.sharded import ShardedHGSampling
from rdl_core.sampling.share import GraphShare, ownership
from rdl_core.sampling.temporal_sampling import TemporalSampling
from tests.nasty_database import write_database

DAY, CUTOFF = 86_400, 60
NUM_PRODUCTS, LENGTH = 4, 10  # each product has a price every ten days, the last one without an end


def store_of(folder: Path, shift_ends_from_day: int | None = None, **settings: str) -> Store:
    """Prices are versions; sales refer to the price that they were made at, and to the product. Ends may be shifted."""
    start = [(p, LENGTH * k + p) for p in range(NUM_PRODUCTS) for k in range(12)]
    start.sort(key=lambda row: row[1])

    def end(product: int, day: int) -> int | None:
        if day + LENGTH > 120:
            return None
        shifted = shift_ends_from_day is not None and day + LENGTH >= shift_ends_from_day
        return day + LENGTH + (3 if shifted else 0)

    ends = [end(*row) for row in start]
    prices = {
        "id": range(len(start)),
        "product": [p for p, _ in start],
        "since": pa.array([d * DAY for _, d in start], pa.timestamp("s")),
        "until": pa.array([None if e is None else e * DAY for e in ends], pa.timestamp("s")),
        "price": [float(p + d % 7) for p, d in start],
    }
    days = list(range(5, 120))
    valid = [
        next(i for i, (p, d) in enumerate(start) if p == day % NUM_PRODUCTS and d < day <= d + LENGTH)
        if day > 14
        else None
        for day in days
    ]
    sales = {
        "id": range(len(days)),
        "product": [day % NUM_PRODUCTS for day in days],
        "price": pa.array(valid, pa.int64()),
        "at": pa.array([day * DAY for day in days], pa.timestamp("s")),
    }
    tables = {
        "prices": pa.table({n: v if isinstance(v, pa.Array) else pa.array(v) for n, v in prices.items()}),
        "products": pa.table({"id": list(range(NUM_PRODUCTS))}),
        "sales": pa.table({n: v if isinstance(v, pa.Array) else pa.array(v) for n, v in sales.items()}),
    }
    specs = {
        "prices": {"pkey": "id", "time_col": "since", "fkeys": {"product": "products"}},
        "products": {"pkey": "id"},
        "sales": {"pkey": "id", "time_col": "at", "fkeys": {"product": "products", "price": "prices"}},
    }
    path = write_database(folder / "db", tables, specs, val_timestamp="1970-03-02", test_timestamp="1970-04-01")
    write_table_settings(path, {"prices": TableSettings(**(settings or {"valid_from": "since", "valid_to": "until"}))})  # type: ignore[arg-type]
    return materialize(open_dataset(path), folder / "stores", StoreConfig())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("versions"))


def until(store: Store) -> np.ndarray:
    return store.graph.expiry[store.graph.row_offset[0] : store.graph.row_offset[1]]


@pytest.mark.parametrize("strategy", ["uniform", "recent"])
@pytest.mark.parametrize("seconds", [25 * DAY, 31 * DAY, 31 * DAY + 1, 100 * DAY])
def test_a_tree_holds_exactly_the_versions_that_are_valid_at_its_time(
    store: Store, strategy: str, seconds: int
) -> None:
    config = TemporalSamplingConfig(num_neighbors=(200, 200, 200), strategy=strategy)  # type: ignore[arg-type]
    before_s = np.full(NUM_PRODUCTS, seconds)
    trees = TemporalSampling(store.graph, config, seed=0).sample("products", np.arange(NUM_PRODUCTS), before_s, epoch=0)
    since, end = store.graph.table_time("prices"), until(store)
    expected = np.flatnonzero((since < seconds) & (seconds <= end))
    assert sorted(trees.rows["prices"].tolist()) == expected.tolist()
    assert len(expected) == NUM_PRODUCTS  # one version each


def test_a_version_that_is_over_is_found_by_no_fact_that_refers_to_it(store: Store) -> None:
    """A sale of long ago refers to a price of long ago, which a seed of now does not see."""
    sale = np.array([20])
    price = store.graph.key_parent(("sales", "price", "prices"))[sale]
    at, end = store.graph.table_time("sales")[sale], until(store)[price]
    sampling = TemporalSampling(store.graph, TemporalSamplingConfig(num_neighbors=(5,)), seed=0)
    seen = [sampling.sample("sales", sale, t, epoch=0).rows["prices"].tolist() for t in (at, end, end + 1)]
    assert seen == [price.tolist(), price.tolist(), []]


def loop(store: Store, before_s: int) -> set[tuple[str, int]]:
    """All rows that a sample may hold."""
    rows = {("sales", int(r)) for r in np.flatnonzero(store.graph.table_time("sales") < before_s)}
    rows |= {("products", int(r)) for r in np.flatnonzero(store.graph.table_time("products") < before_s)}
    valid = (store.graph.table_time("prices") < before_s) & (before_s <= until(store))
    return rows | {("prices", int(r)) for r in np.flatnonzero(valid)}


CONFIG = HGSamplingConfig(seeds="all_tables", seeds_per_sample=2, rows_per_hop=200, num_hops=4)


@pytest.mark.parametrize("day", [CUTOFF + 1, 33])
def test_samples_hold_valid_versions_only_and_all_that_is_connected(store: Store, day: int) -> None:
    before_s = day * DAY
    sampling = HGSampling(store.graph, CONFIG, seed=0, before_s=before_s)
    samples = sampling.sample(0, range(sampling.samples_per_epoch))
    allowed = loop(store, before_s)
    held = {(t, int(r)) for s in samples for t, rows in s.rows.items() for r in rows}
    assert held <= allowed and len({r for t, r in held if t == "prices"}) == NUM_PRODUCTS
    assert len(held) >= len(allowed) - 1  # a partial last sample is dropped
    for sample in samples:  # every link between its rows, found by a loop
        for (child, column, parent), links in sample.links.items():
            of_key = store.graph.key_parent((child, column, parent))
            places = {int(r): i for i, r in enumerate(sample.rows[parent])}
            expected = {
                (i, places[int(of_key[r])]) for i, r in enumerate(sample.rows[child]) if int(of_key[r]) in places
            }
            assert set(zip(*links.tolist(), strict=True)) == expected


@pytest.mark.parametrize("num_shares", [1, 3])
def test_shares_give_the_same_bits(store: Store, num_shares: int) -> None:
    before_s = store.schema.cutoff_s + 1
    owned = ownership(store.graph, num_shares)
    shares = [GraphShare(store, owned, s, CONFIG, before_s=before_s) for s in range(num_shares)]
    ask = lambda requests: {s: shares[s].expand(r) for s, r in requests.items()}  # noqa: E731
    local = HGSampling(store.graph, CONFIG, seed=0, before_s=before_s)
    sharded = ShardedHGSampling(store.graph, owned, ask, CONFIG, seed=0, before_s=before_s)
    numbers = range(local.samples_per_epoch)
    assert [s.buffer.tolist() for s in local.sample(0, numbers)] == [
        s.buffer.tolist() for s in sharded.sample(0, numbers)
    ]


def test_ends_after_a_seed_change_nothing_for_it(store: Store, tmp_path: Path) -> None:
    """A planted leak: all ends from the cutoff on are other ones; neither samples nor trees nor cells may tell."""
    other = store_of(tmp_path, shift_ends_from_day=CUTOFF + 1)
    assert (until(store) != until(other)).sum() > 10
    before_s = store.schema.cutoff_s + 1
    samples = [HGSampling(s.graph, CONFIG, seed=0, before_s=before_s).sample(0, range(8)) for s in (store, other)]
    assert [s.to_bytes() for s in samples[0]] == [s.to_bytes() for s in samples[1]]
    assert store.schema == other.schema and [c.name for c in store.schema.tables["prices"].columns] == [
        "since",
        "price",
    ]
    assert "until" in store.schema.tables["prices"].left_out
    trees = [
        TemporalSampling(s.graph, TemporalSamplingConfig(num_neighbors=(99, 99)), seed=0).sample(
            "products", np.arange(4), np.full(4, (CUTOFF + 1) * DAY), epoch=0
        )
        for s in (store, other)
    ]
    for name, value in vars(trees[0]).items():
        np.testing.assert_equal(vars(trees[1])[name], value)


def test_samples_bounded_by_their_seeds_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="valid_to"):
        HGSampling(store.graph, HGSamplingConfig(time_bound="seeds"), seed=0, before_s=store.schema.cutoff_s + 1)


def test_a_database_without_versions_has_no_array_of_ends(tmp_path: Path) -> None:
    store = store_of(tmp_path, valid_from="since")
    assert "expiry" not in store.graph.arrays() and not (store.path / "graph" / "expiry.npy").exists()
    assert store.graph.valid_before(0) is store.graph
    assert "until" in [c.name for c in store.schema.tables["prices"].columns]
    empty = build_graph({"a": 0}, {}, {"a": np.zeros(0, np.int64)}, {"a": True})
    assert not len(empty.expiry)
