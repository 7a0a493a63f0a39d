"""Products on whichever kernel: equal to `mm`, transposed views and empty sides included; padding of rows."""

from __future__ import annotations

import pytest
import torch

from rdl_core.products import pad_rows, padded_size, product


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "inner", "out"), [(5, 3, 4), (64, 128, 128), (0, 3, 4), (5, 0, 4), (5, 3, 0)])
def test_equals_mm(rows: int, inner: int, out: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, w, b = torch.randn(rows, inner, dtype=dtype), torch.randn(out, inner, dtype=dtype), torch.randn(out, dtype=dtype)
    exact = x.double() @ w.double().T
    for found, expected in (
        (product(x, w), exact),
        (product(x, w, b), exact + b.double()),
        (product(x.T.contiguous().T, w.T.contiguous().T), exact),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_few_sizes_cover_all_numbers_of_rows_with_little_waste() -> None:
    sizes = [padded_size(n) for n in range(1, 20_000)]
    assert all(size >= n for n, size in enumerate(sizes, 1))
    assert all(size <= 1.125 * n + 32 for n, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 100
    assert padded_size(0) == 0


def test_padding_adds_zeros_below() -> None:
    x = torch.randn(5, 3)
    padded = pad_rows(x)
    assert padded.shape == (32, 3)
    assert torch.equal(padded[:5], x)
    assert (padded[5:] == 0).all()
    assert pad_rows(padded) is padded
