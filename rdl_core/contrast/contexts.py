"""Eq. 3: the context of a row as a weighted sum of its neighbours' projected rows, for all tables as one RowSums.

A neighbour joined by two keys, or a row of a self-referencing key that is both child and parent of v, counts once per directed link. Rows are
numbered table after table. In loops:

    for v in rows:
        sources = [[u for u, row in edge_type if row == v] for edge_type in directed edge types into v's table]
        if form == "neighbours":
            c[v] = mean(z[u] for u in all_of(sources))
        else:
            c[v] = mean([mean(z[u] for u in some) for some in sources if some])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rdl_core.graph.reg import EdgeType
from rdl_core.kernels.linear import product
from rdl_core.kernels.sum_rows import RowSums


def context_sums(
    links_dict: Mapping[EdgeType, Tensor],
    target_dict: Mapping[EdgeType, Tensor] | None,
    num_rows: Mapping[str, int],
    form: Literal["neighbours", "edge_types"],
) -> tuple[RowSums, Tensor]:
    """(the sums, bool [all rows] whether a row has a context).

    links_dict: {edge_type: int64 [2, links]}, rows (child; parent). target_dict: {edge_type: bool [links]}, the links that count; None: all.
    num_rows: rows of each table, in the order of the result.
    """
    first, total = {}, 0
    for table, number in num_rows.items():
        first[table], total = total, total + number
    links, number = torch.cat(list(links_dict.values()), dim=1), len(links_dict)
    begins = torch.tensor([[first[e[0]] for e in links_dict], [first[e[2]] for e in links_dict], range(number)])
    lengths = torch.tensor([x.shape[1] for x in links_dict.values()])
    begins = begins.repeat_interleave(lengths, dim=1, output_size=links.shape[1]).to(links.device)
    children, parents, key = links[0] + begins[0], links[1] + begins[1], begins[2]
    if target_dict is not None:
        is_used = torch.cat([target_dict[e] for e in links_dict])
        children, parents, key = children[is_used], parents[is_used], key[is_used]
    source, target = torch.cat([children, parents]), torch.cat([parents, children])
    degree = torch.bincount(target, minlength=total)
    if form == "neighbours":
        weight = 1.0 / degree[target].double()
    else:
        cell = torch.cat([key, key + number]) * total + target  # a row and one of its edge types
        per_kind = torch.bincount(cell, minlength=2 * number * total)
        num_kinds = (per_kind.view(2 * number, total) > 0).sum(0)
        weight = 1.0 / (per_kind[cell] * num_kinds[target]).double()
    return RowSums.of(target, source, weight, total, total), degree > 0


def projected_sums(
    sums: RowSums, rows: Sequence[Tensor], matrices: Iterable[Tensor], biases: Iterable[Tensor]
) -> Tensor:
    """[all rows, channels]: the sums of z = x W + b over all tables, with a gradient; no biases: b = 0. x: [rows, channels] per table."""
    out: Tensor = _ProjectedSums.apply(sums, len(rows), *rows, *matrices, *biases)
    return out


class _ProjectedSums(Function):
    @staticmethod
    def forward(ctx: Any, sums: RowSums, number: int, *tensors: Tensor) -> Tensor:
        ctx.sums, ctx.number = sums, number
        ctx.save_for_backward(*tensors)
        rows, matrices, biases = tensors[:number], tensors[number : 2 * number], tensors[2 * number :]
        parts = zip(rows, matrices, biases or (None,) * number, strict=True)
        return sums(torch.cat([product(x, w.T, b) for x, w, b in parts]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        tensors, number = ctx.saved_tensors, ctx.number
        rows, matrices = tensors[:number], tensors[number : 2 * number]
        parts = ctx.sums.transposed(grad.contiguous()).split([len(x) for x in rows])
        of_rows, of_matrices = [], []
        for x, w, part in zip(rows, matrices, parts, strict=True):
            of_rows.append(product(part, w))
            of_matrices.append(product(x.T, part.T))
        of_biases = [part.sum(0) for part in parts] if len(tensors) > 2 * number else []
        return None, None, *of_rows, *of_matrices, *of_biases
