"""Matrix products of the hand-written functions: x weight^T + bias on the fastest kernel that PyTorch has for it.

On a CPU in float32, PyTorch's `mm` is MKL, which uses half of the vector width on processors of another maker; oneDNN, which is in the same PyTorch,
uses all of it (1.3 to 2.2 times the rate on an AMD EPYC). The operation is the one that torch.compile writes for a linear map; where it is missing,
and for other types and devices, `mm` does the same. Not for use under autograd.

Under autocast, operands are rounded to its type, a kernel adds up in float32, and the result has x's type again: norms, sums of rows and residuals
between products stay float32. The hand-written functions ask `product_dtype` in their forward pass, where autocast is on, and keep the answer for
their backward pass, where it is not.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product_dtype(x: Tensor) -> torch.dtype:
    """What products of x are computed in: autocast's type for float32 where it is on, else x's own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if x.dtype == torch.float32 and torch.is_autocast_enabled(kind) else x.dtype


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, dtype: torch.dtype | None = None) -> Tensor:
    """[rows, out] from x [rows, in], weight [out, in] and bias [out]; any of them may be a transposed view.

    dtype: What operands are rounded to (`product_dtype`); None: nothing is.
    """
    if dtype is not None and dtype != x.dtype:
        out = (x.to(dtype) @ weight.to(dtype).T).to(x.dtype)
        return out if bias is None else out.add_(bias)
    is_fast = HAS_ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu"
    if is_fast and x.numel() and weight.numel():
        if not (weight.is_contiguous() or weight.T.is_contiguous()):  # a part of wider rows
            weight = weight.contiguous()  # else oneDNN takes its reference kernel: a thousand times slower
        linear: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return linear
    return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)


def padded_size(rows: int) -> int:
    """The next multiple of 32, of many rows that of an eighth to a sixteenth of them.

    oneDNN compiles a kernel for every new shape (a millisecond) and keeps the last thousand, so there should be few.
    """
    multiple = max(32, 1 << max(0, rows.bit_length() - 4))
    return -(-rows // multiple) * multiple


def pad_rows(x: Tensor) -> Tensor:
    """Rows of zeros below, up to the padded size; x itself where there are none to add."""
    missing = padded_size(x.shape[0]) - x.shape[0]
    return pad(x, (0, 0, 0, missing)) if missing else x
