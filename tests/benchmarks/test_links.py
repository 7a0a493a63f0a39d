"""The brute-force join of the benchmark finds what is lost, and what is made up; its timer takes turns."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from benchmarks.samplers.links import LinkCount, count_all, count_links, read_keys, row_pairs
from benchmarks.timing import at_once, in_turns
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.subgraph import Subgraph

Pairs = dict[EdgeType, NDArray[np.int32]]


@pytest.fixture(scope="module")
def subgraphs(nasty_store: Store) -> list[Subgraph]:
    config = HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6)
    sampler = HGSampling(nasty_store.graph, config, seed=2, before_s=nasty_store.schema.cutoff_s + 1)
    return sampler.sample(0, range(sampler.samples_per_epoch))


def changed(subgraph: Subgraph, edge_type: EdgeType, pairs: NDArray[np.int32]) -> Pairs:
    return {**row_pairs(subgraph), edge_type: pairs}


def test_the_join_counts_as_many_links_as_a_loop_and_none_is_lost(
    nasty_dataset: RelBenchDataset, nasty_store: Store, subgraphs: list[Subgraph]
) -> None:
    graph, expected = nasty_store.graph, 0
    for subgraph in subgraphs:
        rows = {table: set(r.tolist()) for table, r in subgraph.rows.items()}
        for edge_type in graph.edge_types:
            parent = graph.key_parent(edge_type)
            expected += sum(int(parent[row]) in rows[edge_type[2]] for row in rows[edge_type[0]])
    assert count_all(read_keys(nasty_dataset), subgraphs) == LinkCount(true=expected, lost=0, wrong=0)


def test_a_removed_link_is_lost_and_a_doubled_or_invented_one_is_wrong(
    nasty_dataset: RelBenchDataset, subgraphs: list[Subgraph]
) -> None:
    keys, subgraph = read_keys(nasty_dataset), subgraphs[0]
    edge_type, pairs = max(row_pairs(subgraph).items(), key=lambda item: item[1].shape[1])

    def found(changed_pairs: NDArray[np.int32]) -> tuple[int, int]:
        count = count_links(keys, subgraph.rows, changed(subgraph, edge_type, changed_pairs))
        return count.lost, count.wrong

    assert found(pairs) == (0, 0)
    assert found(pairs[:, 1:]) == (1, 0)
    assert found(np.concatenate([pairs, pairs[:, :1]], axis=1)) == (0, 1)
    other = pairs[1, pairs[1] != pairs[1, 0]][0]
    assert found(np.concatenate([pairs[:, 1:], [[pairs[0, 0]], [other]]], axis=1)) == (1, 1)


def test_calls_are_taken_in_turns_and_the_first_round_is_not_counted() -> None:
    order: list[tuple[str, int]] = []
    seconds = in_turns({n: lambda number, n=n: order.append((n, number)) for n in "ab"}, rounds=2)  # type: ignore[misc]
    assert order == [(n, number) for number in range(3) for n in "ab"]
    assert set(seconds) == {"a", "b"}


def test_what_fails_in_a_thread_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        at_once([lambda: None, lambda: 1 / 0])
