"""Which database row each sampled row is, so that negatives may come from other samples without hitting a positive.

Promises: the parent of a row is the database's, whether or not both were sampled together; `draw` is a function of (seed, epoch, sample, table,
place in the sample), so that the negatives kept are the same whatever worker has the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.batches.row_source import RowTopology
from rdl_core.graph.reg import EdgeType
from rdl_core.random_streams import PURPOSE_NEGATIVES, numpy_generator


@dataclass(frozen=True, kw_only=True)
class RowIdentity:
    """Of the rows of a batch's clean view.

    Args:
        row: Per table int64 [n], row numbers in the database.
        parent: Per foreign key int64 [n of its child table], the parents' row numbers, -1 for null.
        draw: Per table int64 [n], random numbers of 62 bits: where negatives are too many, those of the smallest are kept.
    """

    row: Mapping[str, Tensor]
    parent: Mapping[EdgeType, Tensor]
    draw: Mapping[str, Tensor]


def row_identity(
    rows: Mapping[str, Sequence[NDArray[np.integer]]],
    edge_types: Sequence[EdgeType],
    topology: RowTopology,
    cursors: Sequence[tuple[int, int]],
    seed: int,
) -> RowIdentity:
    """The identity of these rows.

    Args:
        rows: Per table the row numbers of each sample.
        edge_types: Foreign keys.
        topology: Knows the parents.
        cursors: (epoch, sample) of each sample.
        seed: Run seed.
    """
    row = {table: np.concatenate(of_samples).astype(np.int64) for table, of_samples in rows.items()}
    draw = {
        table: _joined([_draws(len(r), seed, *c, number) for r, c in zip(of_samples, cursors, strict=True)])
        for number, (table, of_samples) in enumerate(rows.items())
    }
    return RowIdentity(
        row={t: torch.from_numpy(r) for t, r in row.items()},
        parent={e: torch.from_numpy(topology.parents_of(e, row[e[0]]).astype(np.int64)) for e in edge_types},
        draw=draw,
    )


def _draws(num_rows: int, *stream: int) -> NDArray[np.int64]:
    return numpy_generator(PURPOSE_NEGATIVES, *stream, 1).integers(0, 1 << 62, num_rows)


def _joined(parts: list[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))
