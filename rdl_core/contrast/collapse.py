"""Three measures that show early when representations collapse.

In: rows after message passing, [num_rows, channels], any floating dtype and device. Out: one Python float each.
Invariants: computed in float64 and without a graph. Rows that are not finite are refused, so every value is finite.
With too few rows to measure, each returns its value for rows that are all equal, as stated below.
Cost: effective_rank one singular value decomposition, O(num_rows * channels^2); uniformity at most 2,048^2 / 2 pairs.
Source: Roy and Vetterli, The Effective Rank, EUSIPCO 2007; Wang and Isola, Understanding Contrastive Representation
Learning through Alignment and Uniformity on the Hypersphere, ICML 2020.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

MAX_UNIFORMITY_ROWS = 2048


def effective_rank(h: Tensor) -> float:
    """exp of the entropy of the normalised singular values of the centred rows: 1.0 to min(num_rows - 1, channels).

    h: [num_rows, channels]. 1.0 means that the rows lie on a line. 1.0 by definition also for rows that are equal up to
    rounding in their dtype (singular values below 4 eps * ||h|| count as 0) and for fewer than 2 rows.
    Raises ValueError if h is not a floating matrix or has a value that is not finite.
    """
    rows = _checked("h", h)
    if rows.size(0) < 2 or rows.size(1) == 0:
        return 1.0
    singular = torch.linalg.svdvals(rows - rows.mean(dim=0))
    singular = singular[singular > 4 * torch.finfo(h.dtype).eps * torch.linalg.norm(rows)]
    if singular.numel() == 0:
        return 1.0
    share = singular / singular.sum()
    return math.exp(-float(torch.special.xlogy(share, share).sum()))


def alignment(h: Tensor, h_positive: Tensor) -> float:
    """Mean squared distance between each row and its positive, both scaled to length 1; from 0.0 to 4.0.

    h, h_positive: [num_rows, channels], paired by row. A row of zeros stays zero. 0.0 by definition without rows.
    Raises ValueError if the shapes differ, or one is not a floating matrix or has a value that is not finite.
    """
    rows, positives = _checked("h", h), _checked("h_positive", h_positive)
    if rows.shape != positives.shape:
        raise ValueError(
            f"h has shape {list(h.shape)} and h_positive {list(h_positive.shape)}; expected one positive for each row. "
            "Pass both views of the same rows in the same order."
        )
    if rows.size(0) == 0:
        return 0.0
    return float((normalize(rows) - normalize(positives)).square().sum(dim=1).mean())


def uniformity(h: Tensor) -> float:
    """log of the mean over pairs of rows, scaled to length 1, of exp(-2 * squared distance); from -8.0 to 0.0.

    h: [num_rows, channels]; only the first 2,048 rows are used, so that time and memory stay bounded: shuffle rows that
    come in an order. Lower is more uniform; 0.0 means that all rows are equal, and by definition fewer than 2 rows.
    Raises ValueError if h is not a floating matrix or has a value that is not finite.
    """
    rows = normalize(_checked("h", h)[:MAX_UNIFORMITY_ROWS])
    if rows.size(0) < 2:
        return 0.0
    exponents = -2 * torch.pdist(rows).square()
    return float(exponents.logsumexp(dim=0)) - math.log(exponents.numel())


def _checked(name: str, h: Tensor) -> Tensor:
    """h without graph in float64."""
    if h.dim() != 2 or not h.is_floating_point():
        raise ValueError(
            f"{name}: expected a floating matrix [num_rows, channels], got shape {list(h.shape)} and {h.dtype}. "
            "Pass the rows of one table after message passing."
        )
    is_bad = ~h.detach().isfinite()
    if bool(is_bad.any()):
        row, channel = is_bad.nonzero()[0].tolist()
        raise ValueError(
            f"{name}: row {row}, channel {channel} is {h[row, channel].item()}, expected a finite number; "
            f"{int(is_bad.any(dim=1).sum())} of {h.size(0)} rows are affected. Training has diverged or an input was "
            "not finite: lower the learning rate or check the columns of this row's table."
        )
    return h.detach().double()
