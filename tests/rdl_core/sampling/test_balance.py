"""RowCounts of plain neighbour sampling are of true neighbours; HGSampling's are those of its subgraphs."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from distributed.commands.report import balance_text, draw_balance
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.reg import RelationalEntityGraph
from rdl_core.graph.store import Store
from rdl_core.sampling.balance import RowCounts, balance, count, plain_neighbours
from rdl_core.sampling.hg_sampling import HGSampling


@pytest.fixture
def sampler(nasty_store: Store) -> HGSampling:
    config = HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6, num_hops=2)
    return HGSampling(nasty_store.graph, config, seed=1, before_s=nasty_store.schema.cutoff_s + 1)


def links(graph: RelationalEntityGraph, before_s: int) -> set[tuple[int, int]]:
    """(child node, parent node) of every key between visible rows, by a loop."""
    offset = dict(zip(graph.node_types, graph.row_offset.tolist(), strict=False))
    pairs = [
        (offset[child] + row, offset[parent] + int(target))
        for child, fkey_col, parent in graph.edge_types
        for row, target in enumerate(graph.key_parent((child, fkey_col, parent)))
        if target >= 0
    ]
    return {p for p in pairs if max(graph.time[list(p)]) < before_s}


def test_with_a_large_fan_out_plain_sampling_finds_all_neighbours_within_the_hops(sampler: HGSampling) -> None:
    true = links(sampler.graph, sampler.before_s)
    seeds = sampler.seeds.nodes(0, 0)
    reached = set(seeds.tolist())
    for _ in range(sampler.config.num_hops):
        reached |= {b for a, b in true if a in reached} | {a for a, b in true if b in reached}
    found = plain_neighbours(sampler, seeds, 10_000, np.random.default_rng(0))
    assert len(found) == len(set(found.tolist()))
    assert set(found.tolist()) == reached


def test_a_fan_out_of_one_and_a_half_draws_one_or_two(sampler: HGSampling) -> None:
    seeds = sampler.seeds.nodes(0, 0)[:1]
    one_hop = HGSampling(
        sampler.graph, HGSamplingConfig(seeds_per_sample=1, num_hops=1), seed=1, before_s=sampler.before_s
    )
    sizes = {len(plain_neighbours(one_hop, seeds, 1.5, np.random.default_rng(i))) - 1 for i in range(40)}
    assert sizes == {1, 2}


def test_links_between_rows_are_counted_as_a_loop_does(sampler: HGSampling) -> None:
    nodes = plain_neighbours(sampler, sampler.seeds.nodes(0, 1), 3, np.random.default_rng(1))
    counted = count(sampler.graph, [nodes])
    inside = set(nodes.tolist())
    assert counted.num_rows == len(inside)
    graph = sampler.graph
    for edge_type in graph.edge_types:
        child, parent = (int(graph.row_offset[graph.node_types.index(t)]) for t in (edge_type[0], edge_type[2]))
        keys = graph.key_parent(edge_type).tolist()
        expected = sum(r >= 0 and child + i in inside and parent + r in inside for i, r in enumerate(keys))
        assert counted.links[edge_type] == expected


def test_balance_counts_the_samplers_own_subgraphs_and_about_as_many_plain_rows(sampler: HGSampling) -> None:
    found = balance(sampler, 2)
    subgraphs = sampler.sample(0, [0, 1])
    assert found.hg_sampling.rows == {t: sum(s.num_rows[t] for s in subgraphs) for t in sampler.graph.node_types}
    assert found.hg_sampling.links == {e: sum(s.num_links[e] for s in subgraphs) for e in sampler.graph.edge_types}
    assert found.plain.num_rows == pytest.approx(found.hg_sampling.num_rows, rel=0.2)
    assert found == balance(sampler, 2)


def test_equal_tables_count_as_many_and_one_table_as_one() -> None:
    assert RowCounts(rows={"a": 5, "b": 5, "c": 0}, links={}).even_tables == pytest.approx(2)
    assert RowCounts(rows={"a": 5}, links={}).even_tables == pytest.approx(1)


def test_the_picture_is_drawn_and_said(sampler: HGSampling, tmp_path: Path) -> None:
    found = balance(sampler, 2)
    path = draw_balance(found, "nasty", tmp_path / "balance.png")
    assert [p.name for p in tmp_path.iterdir()] == ["balance.png"]
    assert 0.01 < (matplotlib.image.imread(path)[..., :3].min(axis=2) < 0.9).mean() < 0.6
    assert "spread as over" in balance_text(found)
