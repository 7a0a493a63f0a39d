"""Heterogeneous GraphSAGE (Hamilton et al. 2017) over all tables at once, with its gradient written out.

A layer computes, per table, h_v = ReLU(LayerNorm(R x_v + b + sum over edge types e of W_e A_e x)), where A_e sums or averages over v's neighbours.
This is PyG's HeteroConv of SAGEConv with sum over edge types, with the root matrices of a table's edge types merged into one (their sum is all
that counts). Two facts make it cheap:

  W (A x) = A (W x): each product runs on the side with fewer rows: before the sums when the source table is smaller, else after them.
  The root matrices take part like one more edge type, from each row to itself.

So a layer is a product a relation, two sparse sums for all tables together (RowSums), and a norm a table. `Plan` says which rows meet where.
The rows of x need not be the nodes: a node may be a sum of rows (a distinct row and a distinct age), which then are multiplied once, not where
they occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rdl_core.config import AggregationConfig, MeanAggregation, TimeAttention
from rdl_core.graph.reg import EdgeType
from rdl_core.kernels.linear import product, product_dtype
from rdl_core.kernels.norm_relu import norm_relu, norm_relu_gradients
from rdl_core.kernels.sum_rows import RowSums, numpy_of

Relation = int
"""What a weight block belongs to: the place of an edge type in its table's `incoming`, or ROOT."""
ROOT = -1


@dataclass(frozen=True)
class Plan:
    """Which rows a layer multiplies and adds.

    Args:
        rows_in, rows_out: Per table (begin, end) in x and in the result.
        before: Per source table the (table of the result, relation) whose products run on its rows of x.
        after: Per table of the result the relations whose products run on summed rows.
        unused: (table of the result, relation) without edges.
        sums_before: From the products' rows, [rows of x * relations] table after table, to the result.
        sums_after: From x to [rows of the result * relations], table after table.
    """

    rows_in: list[tuple[int, int]]
    rows_out: list[tuple[int, int]]
    before: list[list[tuple[int, Relation]]]
    after: list[list[Relation]]
    unused: list[tuple[int, Relation]]
    sums_before: RowSums
    sums_after: RowSums


