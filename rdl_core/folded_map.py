"""Linear maps on a row's cell vectors, without the cell vectors.

PyTorch Frame makes a vector of every cell, e_c = E_c^T a_c, where a_c are the cell's numbers: (value, 1) of a number, 56 sines and cosines and 1 of
a time, the embedding and 1 of a text, a one-hot of a category; all zeros for null. A map on their concatenation is then one matrix on all numbers,

    sum over columns c of W_c e_c = sum over c of W_c E_c^T a_c = G^T a,    G_c = E_c W_c^T,

so the product with W_c runs once a column and not once a cell, and a category's a_c just picks a row of G. Texts are the exception: where a table
has fewer rows than their embeddings are wide, their cell vectors are the smaller side, and are made. Against PyTorch Frame's own forward,
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
from torch.autograd.function import once_differentiable
from torch_frame import TensorFrame, stype
from torch_frame.data.mapper import TimestampTensorMapper
from torch_frame.nn import StypeWiseFeatureEncoder, TimestampEncoder
from torch_frame.nn.encoding import CyclicEncoding

from rdl_core.products import product, product_dtype
from rdl_core.row_sums import RowSums


@dataclass
class Cells:
    """A table's cells as numbers, and where they meet the encoders E, which lie below each other in one matrix.

    Args:
        runs: (first column, columns, height of each) from the top of E on.
        encoders: The parts of E.
        numbers: [rows, a run's heights] each, side by side; for the first runs.
        picks: For the other runs, which rows of G each row adds up; below them is a row of zeros, for null.
        vectors: [rows, columns * channels], cell vectors that are made, of columns beside each other, or None.
        first_vector: The first of these columns.
    """

    runs: list[tuple[int, int, int]] = field(default_factory=list)
    encoders: list[Tensor] = field(default_factory=list)
    numbers: list[Tensor] = field(default_factory=list)
    picks: RowSums | None = None
    vectors: Tensor | None = None
    first_vector: int = 0

    def add(self, first_column: int, numbers: Tensor, encoder: Tensor) -> None:
        """numbers: [rows, columns, height]; encoder: [columns, height, channels]."""
        self.runs.append((first_column, *encoder.shape[:2]))
        self.numbers.append(numbers.flatten(1))
        self.encoders.append(encoder.flatten(0, 1))


def folded_maps(encoder: StypeWiseFeatureEncoder, frame: TensorFrame, maps: Sequence[torch.nn.Linear]) -> Tensor:
    """[rows, out_features of all maps side by side] of each map on the rows' concatenated cell vectors."""
    weight, num_out = maps[0].weight, sum(m.out_features for m in maps)
    cells = read_cells(encoder, frame, weight.dtype, num_out)
    numbers = torch.cat(cells.numbers, dim=1) if cells.numbers else weight.new_zeros(frame.num_rows, 0)
    e = torch.cat(cells.encoders) if cells.encoders else weight.new_zeros(0, weight.shape[1] // frame.num_cols)
    parameters = [m.weight for m in maps] + [m.bias for m in maps]
    out: Tensor = _Fold.apply(cells, numbers, cells.vectors, e, *parameters)
    return out


def read_cells(encoder: StypeWiseFeatureEncoder, frame: TensorFrame, dtype: torch.dtype, num_out: int) -> Cells:
    """The numbers of a table's cells, for maps of num_out features together."""
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
        values = features[stype.embedding].values.to(dtype)
        _add_vectors(cells, first[stype.embedding], modules[stype.embedding], values, num_out)
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


def _add_vectors(cells: Cells, column: int, module: Any, values: Tensor, num_out: int) -> None:
    """Embeddings: as runs (columns of equal width beside each other are one), or their cell vectors where that is less work."""
    weights, at, begin, made = list(module.weight_list), 0, 0, []
    rows, channels, height = len(values), module.biases.shape[1], max(module.emb_dim_list)
    # Per column: rows * channels * (height + num_out) against (rows + channels) * height * num_out multiplications.
    is_made = rows * channels * (height + num_out) < (rows + channels) * height * num_out
    for width, group in groupby(module.emb_dim_list):
        number = len(list(group))
        vectors = values[:, begin : begin + number * width].unflatten(1, (number, width))
        present = (vectors != 0).any(dim=2, keepdim=True).to(values.dtype)
        weight, bias = torch.stack(weights[at : at + number]), module.biases[at : at + number]
        if is_made:
            made.append(((vectors.transpose(0, 1) @ weight).transpose(0, 1) + bias * present).flatten(1))
        else:
            part = torch.cat([weight, bias.unsqueeze(1)], dim=1)
            cells.add(column + at, torch.cat([vectors, present], dim=2), part)
        at, begin = at + number, begin + number * width
    if made:
        cells.vectors, cells.first_vector = torch.cat(made, dim=1), column


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
    """All maps as one, of their weights below each other; parameters: the weights, the biases."""

    @staticmethod
    def forward(
        ctx: Any, cells: Cells, numbers: Tensor, vectors: Tensor | None, e: Tensor, *parameters: Tensor
    ) -> Tensor:
        weight, bias = (torch.cat(p) if len(p) > 1 else p[0] for p in _halves(parameters))
        ctx.runs, ctx.picks, ctx.heights = cells.runs, cells.picks, [len(b) for b in _halves(parameters)[1]]
        ctx.columns, ctx.dtype = slice(cells.first_vector * e.shape[1], None), product_dtype(e)
        height, g = numbers.shape[1], e.new_empty(len(e), len(weight))
        for part, w, of_g in _runs(ctx.runs, e, weight, g):
            torch.bmm(part, w.mT, out=of_g)
        z = product(numbers, g[:height].T, bias, dtype=ctx.dtype) if height else bias.repeat(len(numbers), 1)
        if vectors is not None:
            ctx.columns = slice(ctx.columns.start, ctx.columns.start + vectors.shape[1])
            product(vectors, weight[:, ctx.columns], dtype=ctx.dtype, out=z, is_added=True)
        if ctx.picks is not None:
            g[-1] = 0.0
            z.add_(ctx.picks(g[height:]))
        ctx.save_for_backward(numbers, vectors, e, weight)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        numbers, vectors, e, weight = ctx.saved_tensors
        height, grad, grad_vectors = numbers.shape[1], grad.contiguous(), None
        grad_e, grad_g, grad_weight = torch.empty_like(e), e.new_empty(len(e), len(weight)), torch.empty_like(weight)
        if height:
            product(numbers.T, grad.T, dtype=ctx.dtype, out=grad_g[:height])
        if ctx.picks is not None:
            grad_g[height:], grad_e[-1] = ctx.picks.transposed(grad), 0.0
        both = zip(_runs(ctx.runs, e, weight, grad_g), _runs(ctx.runs, grad_e, grad_weight, grad_g), strict=True)
        for (part, w, of_g), (of_part, of_w, _) in both:
            torch.bmm(of_g, w, out=of_part)
            of_w.copy_(of_g.mT @ part)
        if vectors is not None:
            grad_vectors = product(grad, weight[:, ctx.columns].T, dtype=ctx.dtype)
            product(grad.T, vectors.T, dtype=ctx.dtype, out=grad_weight[:, ctx.columns])
        return None, None, grad_vectors, grad_e, *grad_weight.split(ctx.heights), *grad.sum(0).split(ctx.heights)


def _halves(parameters: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]


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
