"""A measurement of HGSampling's balance beside plain neighbour sampling: rows per table and links per key of both.

Plain sampling starts from the same seeds; for as many hops, each new row draws `fan_out` of all its neighbours at random, whatever their table
(GraphSAGE on the graph without types); a fan-out of 2.3 means two, and three for about every third row. It is fitted, so that both return about
as many rows. Links are, for both, all foreign keys between the sampled rows. It costs some milliseconds per subgraph: for a look, not for training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import EdgeType, RelationalEntityGraph
from rdl_core.random_streams import numpy_generator
from rdl_core.sampling.hg_kernels import count_before
from rdl_core.sampling.hg_sampling import HGSampling

SAMPLES_OF_BALANCE = 20
FAN_OUTS, FITTING_STEPS = (0.5, 32.0), 9


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """Rows and links of several subgraphs together.

    Args:
        rows: Rows per table.
        links: Links per foreign key.
    """

    rows: dict[str, int]
    links: dict[EdgeType, int]

    @property
    def num_rows(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())

    @property
    def even_tables(self) -> float:
        """The number of equally large tables over which rows would be spread as evenly: exp of the entropy of the tables' shares."""
        shares = np.array([n for n in self.rows.values() if n > 0]) / max(1, self.num_rows)
        return math.exp(-float((shares * np.log(shares)).sum()))


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Both samplers from the same seeds.

    Args:
        hg_sampling, plain: Rows and links that they returned.
        samples: Number of subgraphs of each.
        fan_out: Average fan-out of plain sampling.
    """

    hg_sampling: RowCounts
    plain: RowCounts
    samples: int
    fan_out: float


def balance(sampler: HGSampling, samples: int) -> Balance:
    """Counts rows and links of the first samples of epoch 0 (at most an epoch), and of plain neighbour sampling from their seeds."""
    cursors = [(0, k) for k in range(min(samples, sampler.samples_per_epoch))]
    subgraphs = sampler.sample(0, [k for _, k in cursors])
    graph = sampler.graph
    ours = RowCounts(
        rows={t: sum(s.num_rows[t] for s in subgraphs) for t in graph.node_types},
        links={e: sum(s.num_links[e] for s in subgraphs) for e in graph.edge_types},
    )
    seeds = [sampler.seeds.nodes(*cursor) for cursor in cursors]
    plain, fan_out = _plain_of_size(sampler, seeds, ours.num_rows)
    return Balance(hg_sampling=ours, plain=plain, samples=len(cursors), fan_out=fan_out)


def plain_neighbours(
    sampler: HGSampling, seeds: NDArray[np.int64], fan_out: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Returns the distinct graph nodes of one plain subgraph, seeds first; only rows before the sampler's bound."""
    found = dict.fromkeys(seeds.tolist())
    new = list(found)
    for _ in range(sampler.config.num_hops):
        drawn: list[int] = []
        for node, number in zip(new, (generator.random(len(new)) + fan_out).astype(int), strict=True):
            runs = _neighbours(sampler.graph, node, sampler.before_s)
            ends = np.cumsum([0, *(length for _, _, length, _ in runs)])
            for i in generator.choice(ends[-1], min(number, ends[-1]), replace=False, shuffle=False):
                run = int(np.searchsorted(ends, i, side="right")) - 1
                rows, first, _, offset = runs[run]
                drawn.append(offset + int(rows[first + i - ends[run]]))
        new = [node for node in dict.fromkeys(drawn) if node not in found]
        found |= dict.fromkeys(new)
    return np.array(list(found), np.int64)


def _plain_of_size(sampler: HGSampling, seeds: list[NDArray[np.int64]], num_rows: int) -> tuple[RowCounts, float]:
    """Counts plain samples of about `num_rows` rows in total, and returns their fan-out, found by bisection: totals grow with it."""
    low, high = FAN_OUTS
    best: tuple[RowCounts, float] | None = None
    for _ in range(FITTING_STEPS):
        fan_out = (low * high) ** 0.5
        generators = [numpy_generator(sampler.seed, k) for k in range(len(seeds))]
        nodes = [plain_neighbours(sampler, s, fan_out, g) for s, g in zip(seeds, generators, strict=True)]
        counts = count(sampler.graph, nodes)
        low, high = (low, fan_out) if counts.num_rows > num_rows else (fan_out, high)
        if best is None or abs(counts.num_rows - num_rows) < abs(best[0].num_rows - num_rows):
            best = counts, fan_out
    assert best is not None
    return best


def count(graph: RelationalEntityGraph, subgraphs: list[NDArray[np.int64]]) -> RowCounts:
    """Counts rows per table and foreign keys between them; each subgraph is int64 [nodes], distinct."""
    rows, links = dict.fromkeys(graph.node_types, 0), dict.fromkeys(graph.edge_types, 0)
    for nodes in subgraphs:
        parts = {
            table: nodes[(nodes >= low) & (nodes < high)] - low
            for table, low, high in zip(graph.node_types, graph.row_offset[:-1], graph.row_offset[1:], strict=True)
        }
        for table, part in parts.items():
            rows[table] += len(part)
        for edge_type in graph.edge_types:
            links[edge_type] += int(
                np.isin(graph.key_parent(edge_type)[parts[edge_type[0]]], parts[edge_type[2]]).sum()
            )
    return RowCounts(rows=rows, links=links)


def _neighbours(
    graph: RelationalEntityGraph, node: int, before_s: int
) -> list[tuple[NDArray[np.int32], int, int, int]]:
    """Returns the visible neighbours of a row as runs (array, first, length, first node of the table): a hub costs no more than others."""
    table = int(np.searchsorted(graph.row_offset, node, side="right")) - 1
    row, runs = node - int(graph.row_offset[table]), []
    for k in range(len(graph.edge_types)):
        child_offset, parent_offset = (int(graph.row_offset[t[k]]) for t in (graph.child_type, graph.parent_type))
        if graph.child_type[k] == table:
            at = int(graph.parent_offset[k]) + row
            if graph.parent[at] >= 0 and graph.time[parent_offset + graph.parent[at]] < before_s:
                runs.append((graph.parent, at, 1, parent_offset))
        if graph.parent_type[k] == table:
            at = int(graph.indptr_offset[k]) + row
            first, last = map(int, graph.children_indptr[at : at + 2])
            visible = int(count_before(graph.children, graph.time, child_offset, first, last, before_s))
            runs.append((graph.children, first, visible, child_offset))
    return runs
