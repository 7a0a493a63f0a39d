"""ReLU of a layer norm times a mask, and its gradient, against autograd; the kernels against PyTorch's operations."""

import pytest
import torch
from torch.nn.functional import layer_norm

from rdl_core.kernels.norm_relu import norm_relu, norm_relu_gradients


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("shape", [(0, 8), (1, 2), (7, 10), (40, 128)], ids=str)
def test_value_and_gradients_equal_autograd(shape: tuple[int, int], with_mask: bool) -> None:
    torch.manual_seed(0)
    x, added, scale, shift = (torch.randn(n, dtype=torch.float64) for n in (shape, *[(shape[1],)] * 3))
    mask = 1.25 * (torch.rand(shape, dtype=torch.float64) < 0.8) if with_mask else None
    leaves = [x, scale, shift, added]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = layer_norm(x + added, shape[1:], scale, shift).relu() * (1.0 if mask is None else mask)
    grad = torch.randn(shape, dtype=torch.float64)
    expected.backward(grad)
    with torch.no_grad():
        z = x + added
        y, moments = norm_relu(z, scale, shift, mask)
        grad_x, others = norm_relu_gradients(grad, z, y, moments, scale, 1.25 if with_mask else 1.0)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-12, atol=1e-12)
    for got, leaf in zip([grad_x, *others], leaves, strict=True):
        torch.testing.assert_close(got, leaf.grad, rtol=1e-11, atol=1e-11)


def test_nan_and_infinity_stay_visible() -> None:
    x = torch.randn(3, 16)
    x[0, 3], x[1, 5] = float("nan"), float("inf")
    y, _ = norm_relu(x, torch.ones(16), torch.zeros(16), None)
    assert y[0].isnan().any()
    assert y[1].isnan().any()
    assert y[2].isfinite().all()
