"""Products on whichever kernel: equal to `mm` in float64 however operands lie in memory; the same bits for a row whatever is beside it."""

from __future__ import annotations

import itertools
import platform

import pytest
import torch
from torch import Tensor

from rdl_core.kernels.linear import product
from rdl_core.kernels.product_kernels import HAS_KERNEL

SHAPES = [(5, 3, 4), (64, 128, 128), (200, 57, 256), (1, 7, 9), (9, 1, 7), (7, 9, 1), (131, 150, 40), (0, 3, 4), (5, 0, 4), (5, 3, 0)]  # fmt: skip
LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: x.T.contiguous().T,
    "part of wider rows": lambda x: torch.cat([x, x.new_full((len(x), 3), torch.nan)], dim=1)[:, : x.shape[1]],
    "part of longer columns": lambda x: torch.cat([x, x.new_full((2, x.shape[1]), torch.nan)]).T.contiguous().T[: len(x)],
    "every second cell": lambda x: torch.stack([x, x.new_full(x.shape, torch.nan)], dim=2)[:, :, 0],
}  # fmt: skip


def test_the_kernel_is_found_where_most_people_run_it() -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("PyTorch's library has another name or lacks the symbol on this system; `mm` is used")
    assert HAS_KERNEL, "this PyTorch has the micro-kernel under another name: steps are slower by a third"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
def test_equals_mm_in_every_layout(rows: int, inner: int, columns: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, w, b = (torch.randn(*n, dtype=dtype) for n in ((rows, inner), (columns, inner), (columns,)))
    before, exact = torch.randn(rows, columns, dtype=dtype), x.double() @ w.double().T
    for of_x, of_w in itertools.product(LAYOUTS.values(), repeat=2):
        left, right = of_x(x), of_w(w)
        _close(product(left, right), exact, dtype)
        _close(product(left, right, b), exact + b.double(), dtype)
        for bias, is_added in itertools.product((None, b), (False, True)):
            wide = torch.cat([before, before], dim=1)
            out = wide[:, :columns]
            assert product(left, right, bias, out=out, is_added=is_added) is out
            expected = exact + (0 if bias is None else bias.double()) + (before.double() if is_added else 0)
            _close(out, expected, dtype)
            assert torch.equal(wide[:, columns:], before)  # nothing is written beside


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(200, 57), torch.randn(128, 57)
    together = product(x, w)
    for begin, end in ((0, 1), (3, 70), (150, 200), (64, 128)):
        assert torch.equal(product(x[begin:end], w), together[begin:end])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        product(torch.ones(2, 3), torch.ones(4, 2))


def test_biases_and_results_that_do_not_lie_well() -> None:
    torch.manual_seed(0)
    x, w, b = torch.randn(70, 12), torch.randn(9, 12), torch.randn(9)
    exact = x.double() @ w.double().T
    for bias in (torch.stack([b, b], dim=1)[:, 0], b[:1].expand(9), b[:1]):
        _close(product(x, w, bias), exact + bias.double(), torch.float32)
    for out in (torch.ones(9, 70).T, torch.ones(70, 9, 2)[:, :, 0]):
        product(x, w, b, out=out, is_added=True)
        _close(out, exact + b.double() + 1.0, torch.float32)
    with pytest.raises(RuntimeError, match="must match"):
        product(x, w, b[:3])
    with pytest.raises(RuntimeError, match="must match|broadcast"):
        product(x, w, out=torch.ones(70, 3))
