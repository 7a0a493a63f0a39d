"""Matrix products of the hand-written functions: x weight^T + bias on the fastest kernel that PyTorch has for it.

On a CPU in float32 that is oneDNN's (product_kernels.py): PyTorch's `mm` is MKL, which uses half of the vector width on processors of another
maker. For other types and devices, or without that kernel, it is `mm`. Not for use under autograd.

Under autocast, operands are rounded to its type, a kernel adds up in float32, and the result has x's type again: norms, sums of rows and residuals
between products stay float32. The hand-written functions ask `product_dtype` in their forward pass, where autocast is on, and keep the answer for
their backward pass, where it is not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.kernels.product_kernels import HAS_KERNEL, multiply


def product_dtype(x: Tensor) -> torch.dtype:
    """What products of x are computed in: autocast's type for float32 where it is on, else x's own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if x.dtype == torch.float32 and torch.is_autocast_enabled(kind) else x.dtype


def product(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
    is_added: bool = False,
) -> Tensor:
    """[rows, out] from x [rows, in], weight [out, in] and bias [out].

    x and weight may be transposed views or parts of wider rows.

    Args:
        dtype: What operands are rounded to (`product_dtype`); None: nothing is.
        out: Takes the result.
        is_added: To what `out` holds.
    """
    if dtype is not None and dtype != x.dtype:
        return _put((x.to(dtype) @ weight.to(dtype).T).to(x.dtype), bias, out, is_added)
    rows, inner, columns = x.shape[0], x.shape[1], weight.shape[0]
    is_fast = HAS_KERNEL and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    fits = inner == weight.shape[1] and (
        bias is None or _is_row(bias, columns, x.dtype)
    )  # else `mm` says what does not
    if not (is_fast and fits and rows and inner and columns):
        return _put(x @ weight.T, bias, out, is_added)
    if out is None:
        out = x.new_empty(rows, columns)
    elif out.shape != (rows, columns) or out.dtype != x.dtype or out.stride(1) != 1 or out.stride(0) < columns:
        return _put(product(x, weight, bias), None, out, is_added)
    x, x_stride, is_x_across = _layout(x)
    weight, weight_stride, is_weight_across = _layout(weight)
    of_bias = 0 if bias is None else bias.data_ptr()
    multiply(
        rows, columns, inner, x.data_ptr(), x_stride, is_x_across, weight.data_ptr(), weight_stride, not is_weight_across,
        of_bias, out.data_ptr(), out.stride(0), is_added,
    )  # fmt: skip
    return out


def _is_row(bias: Tensor, columns: int, dtype: torch.dtype) -> bool:
    return bias.shape == (columns,) and bias.dtype == dtype and (bias.stride(0) == 1 or columns == 1)


def _layout(x: Tensor) -> tuple[Tensor, int, bool]:
    """(x or a copy that lies well, cells from row to row in memory, whether memory's rows are x's columns)."""
    (rows, columns), (row_stride, column_stride) = x.shape, x.stride()
    if column_stride == 1 and row_stride >= columns:
        return x, row_stride, False
    if row_stride == 1 and column_stride >= rows:
        return x, column_stride, True
    return x.contiguous(), columns, False


def _put(product: Tensor, bias: Tensor | None, out: Tensor | None, is_added: bool) -> Tensor:
    if bias is not None:
        product.add_(bias)
    if out is None:
        return product
    return out.add_(product) if is_added else out.copy_(product)
