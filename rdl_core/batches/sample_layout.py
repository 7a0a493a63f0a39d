"""A batch of samples as the contrastive losses see it: checked, and padded to one grid per table.

In: per table the rows of `num_samples` disjoint subgraphs ("samples") one after another, with the number of the sample
of each row; per foreign key the links between those rows. Out: one `SampleLayout` per table, which copies row values
into a grid [num_samples, max_rows, ...], so that all pairs of a sample come from one batched matrix product.

Invariants: a row keeps its order within its sample; no link crosses samples (checked); `max_rows` is at least 1, so
that a table without rows needs no special case later and its parameters still get a gradient (zeros), as
DistributedDataParallel expects on every rank. With one sample the grid is a view of the rows, not a copy.
Cost: one transfer from device to host per batch, for the checks and the grid sizes together.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdl_core.graph.reg import EdgeType


@dataclass(frozen=True)
class SampleLayout:
    """Where each row of one table lies in the grid [num_samples, max_rows].

    `cell` [num_rows] is the flat position, sample * max_rows + slot; `is_row` [num_samples, max_rows] tells rows from
    padding; `rank` [num_samples, max_rows] is the rank of each row within its sample; `is_full`: there is no padding.
    """

    num_samples: int
    max_rows: int
    cell: Tensor
    is_row: Tensor
    rank: Tensor
    is_full: bool

    def pad(self, values: Tensor) -> Tensor:
        """[num_rows, ...] -> [num_samples, max_rows, ...], zeros in the padding; a view where there is none."""
        return _pad(values, self.cell, self.num_samples, self.max_rows)

    def unpad(self, grid: Tensor) -> Tensor:
        """The inverse of `pad`, without autograd; a view where there is no padding."""
        return grid.flatten(0, 1) if self.is_full else grid.flatten(0, 1).index_select(0, self.cell)

    def place(self, rows: Tensor) -> Tensor:
        """The flat position of these rows (int64, any shape)."""
        return rows if self.num_samples == 1 else self.cell[rows]

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
    tables, sizes = list(sample_dict), [len(sample) for sample in sample_dict.values()]
    first = dict(zip(tables, [0, *itertools.accumulate(sizes)], strict=False))
    samples = torch.cat(list(sample_dict.values()))
    device = samples.device
    table_of = torch.arange(len(tables), device=device).repeat_interleave(torch.tensor(sizes, device=device))
    in_range = samples.clamp(0, num_samples - 1)  # so that counting cannot fail before the check
    cell = table_of * num_samples + in_range  # of a table and a sample: nondecreasing
    counts = torch.bincount(cell, minlength=len(tables) * num_samples).view(len(tables), num_samples)
    is_bad = torch.cat([samples != in_range, cell[1:] < cell[:-1]])
    is_bad_link = _is_bad_link(links_dict, first, sample_dict, samples)
    on_host = torch.cat([counts.amax(1), is_bad.any().view(1), is_bad_link.any().view(1)]).tolist()  # the one transfer
    if on_host[-2]:
        for table, sample in sample_dict.items():
            _check_sample(table, sample, num_samples)
    if on_host[-1]:
        for edge_type, links in links_dict.items():
            _check_links({edge_type: links}, first, sample_dict, samples)
    starts, places = counts.cumsum(1) - counts, torch.arange(max(1, *sizes), device=device)
    return {
        table: _layout(sample_dict[table], rank_dict[table], starts[i], counts[i], max(1, on_host[i]), places)
        for i, table in enumerate(tables)
    }


def _layout(
    sample: Tensor, rank: Tensor, starts: Tensor, counts: Tensor, max_rows: int, places: Tensor
) -> SampleLayout:
    num_samples = len(starts)
    if num_samples == 1:
        cell, is_row = places[: len(sample)], sample.new_full((1, max_rows), len(sample) > 0, dtype=torch.bool)
    else:
        cell = sample * max_rows + places[: len(sample)] - starts[sample]
        is_row = places[:max_rows] < counts.unsqueeze(1)
    is_full = num_samples * max_rows == len(sample)
    return SampleLayout(num_samples, max_rows, cell, is_row, _pad(rank, cell, num_samples, max_rows), is_full)


def _pad(values: Tensor, cell: Tensor, num_samples: int, max_rows: int) -> Tensor:
    if num_samples == 1 and values.size(0) == max_rows:
        return values.unsqueeze(0)
    grid = values.new_zeros(num_samples * max_rows, *values.shape[1:])
    return grid.index_copy(0, cell, values).view(num_samples, max_rows, *values.shape[1:])


def _is_bad_link(
    links_dict: Mapping[EdgeType, Tensor], first: Mapping[str, int], sample_dict: Mapping[str, Tensor], samples: Tensor
) -> Tensor:
    """bool [all links]: an end is no row of its table, or the ends lie in different samples."""
    if not links_dict:
        return samples.new_zeros(0, dtype=torch.bool)
    sizes = torch.tensor([[len(sample_dict[e[i]]) for e in links_dict] for i in (0, 2)], device=samples.device)
    begins = torch.tensor([[first[e[i]] for e in links_dict] for i in (0, 2)], device=samples.device)
    lengths = torch.tensor([x.size(1) for x in links_dict.values()], device=samples.device)
    sizes, begins = (x.repeat_interleave(lengths, dim=1) for x in (sizes, begins))
    ends = torch.cat(list(links_dict.values()), dim=1)
    is_no_row = ((ends < 0) | (ends >= sizes)).any(0)
    with_none = torch.cat([samples, samples.new_zeros(1)])
    both = with_none[torch.where(is_no_row, len(samples), ends + begins)]
    return is_no_row | (both[0] != both[1])


def _check_sample(table: str, sample: Tensor, num_samples: int) -> None:
    is_bad = (sample < 0) | (sample >= num_samples) | (sample.diff(prepend=sample[:1]) < 0)
    if not is_bad.any():
        return
    row = int(is_bad.nonzero()[0])
    before = f" after {int(sample[row - 1])}" if row else ""
    raise ValueError(
        f"sample_dict[{table!r}]: row {row} has sample number {int(sample[row])}{before}; expected nondecreasing "
        f"numbers from 0 to {num_samples - 1} (num_samples is {num_samples}). Concatenate the samples in order."
    )


def _check_links(
    links_dict: Mapping[EdgeType, Tensor], first: Mapping[str, int], sample_dict: Mapping[str, Tensor], samples: Tensor
) -> None:
    ((child, fkey_col, parent), links), *_ = links_dict.items()
    is_bad = _is_bad_link(links_dict, first, sample_dict, samples)
    if not is_bad.any():
        return
    position = int(is_bad.nonzero()[0])
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
