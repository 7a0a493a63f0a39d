"""Sparse sums of rows against a dense matrix, in value and gradient."""

from __future__ import annotations

import pytest
import torch

from rdl_core.kernels.sum_rows import RowSums, sort_by


def random_sums(
    num_entries: int, num_targets: int, num_sources: int, *, weighted: bool
) -> tuple[RowSums, torch.Tensor]:
    """(sums, the matrix [targets, sources] that they stand for)."""
    generator = torch.Generator().manual_seed(num_entries)
    target = torch.randint(max(1, num_targets), (num_entries,), generator=generator)
    source = torch.randint(max(1, num_sources), (num_entries,), generator=generator)
    weight = torch.rand(num_entries, dtype=torch.float64, generator=generator) if weighted else None
    matrix = torch.zeros(num_targets, num_sources, dtype=torch.float64)
    for i in range(num_entries):
        matrix[target[i], source[i]] += 1.0 if weight is None else weight[i]
    return RowSums.of(target, source, weight, num_targets, num_sources), matrix


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("entries", "targets", "sources"), [(40, 7, 5), (3, 30, 9), (0, 4, 6), (0, 0, 3), (0, 3, 0)])
def test_equals_the_dense_product_both_ways(entries: int, targets: int, sources: int, weighted: bool) -> None:
    sums, matrix = random_sums(entries, targets, sources, weighted=weighted)
    x = torch.randn(sources, 6, dtype=torch.float64)
    expected = matrix @ x
    torch.testing.assert_close(sums(x), expected, rtol=0, atol=1e-12)
    upstream = torch.randn(targets, 6, dtype=torch.float64)
    torch.testing.assert_close(sums.transposed(upstream), matrix.T @ upstream, rtol=0, atol=1e-12)
    torch.testing.assert_close(sums(x.float()), expected.float(), rtol=1e-5, atol=1e-5)


def test_sorting_keeps_the_order_of_ties_and_counts_empty_keys() -> None:
    order, begins = sort_by(torch.tensor([3, 1, 3, 0, 1]), 5)
    assert order.tolist() == [3, 1, 4, 0, 2]
    assert begins.tolist() == [0, 1, 3, 3, 5, 5]
