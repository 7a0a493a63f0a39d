"""Kernels of folded_map.py: all products of a table's encoders and weights in one call, and the picks of categories.

Promises: sums run in one order, so results are the same bits each time. Products are those of product_kernels.py (float32 on a CPU).
"""

from __future__ import annotations

import numpy as np
import torch
from numba import carray
from torch import Tensor

from rdl_core.kernel_cache import njit
from rdl_core.kernels.norm_relu import SUMS_IN_ANY_ORDER
from rdl_core.kernels.product_kernels import _float32_at, multiply

FEW = 8
"""Rows of E below which G's are single sums: turning a column of the weights costs as much as eight of them."""


def nonzero_cells(values: Tensor, widths: list[int]) -> Tensor:
    """[rows, columns] of 1 where any of a cell's numbers is not 0; values: [rows, sum of widths]."""
    if values.device.type == "cpu":
        return torch.from_numpy(_nonzero_cells(values.numpy(), np.array(widths)))
    return torch.stack([(v != 0).any(dim=1).to(v.dtype) for v in values.split(widths, dim=1)], dim=1)


@njit(cache=True, nogil=True)
def _nonzero_cells(values, widths):  # type: ignore[no-untyped-def]
    found = np.zeros((len(values), len(widths)), values.dtype)
    for i in range(len(values)):
        at = 0
        for j in range(len(widths)):
            for k in range(at, at + widths[j]):
                if values[i, k] != 0:
                    found[i, j] = 1
                    break
            at += widths[j]
    return found


@njit(cache=True, nogil=True)
def fold(runs, weights, stride, e, g):  # type: ignore[no-untyped-def]
    """G_c = E_c W_c^T of all runs (cells.py).

    weights: per map (address of its weight [out, stride], out); e [height, channels]; g [height, out of all maps].
    """
    channels, num_out = e.shape[1], g.shape[1]
    of_e, of_g = np.int64(e.ctypes.data), np.int64(g.ctypes.data)
    for first, columns, begin, height, column_step, step, _ in runs:
        for c in range(columns):
            row, at = begin + c * column_step, 0
            for address, out in weights:
                w = address + 4 * (first + c) * channels
                if height < FEW:
                    _dots(e, w, stride, row, step, height, g[:, at : at + out])
                else:
                    part, to = of_e + 4 * row * channels, of_g + 4 * (row * num_out + at)
                    multiply(
                        height, out, channels, part, step * channels, False, w, stride, True, 0, to, step * num_out, False
                    )  # fmt: skip
                at += out


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def _dots(e, w, stride, row, step, height, g):  # type: ignore[no-untyped-def]
    weight = carray(_float32_at(w), (g.shape[1], stride))
    for k in range(row, row + height * step, step):
        part, out = e[k], g[k]
        for j in range(g.shape[1]):
            total = np.float32(0)
            for i in range(e.shape[1]):
                total += part[i] * weight[j, i]
            out[j] = total


@njit(cache=True, nogil=True)
def unfold(runs, weights, stride, e, grad_g, grad_e, grad_weights):  # type: ignore[no-untyped-def]
    """Gradients of E_c and of W_c from that of G; grad_weights as weights."""
    channels, num_out = e.shape[1], grad_g.shape[1]
    of_e, of_g, to_e = np.int64(e.ctypes.data), np.int64(grad_g.ctypes.data), np.int64(grad_e.ctypes.data)
    for first, columns, begin, height, column_step, step, is_added in runs:
        for c in range(columns):
            row, at = begin + c * column_step, 0
            part, to, e_step, g_step = (
                of_e + 4 * row * channels,
                to_e + 4 * row * channels,
                step * channels,
                step * num_out,
            )
            for m in range(len(weights)):
                out, shift = weights[m, 1], 4 * (first + c) * channels
                g, w, to_w = of_g + 4 * (row * num_out + at), weights[m, 0] + shift, grad_weights[m, 0] + shift
                multiply(height, channels, out, g, g_step, False, w, stride, False, 0, to, e_step, m > 0)
                multiply(out, channels, height, g, g_step, True, part, e_step, False, 0, to_w, stride, is_added)
                if height == 0 and not is_added:
                    carray(_float32_at(to_w), (out, stride))[:, :channels] = 0
                at += out


@njit(cache=True, nogil=True)
def add_picked(g, index, offset, weight, z):  # type: ignore[no-untyped-def]
    """z[i] += sum over k of weight[k] g[index[k]], k from offset[i] to offset[i + 1]; weight empty: all 1."""
    for i in range(len(z)):
        out = z[i]
        for k in range(offset[i], offset[i + 1]):
            row, factor = g[index[k]], g.dtype.type(weight[k] if len(weight) else 1.0)
            for j in range(len(out)):
                out[j] += factor * row[j]


@njit(cache=True, nogil=True)
def add_back(grad, index, offset, weight, grad_g):  # type: ignore[no-untyped-def]
    """The gradient of add_picked."""
    for i in range(len(grad)):
        row = grad[i]
        for k in range(offset[i], offset[i + 1]):
            out, factor = grad_g[index[k]], grad.dtype.type(weight[k] if len(weight) else 1.0)
            for j in range(len(out)):
                out[j] += factor * row[j]
