"""The effective rank, which shows early when representations collapse.

Promises: it is computed in float64 and without a graph; rows that are not finite are refused, so the value is finite.
Cost: one singular value decomposition, O(num_rows * channels^2).
Source: Roy and Vetterli, The Effective Rank, EUSIPCO 2007.
"""

import math

import torch
from torch import Tensor


def effective_rank(h: Tensor) -> float:
    """Returns exp of the entropy of the normalised singular values of the centred rows: 1.0 to min(num_rows - 1, channels).

    1.0 means that the rows lie on a line. It is 1.0 by definition also for rows that are equal up to rounding in their dtype (singular values below
    4 eps * ||h|| count as 0) and for fewer than 2 rows.

    Args:
        h: [num_rows, channels], rows after message passing, of any floating dtype and on any device.

    Raises:
        ValueError: h is not a floating matrix, or a value is not finite.
    """
    rows = _checked(h)
    if rows.size(0) < 2 or rows.size(1) == 0:
        return 1.0
    singular = torch.linalg.svdvals(rows - rows.mean(dim=0))
    singular = singular[singular > 4 * torch.finfo(h.dtype).eps * torch.linalg.norm(rows)]
    if singular.numel() == 0:
        return 1.0
    share = singular / singular.sum()
    return math.exp(-float(torch.special.xlogy(share, share).sum()))


def _checked(h: Tensor) -> Tensor:
    """Returns h without its graph in float64."""
    if h.dim() != 2 or not h.is_floating_point():
        raise ValueError(
            f"h: expected a floating matrix [num_rows, channels], got shape {list(h.shape)} and {h.dtype}. "
            "Pass the rows of one table after message passing."
        )
    is_bad = ~h.detach().isfinite()
    if bool(is_bad.any()):
        row, channel = is_bad.nonzero()[0].tolist()
        raise ValueError(
            f"h: row {row}, channel {channel} is {h[row, channel].item()}, expected a finite number; "
            f"{int(is_bad.any(dim=1).sum())} of {h.size(0)} rows are affected. Training has diverged or an input was "
            "not finite: lower the learning rate or check the columns of this row's table."
        )
    return h.detach().double()