class HeteroSAGELayer(torch.nn.Module):
    """One layer; see the file's text.

    Args:
        tables: T table names.
        edge_types: Directed edge types (source, relation, destination).
        channels: In and out.
        aggregation: The sum or the mean.
    """

    def __init__(
        self, tables: Sequence[str], edge_types: Sequence[EdgeType], channels: int, aggregation: AggregationConfig
    ) -> None:
        super().__init__()
        if isinstance(aggregation, TimeAttention):
            raise NotImplementedError("attention over time")
        self.tables, self.aggregation = tuple(tables), aggregation
        self.incoming = {t: [e for e in edge_types if e[2] == t] for t in tables}
        self.root = torch.nn.ModuleList(torch.nn.Linear(channels, channels) for _ in tables)
        # One linear map on all aggregates of a table, initialised as if each edge type had its own (fan-in: channels).
        self.neighbour = torch.nn.ParameterList(
            torch.empty(channels, channels * len(self.incoming[t])).uniform_(-(channels**-0.5), channels**-0.5)
            for t in tables
        )
        self.norm = torch.nn.ModuleList(torch.nn.LayerNorm(channels) for _ in tables)

    def forward(
        self, x_dict: Mapping[str, Tensor], edges: Mapping[EdgeType, Tensor], num_out: Mapping[str, int]
    ) -> dict[str, Tensor]:
        """New vectors of the first num_out[table] rows of each table."""
        plan = self.plan({t: len(x_dict[t]) for t in self.tables}, edges, num_out)
        h = self.run(torch.cat([x_dict[t] for t in self.tables]), plan)
        return dict(zip(self.tables, h.split([num_out[t] for t in self.tables]), strict=True))

    def run(self, x: Tensor, plan: Plan) -> Tensor:
        """[rows out, channels] from [rows in, channels], table after table."""
        weights = (
            w
            for root, neighbour, norm in zip(self.root, self.neighbour, self.norm, strict=True)
            for w in (root.weight, root.bias, neighbour, norm.weight, norm.bias)
        )
        out: Tensor = _Layer.apply(plan, x, *weights)
        return out

    def plan(
        self,
        num_in: Mapping[str, int],
        edges: Mapping[EdgeType, Tensor],
        num_out: Mapping[str, int],
        lookup: Mapping[str, Tensor] | None = None,
    ) -> Plan:
        """The plan of these edges.

        Args:
            num_in: Rows of x per table.
            edges: int64 [2, edges] (source node, destination node) per directed edge type.
            num_out: Rows of the result per table: the first nodes.
            lookup: Per table int64 [nodes, parts], rows of x whose sum a node is; None: a node is the row of its number.
        """
        number = {t: i for i, t in enumerate(self.tables)}
        before: list[list[tuple[int, Relation]]] = [[] for _ in self.tables]
        after: list[list[Relation]] = [[] for _ in self.tables]
        unused: list[tuple[int, Relation]] = []
        entries: list[tuple[bool, int, int, int, Any, Any, Any]] = []
        for target, table in enumerate(self.tables):
            everyone = np.arange(num_out[table] if lookup is None else min(num_out[table], len(lookup[table])))
            pairs: list[tuple[Relation, str, NDArray, NDArray]] = [(ROOT, table, everyone, everyone)]
            pairs += [(k, e[0], *numpy_of(edges[e])) for k, e in enumerate(self.incoming[table])]
            for relation, source_table, u, v in pairs:
                source = number[source_table]
                if not len(u):
                    unused.append((target, relation))
                    continue
                is_before = num_in[source_table] <= num_out[table]
                block = len(before[source] if is_before else after[target])
                if is_before:
                    before[source].append((target, relation))
                else:
                    after[target].append(relation)
                rows, nodes, weight = self._entries(u, v, relation, None if lookup is None else lookup[source_table])
                entries.append((is_before, source, target, block, rows, nodes, weight))
        first_in, first_out = (_cumulative(n[t] for t in self.tables) for n in (num_in, num_out))
        widths = [len(b) for b in before], [len(a) for a in after]
        first_product = _cumulative(w * num_in[t] for w, t in zip(widths[0], self.tables, strict=True))
        first_sum = _cumulative(w * num_out[t] for w, t in zip(widths[1], self.tables, strict=True))
        ends: tuple[list, list] = ([], [])
        for is_before, s, t, block, rows, nodes, weight in entries:
            if is_before:
                ends[0].append((nodes + first_out[t], first_product[s] + rows * widths[0][s] + block, weight))
            else:
                ends[1].append((first_sum[t] + nodes * widths[1][t] + block, rows + first_in[s], weight))
        return Plan(
            rows_in=list(zip(first_in[:-1], first_in[1:], strict=True)),
            rows_out=list(zip(first_out[:-1], first_out[1:], strict=True)),
            before=before,
            after=after,
            unused=unused,
            sums_before=self._sums(ends[0], first_out[-1], first_product[-1]),
            sums_after=self._sums(ends[1], first_sum[-1], first_in[-1]),
        )

    def _entries(
        self, u: NDArray, v: NDArray, relation: Relation, lookup: Tensor | None
    ) -> tuple[NDArray, NDArray, NDArray]:
        """(row of x, node, weight) of each summand."""
        is_mean = isinstance(self.aggregation, MeanAggregation) and relation != ROOT
        weight = 1.0 / np.bincount(v)[v] if is_mean else np.ones(len(u))
        if lookup is None:
            return u, v, weight
        rows = numpy_of(lookup)[u]
        return rows.ravel(), np.repeat(v, rows.shape[1]), np.repeat(weight, rows.shape[1])

    def _sums(self, ends: list[tuple[NDArray, NDArray, NDArray]], num_targets: int, num_sources: int) -> RowSums:
        device = next(self.parameters()).device
        none: tuple[NDArray, NDArray, NDArray] = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        target, source, weight = (torch.from_numpy(np.concatenate(p)).to(device) for p in zip(none, *ends, strict=True))
        return RowSums.of(
            target, source, weight if isinstance(self.aggregation, MeanAggregation) else None, num_targets, num_sources
        )


def _cumulative(sizes: Iterable[int]) -> list[int]:
    return [0, *accumulate(sizes)]


