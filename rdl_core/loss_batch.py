"""A batch of samples as the contrastive losses see it: checked, and padded to one grid per table.

In: per table the rows of `num_samples` disjoint subgraphs ("samples") one after another, with the number of the sample
of each row; per foreign key the links between those rows. Out: one `SampleLayout` per table, which copies row values
into a grid [num_samples, max_rows, ...], so that all pairs of a sample come from one batched matrix product.

Invariants: a row keeps its order within its sample; no link crosses samples (checked); `max_rows` is at least 1, so
that a table without rows needs no special case later and its parameters still get a gradient (zeros), as
DistributedDataParallel expects on every rank. With one sample the grid is a view of the rows, not a copy.
Cost: one transfer from device to host per batch, for the checks and the grid sizes together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdl_core.reg import EdgeType


@dataclass(frozen=True)
class SampleLayout:
    """Where each row of one table lies in the grid [num_samples, max_rows].

    `cell` [num_rows] is the flat position, sample * max_rows + slot; `is_row` [num_samples, max_rows] tells rows from
    padding; `rank` [num_samples, max_rows] is the rank of each row within its sample.
    """

    num_samples: int
    max_rows: int
    cell: Tensor
    is_row: Tensor
    rank: Tensor

    def pad(self, values: Tensor) -> Tensor:
        """[num_rows, ...] -> [num_samples, max_rows, ...], zeros in the padding; a view where there is none."""
        return _pad(values, self.cell, self.num_samples, self.max_rows)

    def slot(self, rows: Tensor) -> Tensor:
        """The position within their sample of these rows (int64, any shape)."""
        return self.cell[rows] % self.max_rows


def sample_layouts(
    links_dict: Mapping[EdgeType, Tensor],
    sample_dict: Mapping[str, Tensor],
    rank_dict: Mapping[str, Tensor],
    num_samples: int,
) -> dict[str, SampleLayout]:
    """The layout of each table.

    sample_dict: {table: int64 [num_rows]}, nondecreasing, in [0, num_samples). rank_dict: {table: int64 [num_rows]}.
    links_dict: {edge_type: int64 [2, num_links]}, rows (child; parent), read only to check them.
    Raises ValueError naming the table (and foreign key) and the first row or link that breaks these rules.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; expected at least 1. Skip the step when no sample is left.")
    starts_dict = {table: _starts(sample, num_samples) for table, sample in sample_dict.items()}
    numbers = [starts.diff().max() for starts in starts_dict.values()]
    numbers += [_is_bad_sample(sample, num_samples).any() for sample in sample_dict.values()]
    numbers += [_is_bad_link(links, edge_type, sample_dict).any() for edge_type, links in links_dict.items()]
    on_host = torch.stack([number.long() for number in numbers]).tolist()  # the one transfer
    num_tables = len(sample_dict)
    for table, is_bad in zip(sample_dict, on_host[num_tables : 2 * num_tables], strict=True):
        if is_bad:
            _refuse_sample(table, sample_dict[table], num_samples)
    for edge_type, is_bad in zip(links_dict, on_host[2 * num_tables :], strict=True):
        if is_bad:
            _refuse_link(links_dict[edge_type], edge_type, sample_dict)
    return {
        table: _layout(sample, rank_dict[table], starts_dict[table], max(1, max_rows))
        for (table, sample), max_rows in zip(sample_dict.items(), on_host[:num_tables], strict=True)
    }


def _layout(sample: Tensor, rank: Tensor, starts: Tensor, max_rows: int) -> SampleLayout:
    num_samples = starts.numel() - 1
    slot = torch.arange(sample.numel(), device=sample.device) - starts[sample]
    is_row = torch.arange(max_rows, device=sample.device) < starts.diff().unsqueeze(1)
    cell = sample * max_rows + slot
    return SampleLayout(num_samples, max_rows, cell, is_row, _pad(rank, cell, num_samples, max_rows))


def _pad(values: Tensor, cell: Tensor, num_samples: int, max_rows: int) -> Tensor:
    if num_samples == 1 and values.size(0) == max_rows:
        return values.unsqueeze(0)
    grid = values.new_zeros(num_samples * max_rows, *values.shape[1:])
    return grid.index_copy(0, cell, values).view(num_samples, max_rows, *values.shape[1:])


def _starts(sample: Tensor, num_samples: int) -> Tensor:
    """[num_samples + 1]: the first row of each sample, then the number of rows."""
    return torch.searchsorted(sample.contiguous(), torch.arange(num_samples + 1, device=sample.device))


def _is_bad_sample(sample: Tensor, num_samples: int) -> Tensor:
    previous = torch.cat([sample[:1], sample[:-1]])
    return (sample < 0) | (sample >= num_samples) | (sample < previous)


