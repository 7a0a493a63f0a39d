"""Dropout masks that belong to a sample: rows of one sample draw from that sample's stream, whatever batch it travels in.

Promises: a mask is a function of (stream of the sample, number of the module, number of the mask) and of the position in it; drawn on the CPU, so
that every device sees the same masks. A cell is dropped with the probability rounded to a multiple of 2^-16: one 64-bit draw serves four cells.
Cost: 0.1 ns a cell, a hundredth of torch's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rdl_core.kernel_cache import njit
from rdl_core.random_streams import PURPOSE_DROPOUT, fold, mix, stream

Segments = Sequence[tuple[int, tuple[int, ...]]]
"""Consecutive (rows, stream) pairs that cover the rows."""


@njit(cache=True, nogil=True)
def _fill(masks, first, length, key, threshold, scale):  # type: ignore[no-untyped-def]
    """float32 [masks, cells], cells first to first + length, with 0 or scale: one 64-bit draw serves four cells, the last one maybe fewer."""
    low = np.uint64(0xFFFF)
    for k in range(masks.shape[0]):
        start, mask = fold(key, k), masks[k, first : first + (length + 3) // 4 * 4]
        for i in range((length + 3) // 4):
            draws = mix(start + np.uint64(i) * np.uint64(0x9E3779B97F4A7C15))
            mask[4 * i] = scale if (draws & low) >= threshold else np.float32(0.0)
            mask[4 * i + 1] = scale if ((draws >> np.uint64(16)) & low) >= threshold else np.float32(0.0)
            mask[4 * i + 2] = scale if ((draws >> np.uint64(32)) & low) >= threshold else np.float32(0.0)
            mask[4 * i + 3] = scale if (draws >> np.uint64(48)) >= threshold else np.float32(0.0)


class SampleDropout(torch.nn.Module):
    """Draws the masks of one table's row encoder.

    `segments` is set before a forward pass; without, the stream is drawn from torch's global generator.

    Args:
        probability: Of a zero.
        number: Tells the dropouts of one model apart.
    """

    def __init__(self, probability: float, number: int) -> None:
        super().__init__()
        self.probability, self.number = probability, number
        self.segments: Segments | None = None

    def masks(self, num_masks: int, rows: int, channels: int, like: Tensor) -> Tensor | None:
        """[num_masks, rows, channels] of 0 and 1 / (1 - probability), as `like` in dtype and device; None: nothing is dropped."""
        if not self.training or self.probability == 0.0:
            return None
        segments = self.segments
        if segments is None:
            segments = [(rows, (int(torch.randint(2**63 - 1, ())),))]
        threshold, scale = np.uint64(round(self.probability * 65536)), np.float32(1.0 / (1.0 - self.probability))
        first, cells = 0, rows * channels
        masks = np.empty(
            (num_masks, cells + 3), np.float32
        )  # a segment may end within four cells, which the next one overwrites
        for length, numbers in segments:
            key = np.uint64(stream(PURPOSE_DROPOUT, *numbers, self.number))
            _fill(masks, first * channels, length * channels, key, threshold, scale)
            first += length
        if first != rows:
            raise ValueError(f"dropout segments cover {first} rows of {rows}; set them for this batch")
        return torch.from_numpy(masks)[:, :cells].unflatten(1, (rows, channels)).to(like)
