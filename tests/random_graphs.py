"""Random databases of a few rows, with cycles, nulls and tables without times, and their graphs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.existence import existence_times
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph, build_graph
from rdl_core.timestamps import NO_TIME

Parents = dict[EdgeType, NDArray[np.int32]]
Times = dict[str, NDArray[np.int64]]


def random_database(seed: int, max_rows: int = 9) -> tuple[dict[str, int], Parents, Times]:
    """Returns (rows per table, parents per key, times per dated table).

    2 to 6 tables, about half of them dated; up to 8 keys (self references and cycles, too) with nulls.
    """
    rng = np.random.default_rng(seed)
    tables = [f"t{i}" for i in range(rng.integers(2, 7))]
    num_rows = {t: int(rng.integers(1, max_rows)) for t in tables}
    parents: Parents = {}
    for k in range(rng.integers(1, 9)):
        child, parent = rng.choice(tables), rng.choice(tables)
        rows = rng.integers(0, num_rows[parent], num_rows[child])
        parents[str(child), f"k{k}", str(parent)] = np.where(rng.random(len(rows)) < 0.2, -1, rows).astype(np.int32)
    times: Times = {}
    for table in tables:
        if rng.random() < 0.45:
            own = rng.integers(-5, 15, num_rows[table])
            times[table] = np.where(rng.random(len(own)) < 0.1, NO_TIME, own).astype(np.int64)
    return num_rows, parents, times


def random_graph(seed: int, max_rows: int = 9) -> RelationalEntityGraph:
    """Returns the graph of `random_database`."""
    num_rows, parents, own = random_database(seed, max_rows)
    times = existence_times(num_rows, parents, own)
    return build_graph(num_rows, parents, times, {t: t in own for t in num_rows})
