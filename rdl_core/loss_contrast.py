"""One table or key of a level in one call from Python: its logits, what they add to the loss, and all gradients (float32, on a CPU).

Equal to the operations of `_by_operations` (loss_terms.py), which a test compares.

A side of the block, anchors or candidates, is eight whole numbers, addresses of float32 matrices among them whose rows lie one after another:

    rows of a sample; x [num_samples * rows, channels]; matrix [channels, channels] or 0; whether that one lies across, its columns being memory's
    rows; the gradient of x; whether it is added to what is there; the gradient of the matrix, which lies as the matrix; whether that one is added

Without gradients to be computed, their addresses are not read.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rdl_core.loss_kernels import weigh
from rdl_core.product_kernels import multiply


@njit(cache=True, nogil=True)
def contrast(  # type: ignore[no-untyped-def]
    num_samples, channels, anchors, candidates, anchor, candidate, is_target, is_row, is_column, is_self_reference,
    skip_without_negative, is_both_ways, with_gradient,
):  # fmt: skip
    """(sum of losses, their number); anchors, candidates: see the file's text; the others: as of `weigh` (loss_kernels.py)."""
    num_rows, num_columns = anchors[0], candidates[0]
    of_a, of_c = _mapped(anchors, num_samples, channels), _mapped(candidates, num_samples, channels)
    a = np.int64(of_a.ctypes.data) if len(of_a) else anchors[1]
    c = np.int64(of_c.ctypes.data) if len(of_c) else candidates[1]
    logits = np.empty((num_samples, num_rows, num_columns), np.float32)
    weights, size = np.int64(logits.ctypes.data), 4 * num_rows * num_columns
    a_size, c_size = 4 * num_rows * channels, 4 * num_columns * channels
    for s in range(num_samples):
        at_a, at_c, at = a + s * a_size, c + s * c_size, weights + s * size
        multiply(
            num_rows, num_columns, channels, at_a, channels, False, at_c, channels, True, 0, at, num_columns, False
        )
    total, count = weigh(
        logits, anchor, candidate, is_target, is_row, is_column, is_self_reference, skip_without_negative, is_both_ways
    )
    if with_gradient:
        _add_gradients(anchors, num_samples, channels, weights, False, c, candidates[0])
        _add_gradients(candidates, num_samples, channels, weights, True, a, anchors[0])
    in_use = len(of_a) + len(of_c) + len(logits)  # until here: numba does not see it from their addresses
    return total, count, in_use


@njit(cache=True, nogil=True)
def _mapped(side, num_samples, channels):  # type: ignore[no-untyped-def]
    """x matrix^T, or nothing where there is no matrix."""
    rows, x, matrix, is_across = num_samples * side[0], side[1], side[2], side[3] == 1
    out = np.empty(rows * channels if matrix else 0, np.float32)
    if matrix:
        at = np.int64(out.ctypes.data)
        multiply(rows, channels, channels, x, channels, False, matrix, channels, not is_across, 0, at, channels, False)
    return out


@njit(cache=True, nogil=True)
def _add_gradients(side, num_samples, channels, weights, is_across, other, num_others):  # type: ignore[no-untyped-def]
    """From the weights [this side, other side] of each sample, or across, and the other side's rows: the gradients of x and matrix."""
    rows, x, matrix, is_matrix_across, grad, is_added, of_matrix, is_matrix_added = side
    out = np.empty(num_samples * rows * channels if matrix else 0, np.float32)
    at = np.int64(out.ctypes.data) if matrix else grad
    is_put_over, stride = matrix == 0 and is_added == 1, rows if is_across else num_others
    for s in range(num_samples):
        mine, others = weights + 4 * s * rows * num_others, other + 4 * s * num_others * channels
        here = at + 4 * s * rows * channels
        multiply(
            rows, channels, num_others, mine, stride, is_across, others, channels, False, 0, here, channels, is_put_over,
        )  # fmt: skip
    if matrix:
        all_rows, left, right = num_samples * rows, at, x
        if is_matrix_across == 1:
            left, right = x, at
        multiply(
            channels, channels, all_rows, left, channels, True, right, channels, False, 0, of_matrix, channels,
            is_matrix_added == 1,
        )  # fmt: skip
        multiply(
            all_rows, channels, channels, at, channels, False, matrix, channels, is_matrix_across == 1, 0, grad, channels,
            is_added == 1,
        )  # fmt: skip
    return len(out)
