"""Linear maps on a row's cell vectors, without the cell vectors.

PyTorch Frame makes a vector of every cell, e_c = E_c^T a_c, where a_c are the cell's numbers: (value, 1) of a number, 56 sines and cosines and 1 of
a time, the embedding and 1 of a text, a one-hot of a category; all zeros for null. A map on their concatenation is then one matrix on all numbers,

    sum over columns c of W_c e_c = sum over c of W_c E_c^T a_c = G^T a,    G_c = E_c W_c^T,

so the product with W_c runs once a column and not once a cell, and a category's a_c just picks a row of G. Texts are the exception: where a table
has fewer rows than their embeddings are wide, their cell vectors are the smaller side, and are made. Against PyTorch Frame's own forward,
only the order of multiplications differs (a test compares both); its modules hold the parameters.

On a CPU in float32 the G_c of all columns are one kernel call (fold_kernels.py), elsewhere a batched product a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch_frame import TensorFrame
from torch_frame.nn import StypeWiseFeatureEncoder

from rdl_core.kernels.linear import product, product_dtype
from rdl_core.kernels.product_kernels import HAS_KERNEL
from rdl_core.model.cells import Cells, Embeddings, read_cells
from rdl_core.model.fold_kernels import add_back, add_picked, fold, unfold


def folded_maps(encoder: StypeWiseFeatureEncoder, frame: TensorFrame, maps: Sequence[torch.nn.Linear]) -> Tensor:
    """[rows, out_features of all maps side by side] of each map on the rows' concatenated cell vectors."""
    weights = [m.weight for m in maps]
    cells = read_cells(encoder, frame, weights[0].dtype, sum(map(len, weights)))
    of_vectors = [*cells.vectors.weights, cells.vectors.bias] if cells.vectors is not None else []
    out: Tensor = _Fold.apply(cells, len(maps), *weights, *(m.bias for m in maps), *cells.parameters, *of_vectors)
    return out


class _Fold(Function):
    """parameters: the maps' weights, their biases, E's parameters, then weights and bias of vectors that are made."""

    @staticmethod
    def forward(ctx: Any, cells: Cells, num_maps: int, *parameters: Tensor) -> Tensor:
        maps = parameters[:num_maps]
        is_fast = HAS_KERNEL and maps[0].dtype == torch.float32 and maps[0].device.type == "cpu"
        weights = [w.contiguous() for w in maps] if is_fast else [torch.cat(maps)]
        bias, channels = torch.cat(parameters[num_maps : 2 * num_maps]), _channels(cells)
        parts = zip(cells.parameters, cells.used, strict=True)
        rows = [(p if u is None else p.index_select(0, u)).reshape(-1, channels) for p, u in parts]
        e = torch.cat(rows) if rows else bias.new_empty(0, channels)
        ctx.cells, ctx.heights, ctx.is_fast, ctx.dtype = cells, [len(w) for w in maps], is_fast, product_dtype(bias)
        g = _folded(cells, e, weights, is_fast)
        numbers = torch.cat(cells.numbers, dim=1) if cells.numbers else e.new_empty(cells.num_rows, 0)
        height, vectors = numbers.shape[1], None
        z = product(numbers, g[:height].T, bias, dtype=ctx.dtype) if height else bias.repeat(len(numbers), 1)
        if cells.picks is not None:
            if is_fast:
                add_picked(g.numpy(), *_picks(cells), z.numpy())
            else:
                z.add_(cells.picks(g))
        if cells.vectors is not None:
            vectors = _made(cells.vectors, ctx.dtype)
            for w, of_z in _by_map(weights, z):
                product(vectors, _columns(w, cells.vectors), dtype=ctx.dtype, out=of_z, is_added=True)
        ctx.save_for_backward(e, numbers, vectors, *weights)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        cells, grad = ctx.cells, grad.contiguous()
        e, numbers, vectors, *weights = ctx.saved_tensors
        height, grad_g = numbers.shape[1], e.new_zeros(len(e), grad.shape[1])
        if cells.picks is not None:
            if ctx.is_fast:
                add_back(grad.numpy(), *_picks(cells), grad_g.numpy())
            else:
                grad_g = cells.picks.transposed(grad)
        if height:
            product(numbers.T, grad.T, dtype=ctx.dtype, out=grad_g[:height])
        grad_e, grad_weights, of_vectors = torch.zeros_like(e), [torch.empty_like(w) for w in weights], []
        _unfold(cells, e, weights, grad_g, grad_e, grad_weights, ctx.is_fast)
        if vectors is not None:
            grad_vectors = torch.empty_like(vectors)
            for m, (w, of_z) in enumerate(_by_map(weights, grad)):
                product(of_z, _columns(w, cells.vectors).T, dtype=ctx.dtype, out=grad_vectors, is_added=m > 0)
            for w, of_z in _by_map(grad_weights, grad):
                product(of_z.T, vectors.T, dtype=ctx.dtype, out=_columns(w, cells.vectors))
            of_vectors = _gradients_of_made(cells.vectors, grad_vectors, ctx.dtype)
        of_maps = grad_weights if ctx.is_fast else grad_weights[0].split(ctx.heights)
        return None, None, *of_maps, *grad.sum(0).split(ctx.heights), *_gradients_of_parts(cells, grad_e), *of_vectors


