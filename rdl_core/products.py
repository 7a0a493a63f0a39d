"""Matrix products of the hand-written functions: x weight^T + bias on the fastest kernel that PyTorch has for it.

On a CPU in float32, PyTorch's `mm` is MKL, which uses half of the vector width on processors of another maker; oneDNN, which is in the same PyTorch,
uses all of it (1.3 to 2.2 times the rate on an AMD EPYC). The operation is the one that torch.compile writes for a linear map; where it is missing,
and for other types and devices, `mm` does the same. Not for use under autograd or autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[rows, out] from x [rows, in], weight [out, in] and bias [out]; any of them may be a transposed view."""
    is_fast = HAS_ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu"
    if is_fast and x.numel() and weight.numel():
        if not (weight.is_contiguous() or weight.T.is_contiguous()):  # a part of wider rows
            weight = weight.contiguous()  # else oneDNN takes its reference kernel: a thousand times slower
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
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
