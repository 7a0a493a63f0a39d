"""Blocks read and average the rows that a loop would."""

from __future__ import annotations

import numpy as np
import pytest

from rdl_core.statistics.blocks import Block

VALUES = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 5.0]], np.float32)


def written(block: Block, num_rows: int) -> list[list[float]]:
    out = np.zeros((num_rows, block.values.shape[1]), np.float32)
    block.write(out)
    return out.tolist()


def test_a_row_of_a_block_is_found_through_any_number_of_places() -> None:
    block = Block(VALUES, np.array([2, -1, 0, 0])).at(np.array([3, 1, 0, -1]))
    np.testing.assert_equal(written(block, 4), [[1.0, np.nan], [np.nan] * 2, [np.nan, 5.0], [np.nan] * 2])


def test_means_are_over_what_is_there_and_not_nan() -> None:
    rows = np.array([[0, 1, 2], [2, -1, -1], [-1, -1, -1], [1, 1, 0]])
    means = written(Block(VALUES).at(rows).means(), 4)
    for row, found in zip(rows, means, strict=True):
        for column, value in enumerate(found):
            known = [VALUES[r, column] for r in row if r >= 0 and not np.isnan(VALUES[r, column])]
            assert value == pytest.approx(np.mean(known) if known else np.nan, nan_ok=True)


def test_of_no_rows_all_are_missing() -> None:
    block = Block(VALUES[:0], np.empty(0, np.int64)).at(np.array([[-1, -1]]))
    np.testing.assert_equal(written(block.means(), 1), [[np.nan, np.nan]])