def _channels(cells: Cells) -> int:
    return (cells.parameters[-1] if cells.vectors is None else cells.vectors.bias).shape[-1]


def _picks(cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    picks: Any = cells.picks
    weight = np.zeros(0) if picks.weight is None else picks.weight.numpy()
    return picks.index.numpy(), picks.offset.numpy(), weight


def _by_map(weights: Sequence[Tensor], z: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each weight with its columns of z."""
    return list(zip(weights, z.split([len(w) for w in weights], dim=1), strict=True))


def _columns(weight: Tensor, of: Embeddings) -> Tensor:
    channels = of.bias.shape[1]
    return weight[:, of.column * channels : (of.column + len(of.widths)) * channels]


def _gradients_of_parts(cells: Cells, grad_e: Tensor) -> list[Tensor]:
    """Of E's parameters."""
    heights = [
        p.numel() // grad_e.shape[1] if u is None else len(u) for p, u in zip(cells.parameters, cells.used, strict=True)
    ]
    parts = zip(cells.parameters, cells.used, grad_e.split(heights), strict=True)
    return [g.view(p.shape) if u is None else torch.zeros_like(p).index_copy_(0, u, g) for p, u, g in parts]


def _made(of: Embeddings, dtype: torch.dtype) -> Tensor:
    """Cell vectors [rows, columns * channels]."""
    vectors = (of.present.unsqueeze(2) * of.bias).flatten(1)
    parts = zip(of.values.split(of.widths, dim=1), of.weights, vectors.chunk(len(of.widths), dim=1), strict=True)
    for values, weight, out in parts:
        product(values, weight.T, dtype=dtype, out=out, is_added=True)
    return vectors


def _gradients_of_made(of: Embeddings, grad: Tensor, dtype: torch.dtype) -> list[Tensor]:
    columns = zip(of.values.split(of.widths, dim=1), of.present.T, grad.chunk(len(of.widths), dim=1), strict=True)
    both = [(product(v.T, part.T, dtype=dtype), product(p.unsqueeze(0), part.T)) for v, p, part in columns]
    return [*(of_weight for of_weight, _ in both), torch.cat([of_bias for _, of_bias in both])]


def _addresses(weights: Sequence[Tensor]) -> np.ndarray:
    return np.array([(w.data_ptr(), len(w)) for w in weights])


def _folded(cells: Cells, e: Tensor, weights: list[Tensor], is_fast: bool) -> Tensor:
    """G; rows that no run has are zeros."""
    g = e.new_zeros(len(e), sum(map(len, weights)))
    if is_fast:
        if cells.runs:
            fold(np.array(cells.runs), _addresses(weights), weights[0].shape[1], e.numpy(), g.numpy())
        return g
    for run in cells.runs:
        _rows(g, run).copy_(_rows(e, run) @ _columns_of(weights[0], e, run).mT)
    return g


def _unfold(
    cells: Cells, e: Tensor, weights: list[Tensor], grad_g: Tensor, grad_e: Tensor, to: list[Tensor], is_fast: bool
) -> None:
    """Writes the gradients of E and of the weights."""
    if is_fast:
        if cells.runs:
            addresses = _addresses(weights), weights[0].shape[1]
            unfold(np.array(cells.runs), *addresses, e.numpy(), grad_g.numpy(), grad_e.numpy(), _addresses(to))
        return
    for run in cells.runs:
        of_g, of_w = _rows(grad_g, run), _columns_of(to[0], e, run)
        _rows(grad_e, run).copy_(of_g @ _columns_of(weights[0], e, run))
        grad_w = of_g.mT @ _rows(e, run)
        of_w.add_(grad_w) if run[-1] else of_w.copy_(grad_w)


def _rows(x: Tensor, run: tuple[int, ...]) -> Tensor:
    """[columns, rows a column, ...] of [height, ...]: a run's part."""
    _, columns, begin, height, column_step, step, _ = run
    width = x.shape[1]
    return x.as_strided((columns, height, width), (column_step * width, step * width, 1), begin * width)


def _columns_of(weight: Tensor, e: Tensor, run: tuple[int, ...]) -> Tensor:
    """[columns, out, channels]: a run's part of a weight."""
    return weight.view(len(weight), -1, e.shape[1]).transpose(0, 1)[run[0] : run[0] + run[1]]
