"""Linear maps on a row's cell vectors, without the cell vectors.

PyTorch Frame makes a vector of every cell, e_c = E_c^T a_c, where a_c are the cell's numbers: (value, 1) of a number, 56 sines and cosines and 1 of
a time, the embedding and 1 of a text, a one-hot of a category; all zeros for null. A map on their concatenation is then one matrix on all numbers,

    sum over columns c of W_c e_c = sum over c of W_c E_c^T a_c = G^T a,    G_c = E_c W_c^T,

so the product with W_c runs once a column and not once a cell, and a category's a_c just picks a row of G. Against PyTorch Frame's own forward,
only the order of multiplications differs (a test compares both); its modules hold the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch_frame import TensorFrame, stype
from torch_frame.data.mapper import TimestampTensorMapper
from torch_frame.nn import StypeWiseFeatureEncoder, TimestampEncoder
from torch_frame.nn.encoding import CyclicEncoding

from rdl_core.products import product
from rdl_core.row_sums import RowSums


@dataclass
class Cells:
    """A table's cells as numbers, and where they meet the encoders E, which lie below each other in one matrix.

    Args:
        runs: (first column, columns, height of each) from the top of E on.
        encoders: The parts of E.
        numbers: [rows, a run's heights] each, side by side; for the first runs.
        picks: For the other runs, which rows of G each row adds up; below them is a row of zeros, for null.
    """

    runs: list[tuple[int, int, int]] = field(default_factory=list)
    encoders: list[Tensor] = field(default_factory=list)
    numbers: list[Tensor] = field(default_factory=list)
    picks: RowSums | None = None

    def add(self, first_column: int, numbers: Tensor, encoder: Tensor) -> None:
        """numbers: [rows, columns, height]; encoder: [columns, height, channels]."""
        self.runs.append((first_column, *encoder.shape[:2]))
        self.numbers.append(numbers.flatten(1))
        self.encoders.append(encoder.flatten(0, 1))


def folded_maps(encoder: StypeWiseFeatureEncoder, frame: TensorFrame, maps: Sequence[torch.nn.Linear]) -> list[Tensor]:
    """[rows, out_features] of each map on the rows' concatenated cell vectors."""
    cells = read_cells(encoder, frame, maps[0].weight.dtype)
    numbers = torch.cat(cells.numbers, dim=1) if cells.numbers else maps[0].weight.new_zeros(frame.num_rows, 0)
    parameters = [p for m in maps for p in (m.weight, m.bias)]
    out: tuple[Tensor, ...] = _Fold.apply(cells.runs, numbers, cells.picks, torch.cat(cells.encoders), *parameters)
    return list(out)


def read_cells(encoder: StypeWiseFeatureEncoder, frame: TensorFrame, dtype: torch.dtype) -> Cells:
    """The numbers of a table's cells."""
    cells, column, first = Cells(), 0, {}
    for kind in frame.stypes:  # the order in which PyTorch Frame concatenates
        first[kind], column = column, column + len(frame.col_names_dict[kind])
    modules: Any = {kind: encoder.encoder_dict[kind.value] for kind in first}
    features: Any = frame.feat_dict
    if stype.numerical in first:
        module, feat = modules[stype.numerical], features[stype.numerical]
        present = ~feat.isnan()
        value = ((feat - module.mean) / module.std).to(dtype).masked_fill_(~present, 0.0)
        part = torch.stack([module.weight, module.bias], dim=1)
        cells.add(first[stype.numerical], torch.stack([value, present.to(dtype)], dim=2), part)
    if stype.timestamp in first:
        module = modules[stype.timestamp]
        part = torch.cat([module.weight.flatten(1, 2), module.bias.unsqueeze(1)], dim=1)
        cells.add(first[stype.timestamp], time_numbers(module, features[stype.timestamp], dtype), part)
    if stype.embedding in first:
        _add_vectors(
            cells, first[stype.embedding], modules[stype.embedding], features[stype.embedding].values.to(dtype)
        )
    _add_categories(cells, first, modules, features, frame.num_rows)
    return cells


@cache
def cyclic_table(out_size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """(the cyclic encodings of all months, days, ..., one kind below the other [194, out_size]; where each kind begins [6])."""
    sizes = TimestampTensorMapper.CYCLIC_VALUES_NORMALIZATION_CONSTANT
    values = torch.cat([torch.arange(n, dtype=torch.float32) / n for n in sizes.tolist()])
    return CyclicEncoding(out_size)(values).to(device, dtype), (sizes.cumsum(0) - sizes).to(device)


def time_numbers(module: TimestampEncoder, feat: Tensor, dtype: torch.dtype) -> Tensor:
    """[rows, columns, 57]: the year's positional encoding, the other parts' cyclic ones (looked up), and 1; zeros for null."""
    table, begins = cyclic_table(module.out_size, dtype, feat.device)
    present = feat[..., :1] >= 0
    year = torch.where(present, feat[..., :1] - module.min_year.unsqueeze(1), 0).to(torch.float32)
    angle = year * module.positional_encoding.mult_term
    cyclic = torch.nn.functional.embedding(feat[..., 1:].clamp(min=0) + begins, table).flatten(2)
    ones = torch.ones_like(cyclic[..., :1])
    return torch.cat([angle.sin().to(dtype), angle.cos().to(dtype), cyclic, ones], dim=2) * present


def _add_vectors(cells: Cells, column: int, module: Any, values: Tensor) -> None:
    """The runs of embeddings: columns of equal width beside each other are one."""
    weights, at, begin = list(module.weight_list), 0, 0
    for width, group in groupby(module.emb_dim_list):
        number = len(list(group))
        vectors = values[:, begin : begin + number * width].unflatten(1, (number, width))
        present = (vectors != 0).any(dim=2, keepdim=True).to(values.dtype)
        part = torch.cat([torch.stack(weights[at : at + number]), module.biases[at : at + number].unsqueeze(1)], dim=1)
        cells.add(column + at, torch.cat([vectors, present], dim=2), part)
        at, begin = at + number, begin + number * width


def _add_categories(cells: Cells, first: Any, modules: Any, features: Any, num_rows: int) -> None:
    """The runs of categories. A column with more categories than rows brings those that occur."""
    columns: list[tuple[int, Tensor, Tensor, Tensor, Tensor | None]] = []  # column, table, rows, codes, weights
    if stype.categorical in first:
        module, feat = modules[stype.categorical], features[stype.categorical]
        ends = [*module.offset.tolist(), len(module.emb.weight) - 1]
        tables = module.emb.weight.split([1, *(b - a for a, b in zip(ends, ends[1:], strict=False))])[1:]
        rows = torch.arange(len(feat), device=feat.device)
        columns = [(first[stype.categorical] + j, t, rows, feat[:, j], None) for j, t in enumerate(tables)]
    if stype.multicategorical in first:
        lists = features[stype.multicategorical]
        for j, bag in enumerate(modules[stype.multicategorical].embs):
            part = lists[:, j]
            rows = torch.arange(lists.num_rows, device=part.offset.device).repeat_interleave(part.offset.diff())
            rows, codes = rows[part.values >= 0], part.values[part.values >= 0]
            weight = 1.0 / torch.bincount(rows, minlength=1)[rows].double()
            columns.append((first[stype.multicategorical] + j, bag.weight[1:], rows, codes, weight))
    if not columns:
        return
    height, places = 0, []
    for column, table, _, codes, _ in columns:
        if len(table) > len(codes):
            used, inverse = codes.clamp(min=0).unique(return_inverse=True)
            table, codes = table.index_select(0, used), torch.where(codes < 0, codes, inverse)
        cells.runs.append((column, 1, len(table)))
        cells.encoders.append(table)
        places.append(torch.where(codes < 0, -1, codes + height))
        height += len(table)
    cells.encoders.append(table.new_zeros(1, table.shape[1]))
    places = [torch.where(place < 0, height, place) for place in places]
    if stype.multicategorical not in first:  # every row has a pick a column
        index, rows = torch.stack(places, dim=1).flatten(), torch.arange(num_rows + 1, device=table.device)
        cells.picks = RowSums(index, rows * len(places), None, height + 1)
        return
    weights = [
        torch.ones(len(r), dtype=torch.float64, device=r.device) if w is None else w for _, _, r, _, w in columns
    ]
    rows = torch.cat([r for _, _, r, _, _ in columns])
    cells.picks = RowSums.of(rows, torch.cat(places), torch.cat(weights), num_rows, height + 1)


class _Fold(Function):
    """All maps; parameters: (weight, bias) map after map."""

    @staticmethod
    def forward(
        ctx: Any,
        runs: list[tuple[int, int, int]],
        numbers: Tensor,
        picks: RowSums | None,
        e: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.runs, ctx.picks = runs, picks
        ctx.save_for_backward(numbers, e, *parameters)
        out = []
        for weight, bias in zip(parameters[0::2], parameters[1::2], strict=True):
            g = e.new_zeros(len(e), len(weight))
            for part, w, of_g in _runs(runs, e, weight, g):
                of_g.copy_(part @ w.mT)
            z = product(numbers, g[: numbers.shape[1]].T, bias)
            out.append(z if picks is None else z.add_(picks(g[numbers.shape[1] :])))
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        numbers, e, *parameters = ctx.saved_tensors
        height, grad_e, out = numbers.shape[1], torch.zeros_like(e), []
        for weight, grad in zip(parameters[0::2], grads, strict=True):
            grad_g = e.new_empty(len(e), len(weight))
            grad_g[:height] = product(numbers.T, grad.T)
            if ctx.picks is not None:
                grad_g[height:] = ctx.picks.transposed(grad.contiguous())
            grad_weight = torch.empty_like(weight)
            both = zip(_runs(ctx.runs, e, weight, grad_g), _runs(ctx.runs, grad_e, grad_weight, grad_g), strict=True)
            for (part, w, of_g), (of_part, of_w, _) in both:
                of_part.add_(of_g @ w)
                of_w.copy_(of_g.mT @ part)
            out += [grad_weight, grad.sum(0)]
        return None, None, None, grad_e, *out


def _runs(
    runs: list[tuple[int, int, int]], e: Tensor, weight: Tensor, g: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per run views of E [columns, height, channels], W [columns, out, channels] and G [columns, height, out]."""
    channels, at, out = e.shape[1], 0, []
    of_column = weight.view(len(weight), -1, channels).transpose(0, 1)
    for first, columns, height in runs:
        rows, at = slice(at, at + columns * height), at + columns * height
        part, of_g = (x[rows].view(columns, height, x.shape[1]) for x in (e, g))
        out.append((part, of_column[first : first + columns], of_g))
    return out
