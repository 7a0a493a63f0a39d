"""Temporal kernels against loops over each row's neighbours, whatever the order in which a sampler found them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rdl_core.batches.edges import Edges, make_edges
from rdl_core.batches.pretraining_batch import collate
from rdl_core.config import CorruptionConfig, HGSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.model.aggregation import TemporalKernels
from rdl_core.sampling.hg_sampling import HGSampling

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS, NUM_SOURCES, NUM_TARGETS, HALF_LIVES = 4, 9, 6, (1.0, 4.0)
SOURCE, TARGET = np.array([5, 0, 3, 7, 8, 1, 2, 6, 4, 0]), np.array([0, 0, 2, 0, 0, 2, 4, 0, 2, 4])
TIME = np.array([30, 10, 10, 50, 20, 10, 40, 40, 0])  # sources 6 and 7 are of one time, as are 1, 2 and 5


def edges_of(source: np.ndarray = SOURCE, target: np.ndarray = TARGET) -> Edges:
    return make_edges(source, target, NUM_SOURCES, NUM_TARGETS, None, (TIME, np.arange(NUM_SOURCES)))


def views(x: Tensor) -> Tensor:
    """What a row sees of its neighbours, by loops: [targets, views * channels]."""
    out = torch.zeros(NUM_TARGETS, (3 + len(HALF_LIVES)) * CHANNELS, dtype=x.dtype)
    for row in range(NUM_TARGETS):
        neighbours = sorted(SOURCE[row == TARGET].tolist(), key=lambda s: (TIME[s], s), reverse=True)
        if not neighbours:
            continue
        parts = [x[neighbours[0]]]
        for half_life in HALF_LIVES:
            weights = [0.5 ** (rank / half_life) for rank in range(len(neighbours))]
            parts.append(sum(w * x[s] for w, s in zip(weights, neighbours, strict=True)) / sum(weights))  # type: ignore[arg-type]
        parts += [x[neighbours].mean(0), x[neighbours].max(0).values]
        out[row] = torch.cat(parts)
    return out


def test_the_views_are_those_of_loops_over_neighbours_from_the_most_recent_on() -> None:
    torch.manual_seed(0)
    kernels, x = TemporalKernels(CHANNELS, HALF_LIVES).double(), torch.randn(NUM_SOURCES, CHANNELS).double()
    found = kernels(x, x[:NUM_TARGETS], edges_of())
    torch.testing.assert_close(found, views(x) @ kernels.linear.weight.T, rtol=0, atol=1e-12)
    assert (found[[1, 3, 5]] == 0).all()


def test_the_gradient_is_that_of_the_value() -> None:
    torch.manual_seed(0)
    kernels, edges = TemporalKernels(CHANNELS, HALF_LIVES).double(), edges_of()
    x = torch.randn(NUM_SOURCES, CHANNELS).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, weight: kernels(x, x, edges), (x, kernels.linear.weight))


def test_the_order_in_which_neighbours_were_found_does_not_matter() -> None:
    kernels, x = TemporalKernels(CHANNELS, HALF_LIVES), torch.randn(NUM_SOURCES, CHANNELS)
    order = np.random.default_rng(1).permutation(len(SOURCE))
    found = [kernels(x, x, edges) for edges in (edges_of(), edges_of(SOURCE[order], TARGET[order]))]
    assert torch.equal(*found)


@pytest.mark.parametrize("num_sources", [3, 40])
def test_one_neighbour_each_is_seen_alike_by_all_views(num_sources: int) -> None:
    """Parents: the short way gives what the long way would, on whichever side there are fewer rows."""
    torch.manual_seed(0)
    kernels, x = TemporalKernels(CHANNELS, HALF_LIVES).double(), torch.randn(num_sources, CHANNELS).double()
    target = np.array([0, 2, 3, 7])
    source = np.array([0, 1, 2, 2])
    edges = make_edges(source, target, num_sources, 9)
    expected = torch.zeros(9, CHANNELS).double()
    for s, t in zip(source, target, strict=True):
        expected[t] = kernels.linear.weight @ x[s].repeat(5)
    torch.testing.assert_close(kernels(x, x, edges), expected, rtol=0, atol=1e-12)


def test_neighbours_in_no_known_order_are_refused() -> None:
    kernels, x = TemporalKernels(CHANNELS, HALF_LIVES), torch.randn(NUM_SOURCES, CHANNELS)
    with pytest.raises(ValueError, match="edges in the order of time"):
        kernels(x, x, make_edges(SOURCE, TARGET, NUM_SOURCES, NUM_TARGETS))


def test_equal_largest_neighbours_share_the_gradient() -> None:
    edges = make_edges(np.array([0, 1, 2]), np.array([0, 0, 0]), 3, 1)
    messages = torch.tensor([[2.0], [1.0], [2.0]], requires_grad=True)
    edges.largest(messages).backward(torch.tensor([[1.0]]))
    assert messages.grad is not None
    assert messages.grad.flatten().tolist() == [0.5, 0.0, 0.5]


def test_a_samples_edges_are_in_the_order_of_time_where_the_backbone_asks_for_it(nasty_store: Store) -> None:
    sampler = HGSampling(
        nasty_store.graph,
        HGSamplingConfig(seed_table="teams", seeds_per_sample=6, rows_per_hop=20),
        seed=0,
        before_s=nasty_store.schema.cutoff_s + 1,
    )
    samples, cursors = sampler.sample(0, [0]), [(0, 0)]
    of_store = nasty_store.graph, nasty_store.features, CorruptionConfig(target_link_share=0.2)
    plain, sorted_ = (collate(samples, cursors, *of_store, seed=0, newest_first=asked) for asked in (False, True))
    several = 0
    for edge_type, edges in sorted_.edges.items():
        child = edge_type[0]
        rows = np.tile(samples[0].rows[child].astype(np.int64), 2)
        dates = list(zip(nasty_store.graph.times_of(child, rows).tolist(), rows.tolist(), strict=True))
        for begin, end in zip(edges.row_ptr[:-1].tolist(), edges.row_ptr[1:].tolist(), strict=True):
            mine = [dates[s] for s in edges.source[begin:end].tolist()]
            assert mine == sorted(mine, reverse=True)
            several += len(mine) > 1
        assert edges.is_newest_first
        assert sorted(edges.edge_index.T.tolist()) == sorted(plain.edges[edge_type].edge_index.T.tolist())
        assert not plain.edges[edge_type].is_newest_first
    assert several > 10
