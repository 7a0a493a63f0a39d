"""Edges of one directed type as the tensors that message passing needs, made on the host before a step, both ways sorted.

Promises: edges are sorted by target and keep their order within a target (most recent first where the sampler says so); sums over edges run forward
along the targets and backward along the sources, each in a fixed order and without atomics, so results are the same bits each time, also on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.graph.reg import EdgeType
from rdl_core.kernel_cache import njit
from rdl_core.kernels.softmax_rows import softmax_rows
from rdl_core.kernels.sum_rows import sum_rows


@dataclass(frozen=True)
class Edges:
    """Edges of one directed type between the nodes of a batch.

    Args:
        source, target: int64 [edges], places among the source and the target table's nodes; sorted by target.
        row_ptr: int64 [targets + 1], where each target's edges begin and end.
        degree: float32 [targets, 1], edges of each target, at least 1.
        edge_by_source: int64 [edges], edge numbers in the order of their sources.
        target_by_source: int64 [edges], targets in the order of the sources.
        source_ptr: int64 [sources + 1], where each source's edges begin and end in that order.
        each: int64 [edges + 1], 0, 1, ...
        age_days: float32 [edges], age of the source row relative to the question (fine-tuning: the seed's time; pretraining: the newest row
            of the sample); None where the source table has no time.
        is_newest_first: Whether each target's edges are known to be in the order of their sources' times, the most recent first.
        is_single: Whether no target has more than one edge.
    """

    source: Tensor
    target: Tensor
    row_ptr: Tensor
    degree: Tensor
    edge_by_source: Tensor
    target_by_source: Tensor
    source_ptr: Tensor
    each: Tensor
    age_days: Tensor | None = None
    is_newest_first: bool = False
    is_single: bool = False

    @property
    def num_targets(self) -> int:
        """Target nodes, with or without edges."""
        return self.row_ptr.shape[0] - 1

    @property
    def edge_index(self) -> Tensor:
        """PyG's form: int64 [2, edges] of (source, target)."""
        return torch.stack([self.source, self.target])

    @property
    def rank(self) -> Tensor:
        """Each edge's place among those of its target: int64 [edges], 0 for the first."""
        return self.each[:-1] - self.row_ptr[self.target]

    def sum_sources(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sums of the sources' rows per target: [targets, channels] from [sources, channels]; weights [edges] are constants."""
        both = (None, None) if weights is None else (weights, weights[self.edge_by_source])
        return sum_rows(x, self.source, self.row_ptr, self.target_by_source, self.source_ptr, both)

    def sum_edges(self, messages: Tensor) -> Tensor:
        """Sums of the edges' rows per target: [targets, channels] from [edges, channels]."""
        return sum_rows(messages, self.each[:-1], self.row_ptr, self.target, self.each)

    def of_sources(self, x: Tensor) -> Tensor:
        """The row of each edge's source: [edges, channels] from [sources, channels]."""
        return sum_rows(x, self.source, self.each, self.edge_by_source, self.source_ptr)

    def of_targets(self, x: Tensor) -> Tensor:
        """The row of each edge's target: [edges, channels] from [targets, channels]."""
        return sum_rows(x, self.target, self.each, self.each[:-1], self.row_ptr)

    def largest(self, messages: Tensor) -> Tensor:
        """The largest of the edges' rows per target and channel, 0 where there is none: [targets, channels] from [edges, channels].

        Its gradient is shared evenly among equal ones: neither way depends on the order of additions, on whatever device.
        """
        index = self.target.unsqueeze(1).expand_as(messages)
        zeros = messages.new_zeros(self.num_targets, messages.shape[1])
        return zeros.scatter_reduce(0, index, messages, "amax", include_self=False)

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax over the edges of each target: [edges, heads] from [edges, heads]."""
        return softmax_rows(scores, self.target, self.row_ptr, self.each)


def make_edges(
    source: NDArray[np.integer],
    target: NDArray[np.integer],
    num_sources: int,
    num_targets: int,
    age_days: NDArray[np.float32] | None = None,
    dates: tuple[NDArray[np.int64], NDArray[np.integer]] | None = None,
) -> Edges:
    """Returns the edges of these ends.

    Args:
        source, target: [edges], in any order; the order within a target is kept, unless there are `dates`.
        num_sources, num_targets: Nodes of the two tables.
        age_days: float32 [sources], or None.
        dates: The sources' times [sources] and what orders those of one time [sources], their rows: each target's edges are put in this order, the
            most recent first.

    Raises:
        IndexError: An end is not one of the nodes.
    """
    for name, ends, size in (("source", source, num_sources), ("target", target, num_targets)):
        if len(ends) and not 0 <= ends.min() <= ends.max() < size:
            raise IndexError(f"{name} nodes must be 0 to {size - 1}, got {ends.min()} to {ends.max()}")
    order, row_ptr = counting_sort(target, num_targets)
    source, target = source[order].astype(np.int64), target[order].astype(np.int64)
    if dates is not None:
        sort_newest_first(source, row_ptr, *dates)
    by_source, source_ptr = counting_sort(source, num_sources)
    ages = None if age_days is None else torch.from_numpy(age_days[source])
    num_edges = np.diff(row_ptr)
    degree = np.maximum(num_edges, 1).astype(np.float32)[:, None]
    as_tensor = torch.from_numpy
    return Edges(
        source=as_tensor(source),
        target=as_tensor(target),
        row_ptr=as_tensor(row_ptr),
        degree=as_tensor(degree),
        edge_by_source=as_tensor(by_source),
        target_by_source=as_tensor(target[by_source]),
        source_ptr=as_tensor(source_ptr),
        each=torch.arange(len(source) + 1),
        age_days=ages,
        is_newest_first=dates is not None,
        is_single=bool(num_edges.max(initial=0) <= 1),
    )


def edges_within_hops(
    ends: Mapping[EdgeType, NDArray[np.integer]],
    num_nodes_per_hop: Mapping[str, Sequence[int]],
    num_edges_per_hop: Mapping[EdgeType, Sequence[int]],
    ages: Mapping[str, NDArray[np.float32]],
    dates: Mapping[str, tuple[NDArray[np.int64], NDArray[np.integer]]] | None = None,
) -> tuple[dict[EdgeType, Edges], ...]:
    """Returns what each layer needs of trees: item k has the edges whose targets lie within the first k hops (item 0: the seeds only).

    The last layer reads item 0, the one before it item 1, and so on; layers before the last item's read the last item.

    Args:
        ends: Per directed edge type int [2, edges], sorted by target, and so by hop.
        num_nodes_per_hop: Per table [hops + 1] counts.
        num_edges_per_hop: Per directed edge type [hops] counts.
        ages: Per table with a time column float32 [nodes], in days.
        dates: Per table the times and rows of its nodes, [nodes] each, for edges in the order of time (see `make_edges`).
    """
    nodes = {t: np.cumsum([*n, 0]).tolist() for t, n in num_nodes_per_hop.items()}
    items = []
    for hops in range(max(map(len, num_nodes_per_hop.values()))):
        item = {}
        for edge_type, index in ends.items():
            source, _, target = edge_type
            near = index[:, : sum(num_edges_per_hop[edge_type][: hops + 1])]
            sizes = nodes[source][hops + 1], nodes[target][hops]
            dated = None if dates is None else dates[source]
            item[edge_type] = make_edges(near[0], near[1], *sizes, ages.get(source), dated)
        items.append(item)
    return tuple(items)


@njit(cache=True, nogil=True)
def sort_newest_first(source, row_ptr, time, row):  # type: ignore[no-untyped-def]
    """Puts the sources within each segment of `row_ptr` in the order of (time, row), the largest first."""
    for segment in range(len(row_ptr) - 1):
        begin, end = row_ptr[segment], row_ptr[segment + 1]
        # The sampler's lists are mostly in ascending order: sorted so by insertion, which costs one pass then, and turned round.
        for i in range(begin + 1, end):
            moved, place = source[i], i
            while place > begin:
                before = source[place - 1]
                if time[before] < time[moved] or (time[before] == time[moved] and row[before] <= row[moved]):
                    break
                source[place] = before
                place -= 1
            source[place] = moved
        for i in range((end - begin) // 2):
            source[begin + i], source[end - 1 - i] = source[end - 1 - i], source[begin + i]


@njit(cache=True, nogil=True)
def counting_sort(keys, num_keys):  # type: ignore[no-untyped-def]
    """Returns (positions in the order of the keys, ties in their order; [num_keys + 1] where each key begins)."""
    begins = np.zeros(num_keys + 1, np.int64)
    for key in keys:
        begins[key + 1] += 1
    for key in range(num_keys):
        begins[key + 1] += begins[key]
    place, order = begins[:-1].copy(), np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        order[place[keys[i]]] = i
        place[keys[i]] += 1
    return order, begins
