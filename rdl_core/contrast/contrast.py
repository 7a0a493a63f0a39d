"""One table or key of a level in one call from Python: its logits, what they add to the loss, and all gradients (float32, on a CPU).

Equal to the operations of `_by_operations` (loss_terms.py), which a test compares.

A side of the block, anchors or candidates, is eight whole numbers, addresses of float32 matrices among them whose rows lie one after another:

    rows of a sample; x [num_samples * rows, channels]; matrix [channels, channels] or 0; whether that one lies across, its columns being memory's
    rows; the gradient of x; whether it is added to what is there; the gradient of the matrix, which lies as the matrix; whether that one is added

Without gradients to be computed, their addresses are not read.

oneDNN keeps a kernel for each size, and samples come in all sizes: so rows, logits and gradients are multiplied in buffers whose sizes are multiples
of PADDING, with zeros below and to the right.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from rdl_core.contrast.loss_kernels import weigh
from rdl_core.kernel_cache import njit
from rdl_core.kernels.product_kernels import _float32_at, multiply

PADDING = 32


@njit(cache=True, nogil=True)
def contrast(  # type: ignore[no-untyped-def]
    num_samples, channels, anchors, candidates, anchor, candidate, is_target, is_row, is_column, is_self_reference,
    skip_without_negative, is_both_ways, with_gradient,
):  # fmt: skip
    """(sum of losses, their number); anchors, candidates: see the file's text; the others: as of `weigh` (loss_kernels.py)."""
    num_rows, num_columns = anchors[0], candidates[0]
    a, c = _mapped(anchors, num_samples, channels), _mapped(candidates, num_samples, channels)
    padded_rows, padded_columns = a.shape[1], c.shape[1]
    block = np.zeros((padded_rows, padded_columns), np.float32)
    logits = np.empty((num_samples, num_rows, num_columns), np.float32)
    at_a, at_c, at_block = _address(a), _address(c), _address(block)
    a_size, c_size = 4 * padded_rows * channels, 4 * padded_columns * channels
    for s in range(num_samples):
        multiply(
            padded_rows, padded_columns, channels, at_a + s * a_size, channels, False, at_c + s * c_size, channels, True, 0,
            at_block, padded_columns, False,
        )  # fmt: skip
        _copy(block, logits[s])
    total, count = weigh(
        logits, anchor, candidate, is_target, is_row, is_column, is_self_reference, skip_without_negative, is_both_ways
    )
    if with_gradient:
        of_a, of_c = np.empty_like(a), np.empty_like(c)
        to_a, to_c = _address(of_a), _address(of_c)
        block[:] = 0.0
        for s in range(num_samples):
            _copy(logits[s], block)
            multiply(
                padded_rows, channels, padded_columns, at_block, padded_columns, False, at_c + s * c_size, channels, False, 0,
                to_a + s * a_size, channels, False,
            )  # fmt: skip
            multiply(
                padded_columns, channels, padded_rows, at_block, padded_columns, True, at_a + s * a_size, channels, False, 0,
                to_c + s * c_size, channels, False,
            )  # fmt: skip
        _add_gradients(anchors, of_a)
        _add_gradients(candidates, of_c)
    in_use = len(a) + len(c) + len(block)  # until here: numba does not see it from their addresses
    return total, count, in_use


@njit(cache=True, nogil=True)
def _address(x):  # type: ignore[no-untyped-def]
    return np.int64(x.ctypes.data)


@njit(cache=True, nogil=True)
def _copy(source, out):  # type: ignore[no-untyped-def]
    """What both have."""
    num_columns = min(source.shape[1], out.shape[1])
    for i in range(min(source.shape[0], out.shape[0])):
        left, right = source[i], out[i]
        for j in range(num_columns):
            right[j] = left[j]


@njit(cache=True, nogil=True)
def _mapped(side, num_samples, channels):  # type: ignore[no-untyped-def]
    """[num_samples, padded rows, channels]: x, or x matrix^T where there is a matrix; zeros below."""
    num_rows, x, matrix, is_across = side[0], side[1], side[2], side[3] == 1
    padded = (num_rows + PADDING - 1) // PADDING * PADDING
    out = np.empty((num_samples, padded, channels), np.float32)
    for s in range(num_samples):
        mine, from_x = out[s], x + 4 * s * num_rows * channels
        if matrix:
            multiply(
                num_rows, channels, channels, from_x, channels, False, matrix, channels, not is_across, 0, _address(mine), channels,
                False,
            )  # fmt: skip
        else:
            _copy(carray(_float32_at(from_x), (num_rows, channels)), mine)
        mine[num_rows:] = 0.0
    return out


@njit(cache=True, nogil=True)
def _add_gradients(side, of_mapped):  # type: ignore[no-untyped-def]
    """From the gradient of the mapped rows [num_samples, padded rows, channels]: those of x and matrix."""
    num_rows, x, matrix, is_across, grad, is_added, of_matrix, is_matrix_added = side
    num_samples, _, channels = of_mapped.shape
    for s in range(num_samples):
        mine, shift = of_mapped[s], 4 * s * num_rows * channels
        if matrix == 0:
            _add(mine, carray(_float32_at(grad + shift), (num_rows, channels)), is_added == 1)
            continue
        at, from_x = _address(mine), x + shift
        left, right = (from_x, at) if is_across == 1 else (at, from_x)
        multiply(
            channels, channels, num_rows, left, channels, True, right, channels, False, 0, of_matrix, channels,
            is_matrix_added == 1 or s > 0,
        )  # fmt: skip
        multiply(
            num_rows, channels, channels, at, channels, False, matrix, channels, is_across == 1, 0, grad + shift, channels,
            is_added == 1,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _add(rows, out, is_added):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        left, right = rows[i], out[i]
        for j in range(len(right)):
            right[j] = right[j] + left[j] if is_added else left[j]
