"""A table's cells as numbers, and where they meet the encoders' parameters; what folded_map.py computes with.

PyTorch Frame's vector of a cell is e_c = E_c^T a_c. Here E is the encoders' parameters as they are stored, flattened to rows of channels, one below
the other: so it is one copy, and its gradient in slices is the parameters'. Nothing here is under autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data.mapper import TimestampTensorMapper
from torch_frame.nn import StypeWiseFeatureEncoder
from torch_frame.nn.encoding import CyclicEncoding, PositionalEncoding

from rdl_core.kernels.sum_rows import RowSums
from rdl_core.model.fold_kernels import nonzero_cells

Run = tuple[int, int, int, int, int, int, bool]
"""(first column, columns, first row of E, rows a column, step from column to column, from row to row, whether an earlier run has the columns)."""


NUM_YEARS = 1 << 15
"""Years are stored in 16 bits and begin at a column's oldest (features.py)."""


@dataclass
class Cells:
    """See the file's text.

    Args:
        num_rows: Of the table.
        runs: Which rows of E are whose.
        parameters: E, from above: numbers' encoders, then categories'.
        used: Per parameter the rows that are in E, or None: all.
        height: Rows of E.
        numbers: [rows, so many rows of E] each, side by side.
        picks: Which rows of E each row of the table adds up, among those below the numbers'. A null picks one that no run has.
        vectors: Embeddings whose cell vectors are made, or None.
    """

    num_rows: int
    runs: list[Run] = field(default_factory=list)
    parameters: list[Tensor] = field(default_factory=list)
    used: list[Tensor | None] = field(default_factory=list)
    height: int = 0
    numbers: list[Tensor] = field(default_factory=list)
    picks: RowSums | None = None
    vectors: Embeddings | None = None

    def add(self, parameter: Tensor, height: int, used: Tensor | None = None) -> None:
        """Puts rows below E."""
        self.parameters.append(parameter)
        self.used.append(used)
        self.height += height

    def add_linear(self, column: int, weights: Sequence[Tensor], bias: Tensor, heights: list[int]) -> None:
        """Maps of columns beside each other: the rows of all weights, then a bias each."""
        columns, at, end = len(heights), self.height, self.height + sum(heights)
        if columns == 1:
            self.runs.append((column, 1, at, heights[0] + 1, 0, 1, False))
        elif max(heights) == 1:
            self.runs.append((column, columns, at, 2, 1, columns, False))
        else:
            for j, height in enumerate(heights):
                self.runs.append((column + j, 1, at, height, 0, 1, False))
                at += height
            self.runs.append((column, columns, end, 1, 1, 1, True))
        for weight in weights:
            self.add(weight, weight.numel() // bias.shape[-1])
        self.add(bias, columns)


@dataclass
class Embeddings:
    """Columns of embeddings beside each other.

    Args:
        column: The first.
        values: [rows, sum of widths].
        present: [rows, columns], 0 for null (all zeros), else 1.
        widths: One a column.
        weights: [width, channels] a column.
        bias: [columns, channels].
    """

    column: int
    values: Tensor
    present: Tensor
    widths: list[int]
    weights: list[Tensor]
    bias: Tensor


def read_cells(encoder: StypeWiseFeatureEncoder, frame: TensorFrame, dtype: torch.dtype, num_out: int) -> Cells:
    """The numbers of a table's cells, for maps of num_out features together."""
    cells, column, first = Cells(frame.num_rows), 0, {}
    for kind in frame.stypes:  # the order in which PyTorch Frame concatenates
        first[kind], column = column, column + len(frame.col_names_dict[kind])
    modules: Any = {kind: encoder.encoder_dict[kind.value] for kind in first}
    features: Any = frame.feat_dict
    if stype.numerical in first:
        module, feat = modules[stype.numerical], features[stype.numerical]
        absent = feat.isnan()
        value = ((feat - module.mean) / module.std).to(dtype).masked_fill_(absent, 0.0)
        cells.add_linear(first[stype.numerical], [module.weight], module.bias, [1] * feat.shape[1])
        cells.numbers += value, absent.logical_not_().to(dtype)
    if stype.timestamp in first:
        module, feat = modules[stype.timestamp], features[stype.timestamp]
        heights = [module.weight.shape[1] * module.out_size] * feat.shape[1]
        cells.add_linear(first[stype.timestamp], [module.weight], module.bias, heights)
        cells.numbers += time_numbers(module, feat, dtype)
    if stype.embedding in first:
        module, values = modules[stype.embedding], features[stype.embedding].values
        _add_embeddings(cells, first[stype.embedding], module, values, dtype, num_out)
    _add_categories(cells, first, modules, features)
    return cells


@cache
def time_table(out_size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """(encodings of all years from a column's first on, of all months, days, ..., kind below kind, then zeros; where each kind begins [7])."""
    sizes = TimestampTensorMapper.CYCLIC_VALUES_NORMALIZATION_CONSTANT
    values = torch.cat([torch.arange(n, dtype=torch.float32) / n for n in sizes.tolist()])
    angle = torch.arange(NUM_YEARS).unsqueeze(1) * PositionalEncoding(out_size).mult_term.to(dtype)
    table = torch.cat([angle.sin(), angle.cos()], dim=1), CyclicEncoding(out_size)(values), torch.zeros(1, out_size)
    begins = torch.cat([torch.tensor([0]), NUM_YEARS + sizes.cumsum(0) - sizes])
    return torch.cat(table).to(device, dtype), begins.to(device)


def time_numbers(module: Any, feat: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """([rows, columns * 56]: the year's positional encoding, the other parts' cyclic ones; [rows, columns]: 1), zeros for null."""
    table, begins = time_table(module.out_size, dtype, feat.device)
    absent, place = feat[..., 0] < 0, feat + begins
    place[..., 0].sub_(module.min_year)
    place.masked_fill_(absent.unsqueeze(2), len(table) - 1)
    return torch.nn.functional.embedding(place, table).flatten(1), absent.logical_not_().to(dtype)


def _add_embeddings(cells: Cells, column: int, module: Any, values: Tensor, dtype: torch.dtype, num_out: int) -> None:
    """As linear maps, or their cell vectors where that is less work."""
    rows, channels, height = len(values), module.biases.shape[1], max(module.emb_dim_list)
    weights, bias, widths = list(module.weight_list), module.biases, module.emb_dim_list
    values, present = values.to(dtype), nonzero_cells(values, widths).to(dtype)
    # Per column: rows * channels * (height + num_out) against (rows + channels) * height * num_out multiplications.
    if rows * channels * (height + num_out) < (rows + channels) * height * num_out:
        cells.vectors = Embeddings(column, values, present, widths, weights, bias)
    else:
        cells.add_linear(column, weights, bias, widths)
        cells.numbers += values, present


def _add_categories(cells: Cells, first: Any, modules: Any, features: Any) -> None:
    """The rows of E that cells pick. Row 0 of a table of categories is for null."""
    picks: list[tuple[Tensor, Tensor, Tensor]] = []  # rows, places in E, weights
    if stype.categorical in first:
        module, codes = modules[stype.categorical], features[stype.categorical]
        weight, begins = module.emb.weight, module.offset + 1
        place = _add_table(cells, first[stype.categorical], weight, begins, (codes + begins).masked_fill_(codes < 0, 0))
        if stype.multicategorical not in first:  # every row has a pick a column
            offset = torch.arange(0, place.numel() + 1, place.shape[1], device=place.device)
            cells.picks = RowSums(place.flatten(), offset, None, cells.height)
            return
        rows = torch.arange(len(place), device=place.device).unsqueeze(1).expand_as(place)
        picks.append((rows.flatten(), place.flatten(), torch.ones_like(rows.flatten(), dtype=torch.float64)))
    if stype.multicategorical in first:
        lists = features[stype.multicategorical]
        for j, bag in enumerate(modules[stype.multicategorical].embs):
            part = lists[:, j]
            rows = torch.arange(lists.num_rows, device=part.offset.device).repeat_interleave(part.offset.diff())
            rows, codes = rows[part.values >= 0], part.values[part.values >= 0]
            begins = torch.ones(1, dtype=torch.int64, device=rows.device)
            place = _add_table(cells, first[stype.multicategorical] + j, bag.weight, begins, codes + 1)
            picks.append((rows, place, 1.0 / torch.bincount(rows, minlength=1)[rows].double()))
    if picks:
        rows, places, weights = (torch.cat(p) for p in zip(*picks, strict=True))
        cells.picks = RowSums.of(rows, places, weights, cells.num_rows, cells.height)


def _add_table(cells: Cells, column: int, weight: Tensor, begins: Tensor, codes: Tensor) -> Tensor:
    """Where in E the codes are; a table with more rows than codes brings those that occur.

    begins: the first row of each column in weight, which is of columns beside each other.
    """
    at, used, height = cells.height, None, len(weight)
    if height > codes.numel():
        used, codes = codes.unique(return_inverse=True)
        begins, height = torch.searchsorted(used, begins), len(used)
    bounds = [*begins.tolist(), height]
    cells.runs += [
        (column + j, 1, at + bounds[j], bounds[j + 1] - bounds[j], 0, 1, False) for j in range(len(bounds) - 1)
    ]
    cells.add(weight, height, used)
    return codes + at
