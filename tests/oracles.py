"""Definitions in plain Python against which kernels are compared: random numbers, visible children, temporal trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdl_core.graph.reg import EdgeType, RelationalEntityGraph
from rdl_core.sampling.temporal_sampling import TemporalSubgraph

MASK = (1 << 64) - 1
GAMMA, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
Node = tuple[str, int]


def python_mix(x: int) -> int:
    """Mixes 64 bits by splitmix64's finaliser."""
    x = (x ^ (x >> 30)) * MIX_1 & MASK
    x = (x ^ (x >> 27)) * MIX_2 & MASK
    return x ^ (x >> 31)


def python_fold(key: int, number: int) -> int:
    """Folds a number into a key, as `fold` does."""
    return python_mix((key ^ python_mix((number + GAMMA) & MASK)) + GAMMA & MASK)


def python_uniform(key: int, counter: int) -> float:
    """Returns the number in (0, 1) that `uniform` returns."""
    return ((python_mix(key + GAMMA * (counter + 1) & MASK) >> 12) + 0.5) / 2**52


def children_before(graph: RelationalEntityGraph, key: EdgeType, row: int, bound: int) -> list[int]:
    """Returns the visible children of a parent row by (time, row), from the key itself."""
    time = graph.table_time(key[0])
    rows = [int(r) for r in np.flatnonzero(graph.key_parent(key) == row) if time[r] < bound]
    return sorted(rows, key=lambda r: (int(time[r]), r))


@dataclass
class Tree:
    """Nodes by hop in order of discovery, edges (neighbour, row, directed type, hop)."""

    hop: dict[Node, int]
    edges: list[tuple[Node, Node, EdgeType, int]]


def trees_of(found: TemporalSubgraph, num_seeds: int) -> list[Tree]:
    """Returns the trees of the seeds, taken apart by the documented meaning of the fields alone."""
    nodes: dict[str, list[tuple[int, Node, int]]] = {}
    for table, index in found.index.items():
        hops = np.repeat(np.arange(len(found.num_nodes_per_hop[table])), found.num_nodes_per_hop[table])
        rows = found.rows[table][index].tolist()
        assert len(hops) == len(rows) == len(found.seed[table])
        nodes[table] = [(int(s), (table, r), int(h)) for s, r, h in zip(found.seed[table], rows, hops, strict=True)]
    trees = [Tree({}, []) for _ in range(num_seeds)]
    for mine in nodes.values():
        for seed, node, hop in mine:
            assert node not in trees[seed].hop  # a row stands once in a tree
            trees[seed].hop[node] = hop
    for directed, edges in found.edges.items():
        hops = np.repeat(np.arange(len(found.num_edges_per_hop[directed])), found.num_edges_per_hop[directed])
        assert len(hops) == edges.shape[1]
        for source, target, hop in zip(*edges.tolist(), hops.tolist(), strict=True):
            (a, from_node, _), (b, to_node, _) = nodes[directed[0]][source], nodes[directed[2]][target]
            assert a == b  # trees are disjoint
            trees[a].edges.append((from_node, to_node, directed, hop))
    return trees
