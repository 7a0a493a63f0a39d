"""The generated shop has the size it says, a power-law hub table, valid keys, and is a function of its arguments."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from benchmarks.samplers.databases import UNIT_ROWS, GeneratedDatabase, shop, write_store
from rdl_core.config import HGSamplingConfig
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.timestamps import NO_TIME

LINES_OF_PRODUCT = ("order_lines", "product", "products")


@pytest.fixture(scope="module")
def database() -> GeneratedDatabase:
    return shop(UNIT_ROWS * 5, seed=3)


def test_rows_and_keys_are_exactly_as_many_as_said(database: GeneratedDatabase) -> None:
    assert database.graph.num_nodes == database.rows == 100_000
    assert database.num_keys == 200_000
    with pytest.raises(ValueError, match="multiple of 20,000"):
        shop(UNIT_ROWS + 1)


def test_keys_are_rows_of_their_parents_or_null(database: GeneratedDatabase) -> None:
    graph = database.graph
    for edge_type in graph.edge_types:
        parent = graph.key_parent(edge_type)
        assert len(parent) == graph.num_rows(edge_type[0])
        assert -1 <= parent.min() <= parent.max() < graph.num_rows(edge_type[2])
    assert (graph.key_parent(("orders", "promotion", "promotions")) < 0).mean() == pytest.approx(2 / 3, abs=0.02)
    assert (graph.key_parent(LINES_OF_PRODUCT) < 0).mean() == pytest.approx(0.01, abs=0.003)


def test_products_are_hubs_by_a_power_law(database: GeneratedDatabase) -> None:
    parent = database.graph.key_parent(LINES_OF_PRODUCT)
    counts = -np.sort(-np.bincount(parent[parent >= 0]))
    expected = len(parent) * np.log2(1 + 1 / np.array([1, 10, 100])) / np.log2(database.graph.num_rows("products") + 1)
    assert counts[[0, 9, 99]] == pytest.approx(expected, rel=0.2)
    assert counts[0] > 50 * np.median(counts)


def test_a_fifth_of_the_time_lies_after_the_cutoff_and_some_orders_have_none(database: GeneratedDatabase) -> None:
    time = database.graph.table_time("orders")
    assert (time <= database.cutoff_s).mean() == pytest.approx(0.8, abs=0.02)
    assert 0 < (time == NO_TIME).sum() < 60
    lines, orders = (
        database.graph.table_time("order_lines"),
        database.graph.key_parent(("order_lines", "order", "orders")),
    )
    assert (lines >= time[orders]).all()


def test_the_same_arguments_give_the_same_database_and_another_seed_another(database: GeneratedDatabase) -> None:
    again, other = shop(UNIT_ROWS * 5, seed=3).graph.arrays(), shop(UNIT_ROWS * 5, seed=4).graph.arrays()
    assert all(np.array_equal(array, again[name]) for name, array in database.graph.arrays().items())
    assert not np.array_equal(other["parent"], again["parent"])


def test_its_store_opens_memory_mapped_with_the_same_samples(database: GeneratedDatabase, tmp_path: Path) -> None:
    store = write_store(database, tmp_path)
    assert _is_mapped(store.graph.parent)
    assert not _is_mapped(database.graph.parent)
    config = HGSamplingConfig(seeds_per_sample=8, rows_per_hop=8)
    here, there = (
        HGSampling(graph, config, seed=0, before_s=store.schema.cutoff_s + 1).sample(0, [0, 1])
        for graph in (database.graph, store.graph)
    )
    assert [s.to_bytes() for s in here] == [s.to_bytes() for s in there]
    assert here[0].num_rows["order_lines"] > 0
    assert store.features["orders"].gather(np.arange(3)).num_rows == 3
    assert write_store(database, tmp_path).manifest == store.manifest


def _is_mapped(array: object) -> bool:
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None