class _Layer(Function):
    """The layer on all tables; weights: (root matrix, bias, neighbour matrices, norm's scale and shift) table after table."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Tensor, *weights: Tensor) -> Tensor:
        channels, dtype = x.shape[1], product_dtype(x)
        products = x.new_empty(plan.sums_before.num_sources, channels)
        parts = _parts(products, plan.rows_in, plan.before)
        for (begin, end), blocks, outs in zip(plan.rows_in, plan.before, parts, strict=True):
            for (target, relation), out in zip(blocks, outs, strict=True):
                product(x[begin:end], _block(target, relation, weights, channels), dtype=dtype, out=out)
        y = plan.sums_before(products)
        del products
        sums = plan.sums_after(x)
        h, saved = torch.empty_like(y), []
        parts = _parts(sums, plan.rows_out, plan.after)
        for t, ((begin, end), relations) in enumerate(zip(plan.rows_out, plan.after, strict=True)):
            _, bias, _, scale, shift = weights[5 * t : 5 * t + 5]
            mine = y[begin:end]
            mine.add_(bias)
            for relation, part in zip(relations, parts[t], strict=True):
                product(part, _block(t, relation, weights, channels), dtype=dtype, out=mine, is_added=True)
            saved.append(norm_relu(mine, scale, shift, None, out=h[begin:end])[1])
        ctx.plan, ctx.dtype = plan, dtype
        ctx.save_for_backward(x, sums, y, h, *saved, *weights)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        plan: Plan = ctx.plan
        x, sums, y, h, *rest = ctx.saved_tensors
        num_tables, channels, dtype = len(plan.rows_in), x.shape[1], ctx.dtype
        moments, weights = rest[:num_tables], rest[num_tables:]
        grads = [w.new_empty(w.shape) if i % 5 in (0, 2) else w for i, w in enumerate(weights)]
        for t, relation in plan.unused:
            _block(t, relation, grads, channels).zero_()
        grad_h = grad_h.contiguous()
        grad_y, grad_sums = torch.empty_like(y), torch.empty_like(sums)
        parts, of_parts = (_parts(s, plan.rows_out, plan.after) for s in (sums, grad_sums))
        for t, ((begin, end), relations) in enumerate(zip(plan.rows_out, plan.after, strict=True)):
            grad, of_norm = norm_relu_gradients(
                grad_h[begin:end], y[begin:end], h[begin:end], moments[t], weights[5 * t + 3], 1.0, grad_y[begin:end]
            )
            grads[5 * t + 3], grads[5 * t + 4], grads[5 * t + 1] = of_norm.unbind()
            for relation, part, of_part in zip(relations, parts[t], of_parts[t], strict=True):
                product(grad, _block(t, relation, weights, channels).T, dtype=dtype, out=of_part)
                product(grad.T, part.T, dtype=dtype, out=_block(t, relation, grads, channels))
        grad_x = plan.sums_after.transposed(grad_sums)
        parts = _parts(plan.sums_before.transposed(grad_y), plan.rows_in, plan.before)
        for (begin, end), blocks, of_products in zip(plan.rows_in, plan.before, parts, strict=True):
            for (target, relation), grad in zip(blocks, of_products, strict=True):
                matrix = _block(target, relation, weights, channels)
                product(grad, matrix.T, dtype=dtype, out=grad_x[begin:end], is_added=True)
                product(grad.T, x[begin:end].T, dtype=dtype, out=_block(target, relation, grads, channels))
        return None, grad_x, *grads


def _block(table: int, relation: Relation, weights: Sequence[Tensor], channels: int) -> Tensor:
    """The matrix [channels, channels] of a relation into a table."""
    if relation == ROOT:
        return weights[5 * table]
    return weights[5 * table + 2][:, relation * channels : (relation + 1) * channels]


def _parts(x: Tensor, rows: Sequence[tuple[int, int]], relations: Sequence[Sequence[Any]]) -> list[Sequence[Tensor]]:
    """Per table and relation [rows, channels], views of x [rows * relations, channels], table after table."""
    parts = x.split([(end - begin) * len(some) for (begin, end), some in zip(rows, relations, strict=True)])
    return [
        part.view(-1, len(some), x.shape[1]).unbind(1) if some else ()
        for part, some in zip(parts, relations, strict=True)
    ]
