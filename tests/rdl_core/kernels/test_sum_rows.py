"""Sums over edges against plain references, in value and gradient, on a CPU and where there is one on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rdl_core.batches.edges import Edges, counting_sort, make_edges
from rdl_core.batches.transfer import on_device
from rdl_core.kernels.softmax_rows import softmax_rows_reference
from rdl_core.kernels.sum_rows import sum_rows_reference

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
SIZES = [(40, 7, 5), (3, 30, 9), (0, 4, 6), (0, 0, 3), (0, 3, 0)]


def random_edges(num_edges: int, num_targets: int, num_sources: int) -> Edges:
    generator = np.random.default_rng(num_edges)
    source, target = (generator.integers(max(1, n), size=num_edges) for n in (num_sources, num_targets))
    return make_edges(source, target, num_sources, num_targets)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("edges", "targets", "sources"), SIZES)
def test_sums_and_gathers_equal_the_reference_in_value_and_gradient(
    edges: int, targets: int, sources: int, device: str
) -> None:
    some = random_edges(edges, targets, sources)
    some = on_device(some, torch.device(device))
    each = some.each[:-1]
    for name, index, row_ptr, num_rows in (
        ("sum_sources", some.source, some.row_ptr, sources),
        ("sum_edges", each, some.row_ptr, edges),
        ("of_sources", some.source, some.each, sources),
        ("of_targets", some.target, some.each, targets),
    ):
        x = torch.randn(num_rows, 6, dtype=torch.float64, device=device, requires_grad=True)
        expected, found = sum_rows_reference(x, index, row_ptr), getattr(some, name)(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        upstream = torch.randn_like(expected)
        gradients = [torch.autograd.grad(y, x, upstream)[0] for y in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("edges", "targets", "sources"), SIZES)
def test_weighted_sums_equal_the_reference_in_value_and_gradient(
    edges: int, targets: int, sources: int, device: str
) -> None:
    some = on_device(random_edges(edges, targets, sources), torch.device(device))
    x = torch.randn(sources, 6, dtype=torch.float64, device=device, requires_grad=True)
    weights = torch.randn(edges, dtype=torch.float64, device=device)
    found = some.sum_sources(x, weights)
    expected = sum_rows_reference(x, some.source, some.row_ptr, weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, x, upstream)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("edges", "targets", "sources"), SIZES)
def test_softmax_equals_the_reference_in_value_and_gradient(
    edges: int, targets: int, sources: int, device: str
) -> None:
    some = random_edges(edges, targets, sources)
    some = on_device(some, torch.device(device))
    scores = (300 * torch.randn(edges, 3, dtype=torch.float64, device=device)).requires_grad_()
    found, expected = some.softmax(scores), softmax_rows_reference(scores, some.row_ptr)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, scores, upstream)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_edges_keep_their_order_within_a_target_and_find_their_sources() -> None:
    edges = make_edges(np.array([4, 0, 2, 0]), np.array([1, 0, 1, 1]), 5, 3, np.arange(5, dtype=np.float32))
    assert edges.edge_index.tolist() == [[0, 4, 2, 0], [0, 1, 1, 1]]
    assert edges.row_ptr.tolist() == [0, 1, 4, 4]
    assert edges.degree.flatten().tolist() == [1, 3, 1]
    assert edges.target_by_source.tolist() == [0, 1, 1, 1]
    assert edges.age_days is not None
    assert edges.age_days.tolist() == [0, 4, 2, 0]


def test_an_end_that_is_no_node_is_refused() -> None:
    with pytest.raises(IndexError, match=r"source nodes must be 0 to 4, got 5 to 5"):
        make_edges(np.array([5]), np.array([0]), 5, 1)


def test_sorting_keeps_the_order_of_ties_and_counts_empty_keys() -> None:
    order, begins = counting_sort(np.array([3, 1, 3, 0, 1]), 5)
    assert order.tolist() == [3, 1, 4, 0, 2]
    assert begins.tolist() == [0, 1, 3, 3, 5, 5]
