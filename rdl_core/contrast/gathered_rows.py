"""The rows of a whole step on every worker: what gathered negatives are drawn from.

In: each worker's rows, what they are (`RowIdentity`), whether they have a context. Out: one numbering of the rows of all workers, the same on each,
table by table in rank order; with the samples of a step dealt in order, that is the order which one process has them in.

Three collectives of one flat buffer each, whatever the data: rows per table, then integers, then values (`StepRows.gather`), both padded once to
the most rows of a worker. `StepRows.scatter` is a fourth, which brings gradients back. A table without rows is in all of them, with no rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdl_core.batches.row_identity import RowIdentity
from rdl_core.communicator import Communicator
from rdl_core.graph.reg import EdgeType


@dataclass(frozen=True, kw_only=True)
class StepRows:
    """All rows of a step, m of a table.

    Args:
        communicator: Over whose workers.
        max_rows: Most rows of a worker, over all tables.
        place: Per table int64 [m], positions in what `gather` returns.
        row, draw: Per table int64 [m], as RowIdentity's.
        parent: Per foreign key int64 [m of its child table], as RowIdentity's.
        has_context: Per table bool [m].
    """

    communicator: Communicator
    max_rows: int
    place: dict[str, Tensor]
    row: dict[str, Tensor]
    draw: dict[str, Tensor]
    parent: dict[EdgeType, Tensor]
    has_context: dict[str, Tensor]

    def gather(self, values: Tensor) -> Tensor:
        """[workers * max_rows, ...] from this worker's rows [rows, ...] (all tables, in the order of the tables)."""
        return self.communicator.all_gather(_padded(values, self.max_rows, 0)).flatten(0, 1)

    def scatter(self, values: Tensor, num_rows: int) -> Tensor:
        """[num_rows, ...] from [workers * max_rows, ...]: for this worker's rows the sum over what all workers have for them."""
        by_worker = values.unflatten(0, (self.communicator.world_size, self.max_rows))
        return self.communicator.reduce_scatter(by_worker)[:num_rows]


def step_rows(
    identity: RowIdentity,
    has_context: Mapping[str, Tensor],
    edge_types: Sequence[EdgeType],
    communicator: Communicator,
) -> StepRows:
    """Tells all workers of each other's rows.

    Args:
        identity: Of this worker's rows; its order of tables must be that of all workers.
        has_context: Per table bool [rows].
        edge_types: Foreign keys, in one order on all workers.
        communicator: The workers.
    """
    tables = list(identity.row)
    keys = {t: [e for e in edge_types if e[0] == t] for t in tables}
    device = identity.row[tables[0]].device
    counts = communicator.all_gather(torch.tensor([len(identity.row[t]) for t in tables], device=device))
    max_rows = int(counts.sum(1).max())
    width = 3 + max(map(len, keys.values()))
    numbers = torch.cat([_numbers(identity, has_context[t], t, keys[t], width) for t in tables])
    everyone = communicator.all_gather(_padded(numbers, max_rows, -1)).flatten(0, 1)
    begins = counts.cumsum(1) - counts + torch.arange(len(counts), device=device).unsqueeze(1) * max_rows
    place, found = {}, {}
    for i, table in enumerate(tables):
        both = zip(begins[:, i].tolist(), counts[:, i].tolist(), strict=True)
        place[table] = torch.cat([torch.arange(begin, begin + n, device=device) for begin, n in both])
        found[table] = everyone[place[table]]
    return StepRows(
        communicator=communicator,
        max_rows=max_rows,
        place=place,
        row={t: x[:, 0] for t, x in found.items()},
        draw={t: x[:, 1] for t, x in found.items()},
        parent={e: found[t][:, 3 + k] for t in tables for k, e in enumerate(keys[t])},
        has_context={t: x[:, 2] > 0 for t, x in found.items()},
    )


def _numbers(identity: RowIdentity, has_context: Tensor, table: str, keys: Sequence[EdgeType], width: int) -> Tensor:
    """int64 [rows of the table, width]."""
    columns = [identity.row[table], identity.draw[table], has_context.long(), *(identity.parent[e] for e in keys)]
    return torch.stack(columns + [torch.full_like(columns[0], -1)] * (width - len(columns)), dim=1)


def _padded(values: Tensor, num_rows: int, value: int) -> Tensor:
    padded = values.new_full((num_rows, *values.shape[1:]), value)
    padded[: len(values)] = values
    return padded
