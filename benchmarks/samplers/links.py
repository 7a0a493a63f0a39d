"""Links lost, by brute force: the foreign keys of the Parquet files joined with the sampled rows, against what the sampler returned.

Nothing of the graph is used, only the files' own key columns: row numbers are primary keys (database.py holds that).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.database.dataset import read_table
from rdl_core.graph.reg import EdgeType
from rdl_core.sampling.subgraph import Subgraph

Keys = Mapping[EdgeType, pd.Series]
Rows = Mapping[str, NDArray[np.integer]]
Pairs = Mapping[EdgeType, NDArray[np.integer]]


@dataclass
class LinkCount:
    """Sums over subgraphs.

    Args:
        true: Links that the join finds between sampled rows.
        lost: True links that were not returned.
        wrong: Returned links that the join does not find, or that were returned before.
    """

    true: int = 0
    lost: int = 0
    wrong: int = 0


def read_keys(dataset: RelBenchDataset) -> dict[EdgeType, pd.Series]:
    """Returns every foreign-key column as it stands in the files, indexed by child row."""
    return {
        (table, column, parent): read_table(dataset, table, columns=[column])[column].to_pandas()
        for table, spec in dataset.manifest.tables.items()
        for column, parent in spec.fkeys.items()
    }


def count_links(keys: Keys, rows: Rows, pairs: Pairs) -> LinkCount:
    """Compares one subgraph with the join.

    Args:
        keys: From `read_keys`.
        rows: Per table, the sampled rows.
        pairs: Per foreign key, int [2, links]: child row, parent row.
    """
    count = LinkCount()
    for edge_type, column in keys.items():
        child, _, parent = edge_type
        of_sample = column.iloc[rows[child]].dropna().astype(np.int64)
        true = of_sample[of_sample.isin(rows[parent])]
        expected = pd.MultiIndex.from_arrays([true.index, true.to_numpy()])
        found = pd.MultiIndex.from_arrays(list(pairs[edge_type].astype(np.int64)))
        lost = len(expected.difference(found))
        count.true += len(expected)
        count.lost += lost
        count.wrong += len(found) - (len(expected) - lost)
    return count


def count_all(keys: Keys, subgraphs: Iterable[Subgraph]) -> LinkCount:
    """Counts the links of HGSampling's subgraphs."""
    return add_up(count_links(keys, s.rows, row_pairs(s)) for s in subgraphs)


def row_pairs(subgraph: Subgraph) -> dict[EdgeType, NDArray[np.int32]]:
    """Returns a subgraph's links as row numbers instead of places: int32 [2, links] per key."""
    rows = subgraph.rows
    return {e: np.stack([rows[e[0]][child], rows[e[2]][parent]]) for e, (child, parent) in subgraph.links.items()}


def add_up(counts: Iterable[LinkCount]) -> LinkCount:
    """Returns the sum of counts."""
    total = LinkCount()
    for count in counts:
        total = LinkCount(total.true + count.true, total.lost + count.lost, total.wrong + count.wrong)
    return total
