"""ReLU of a layer norm (Ba et al. 2016) times a dropout mask, and its gradient, in one pass over the rows each.

    y = relu(scale x^ + shift) mask,    x^ = (x - mean) r,    r = 1 / sqrt(variance + 1e-5),    mean and variance over a row's channels
    with g = (gradient of y) factor where y > 0, else 0, and p = g scale:    gradient of x = r (p - mean(p) - x^ mean(p x^))

A mask is 0 or factor, so it need not be kept: a cell is positive exactly where its gradient passes. On a CPU these are two numba kernels, which
read a row from the first-level cache where PyTorch's four operations read the whole block from the second; elsewhere PyTorch's operations.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.kernel_cache import njit

EPSILON = 1e-5
SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
"""What the compiler may do: vector instructions for sums. NaN and infinity stay what they are."""


def norm_relu(
    x: Tensor, scale: Tensor, shift: Tensor, mask: Tensor | None, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(y [rows, channels], moments [2, rows]: mean and r) of x [rows, channels]; `out` takes y. Not under autograd."""
    y = torch.empty_like(x) if out is None else out
    if x.device.type == "cpu":
        moments, no_mask = x.new_empty(2, x.shape[0]), x if mask is None else mask
        rows, scales, shifts, masks = (_array(t) for t in (x, scale, shift, no_mask))
        _forward(rows, scales, shifts, masks, mask is not None, y.numpy(), moments.numpy())
        return y, moments
    normed, mean, rstd = torch.native_layer_norm(x, x.shape[1:], scale, shift, EPSILON)
    torch.clamp_min(normed, 0.0, out=y)
    if mask is not None:
        y.mul_(mask)
    return y, torch.stack([mean.view(-1), rstd.view(-1)])


def norm_relu_gradients(
    grad: Tensor, x: Tensor, y: Tensor, moments: Tensor, scale: Tensor, factor: float, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(gradient of x [rows, channels], gradients [3, channels] of scale, of shift, and of what was added to every row of x).

    `out` takes the first one.
    """
    if grad.device.type == "cpu":
        grad_x, sums = torch.empty_like(x) if out is None else out, x.new_zeros(3, x.shape[1])
        above, rows, seen, of_rows, scales = (_array(t) for t in (grad, x, y, moments, scale))
        _backward(above, rows, seen, of_rows, scales, factor, grad_x.numpy(), sums.numpy())
        return grad_x, sums
    grad = torch.ops.aten.threshold_backward(grad, y, 0.0) * factor
    mean, rstd = moments.unsqueeze(2)
    grad_x, grad_scale, grad_shift = torch.ops.aten.native_layer_norm_backward(
        grad, x, x.shape[1:], mean, rstd, scale, scale, [True] * 3
    )
    return grad_x if out is None else out.copy_(grad_x), torch.stack([grad_scale, grad_shift, grad_x.sum(0)])


def _array(x: Tensor) -> NDArray:
    return (x.detach() if x.requires_grad else x).numpy()


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def _forward(x, scale, shift, mask, has_mask, y, moments):  # type: ignore[no-untyped-def]
    channels = x.shape[1]
    one, zero, epsilon = x.dtype.type(1), x.dtype.type(0), x.dtype.type(EPSILON)
    for i in range(x.shape[0]):
        row, out = x[i], y[i]
        total = zero
        for j in range(channels):
            total += row[j]
        mean, squares = total / x.dtype.type(channels), zero
        for j in range(channels):
            squares += (row[j] - mean) * (row[j] - mean)
        r = one / np.sqrt(squares / x.dtype.type(channels) + epsilon)
        moments[0, i], moments[1, i] = mean, r
        for j in range(channels):
            value = (row[j] - mean) * r * scale[j] + shift[j]
            out[j] = zero if value < zero else value  # NaN stays
        if has_mask:
            factors = mask[i]
            for j in range(channels):
                out[j] *= factors[j]


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def _backward(grad, x, y, moments, scale, factor, grad_x, sums):  # type: ignore[no-untyped-def]
    channels = x.shape[1]
    zero, times, one_channel = x.dtype.type(0), x.dtype.type(factor), x.dtype.type(1.0 / x.shape[1])
    hat, pulled = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    of_scale, of_shift, of_row = sums[0], sums[1], sums[2]
    for i in range(x.shape[0]):
        row, above, seen, out, mean, r = x[i], grad[i], y[i], grad_x[i], moments[0, i], moments[1, i]
        total, along = zero, zero
        for j in range(channels):
            g = above[j] * times if seen[j] > zero else zero
            hat[j] = (row[j] - mean) * r
            of_scale[j] += g * hat[j]
            of_shift[j] += g
            pulled[j] = g * scale[j]
        for j in range(channels):
            total += pulled[j]
            along += pulled[j] * hat[j]
        total, along = total * one_channel, along * one_channel
        for j in range(channels):
            out[j] = r * (pulled[j] - total - hat[j] * along)
            of_row[j] += out[j]