def _is_bad_link(links: Tensor, edge_type: EdgeType, sample_dict: Mapping[str, Tensor]) -> Tensor:
    """bool [num_links]: an end is no row of its table, or the ends lie in different samples."""
    ends = []
    for rows, table in zip(links, (edge_type[0], edge_type[2]), strict=True):
        sample = sample_dict[table]
        num_rows = sample.numel()
        with_none = torch.cat([sample, sample.new_tensor([-1])])  # row number num_rows stands for "no such row"
        ends.append(with_none[torch.where((rows < 0) | (rows >= num_rows), num_rows, rows)])
    return (ends[0] != ends[1]) | (ends[0] < 0) | (ends[1] < 0)


def _refuse_sample(table: str, sample: Tensor, num_samples: int) -> None:
    row = int(_is_bad_sample(sample, num_samples).nonzero()[0])
    before = f" after {int(sample[row - 1])}" if row else ""
    raise ValueError(
        f"sample_dict[{table!r}]: row {row} has sample number {int(sample[row])}{before}; expected nondecreasing "
        f"numbers from 0 to {num_samples - 1} (num_samples is {num_samples}). Concatenate the samples in order."
    )


def _refuse_link(links: Tensor, edge_type: EdgeType, sample_dict: Mapping[str, Tensor]) -> None:
    child, fkey_col, parent = edge_type
    position = int(_is_bad_link(links, edge_type, sample_dict).nonzero()[0])
    child_row, parent_row = links[:, position].tolist()
    raise ValueError(
        f"{child}.{fkey_col} -> {parent}: link {position} joins child row {child_row} to parent row {parent_row}; "
        f"expected row numbers below {sample_dict[child].numel()} and {sample_dict[parent].numel()}, both ends in one "
        "sample. When samples are joined to a batch, shift the row numbers of each by the rows of those before it."
    )


def check_rows(
    rows_dicts: Mapping[str, Mapping[str, Tensor]],
    number_dicts: Mapping[str, Mapping[str, Tensor]],
    node_types: Sequence[str],
    channels: int,
) -> None:
    """Raise ValueError unless every dict has every table: floating [num_rows, channels] or int64 [num_rows]."""
    for name, by_table in (*rows_dicts.items(), *number_dicts.items()):
        _check_keys(name, by_table, node_types)
    num_rows: dict[str, int] = {}  # of the first dict; the others must agree
    for name, by_table in rows_dicts.items():
        for table in node_types:
            shape = (num_rows.get(table), channels)
            _check_tensor(f"{name}[{table!r}]", by_table[table], shape, None)
            num_rows.setdefault(table, by_table[table].size(0))
    for name, by_table in number_dicts.items():
        for table in node_types:
            _check_tensor(f"{name}[{table!r}]", by_table[table], (num_rows[table],), torch.int64)


def check_links(
    links_dict: Mapping[EdgeType, Tensor], target_dict: Mapping[EdgeType, Tensor] | None, edge_types: Sequence[EdgeType]
) -> None:
    """Raise ValueError unless each key has int64 links [2, num_links] and, where given, bool targets [num_links]."""
    _check_keys("links_dict", links_dict, edge_types)
    for edge_type, links in links_dict.items():
        _check_tensor(f"links_dict[{edge_type}]", links, (2, None), torch.int64)
    if target_dict is not None:
        _check_keys("target_dict", target_dict, edge_types)
        for edge_type, is_target in target_dict.items():
            _check_tensor(f"target_dict[{edge_type}]", is_target, (links_dict[edge_type].size(1),), torch.bool)


def _check_keys(name: str, got: Collection[object], expected: Sequence[object]) -> None:
    """Raise ValueError unless the dict `name` has exactly the expected keys."""
    missing = [key for key in expected if key not in got]
    unknown = [key for key in got if key not in expected]
    if missing or unknown:
        raise ValueError(
            f"{name}: missing {missing}, unknown {unknown}; expected one tensor for each of {list(expected)}. "
            "Give a table without rows or a key without links a tensor with 0 rows or 0 links."
        )


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int | None, ...], dtype: torch.dtype | None) -> None:
    """Raise ValueError unless `tensor` has this shape (None: any size) and dtype (None: any floating dtype)."""
    fits = tensor.dim() == len(shape) and all(
        wanted in (None, got) for got, wanted in zip(tensor.shape, shape, strict=True)
    )
    if not fits or (not tensor.is_floating_point() if dtype is None else tensor.dtype != dtype):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name}: expected shape [{sizes}] and dtype {dtype or 'floating point'}, got {list(tensor.shape)} and "
            f"{tensor.dtype}. Pass the rows of the batch in the order of sample_dict; convert with .to(dtype)."
        )
