"""Dropout masks that belong to a row: a row of a sample draws from its own stream, whatever batch and device it travels in.

Promises: a mask is a function of (key of the row, number of the module, position within the row), the same bits on every device. A cell is dropped
with the probability rounded to a multiple of 2^-16: one 64-bit draw serves four cells. On a CPU a numba kernel draws the masks, elsewhere PyTorch's
integer operations do (`dropout_mask_reference`), without a transfer. Cost of the kernel: 0.1 ns a cell, a hundredth of torch's dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rdl_core.kernel_cache import njit
from rdl_core.random_streams import PURPOSE_DROPOUT, fold, fold_each, mix, stream

GAMMA = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def row_keys(segments: Sequence[tuple[int, tuple[int, ...]]]) -> Tensor:
    """Returns int64 [rows], a key per row.

    Args:
        segments: Consecutive (rows, numbers that name their stream), such as (rows of a sample, (seed, epoch, sample, view)).
    """
    parts = [fold_each(stream(PURPOSE_DROPOUT, *numbers), np.arange(rows)) for rows, numbers in segments]
    return torch.from_numpy(np.concatenate([np.zeros(0, np.uint64), *parts]).view(np.int64))


def dropout_mask(keys: Tensor, numbers: range, cells: int, probability: float) -> Tensor:
    """Returns float32 [masks, rows, cells] of 0 and 1 / (1 - probability).

    Args:
        keys: int64 [rows].
        numbers: One per mask; they tell the dropout modules of one model, and the calls of each, apart.
        cells: Cells per row.
        probability: Probability of a zero, in [0, 1).
    """
    if keys.device.type != "cpu":
        return dropout_mask_reference(keys, numbers, cells, probability)
    masks = np.empty((len(numbers), len(keys), cells), np.float32)
    for mask, number in zip(masks, numbers, strict=True):
        _fill(mask, keys.numpy(), number, np.uint64(_threshold(probability)), np.float32(1.0 / (1.0 - probability)))
    return torch.from_numpy(masks)


@njit(cache=True, nogil=True)
def _fill(mask, keys, number, threshold, scale):  # type: ignore[no-untyped-def]
    cells, low = mask.shape[1], np.uint64(0xFFFF)
    for i in range(len(keys)):
        start, row = fold(np.uint64(keys[i]), number), mask[i]
        for j in range(cells // 4):
            draws = mix(start + np.uint64(j) * np.uint64(GAMMA))
            row[4 * j] = scale if (draws & low) >= threshold else np.float32(0.0)
            row[4 * j + 1] = scale if ((draws >> np.uint64(16)) & low) >= threshold else np.float32(0.0)
            row[4 * j + 2] = scale if ((draws >> np.uint64(32)) & low) >= threshold else np.float32(0.0)
            row[4 * j + 3] = scale if (draws >> np.uint64(48)) >= threshold else np.float32(0.0)
        draws = mix(start + np.uint64(cells // 4) * np.uint64(GAMMA))
        for j in range(cells // 4 * 4, cells):
            row[j] = scale if ((draws >> np.uint64(16 * (j % 4))) & low) >= threshold else np.float32(0.0)


def dropout_mask_reference(keys: Tensor, numbers: range, cells: int, probability: float) -> Tensor:
    """Returns the same by PyTorch's operations, on any device, in as many operations for all masks as for one."""
    number = torch.arange(numbers.start, numbers.stop, numbers.step, device=keys.device).unsqueeze(1)
    start = _mixed((keys ^ _mixed(number + _signed(GAMMA))) + _signed(GAMMA))
    counters = torch.arange((cells + 3) // 4, device=keys.device) * _signed(GAMMA)
    draws = _mixed(start.unsqueeze(-1) + counters)
    parts = torch.stack([_shifted(draws, shift) & 0xFFFF for shift in (0, 16, 32, 48)], dim=-1)
    kept = parts.flatten(-2)[..., :cells] >= _threshold(probability)
    return kept.to(torch.float32) * np.float32(1.0 / (1.0 - probability)).item()


def _threshold(probability: float) -> int:
    return round(probability * 65536)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _shifted(x: Tensor, places: int) -> Tensor:
    """Returns int64 shifted to the right as if it had no sign."""
    return (x >> places) & ((1 << (64 - places)) - 1)


def _mixed(x: Tensor) -> Tensor:
    """Returns `random_streams.mix` on int64, whose arithmetic wraps alike."""
    x = (x ^ _shifted(x, 30)) * _signed(MIX_1)
    x = (x ^ _shifted(x, 27)) * _signed(MIX_2)
    return x ^ _shifted(x, 31)
