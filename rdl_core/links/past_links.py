"""Past links: (source row, destination row, time) of every row of a link table, and which of the tables the labels are made of.

Promises: a link's time is the latest time from which a row on its path exists, so whoever counts links before a time counts what was known then; a
row without a source, a destination or a time is no link. Which path is taken is decided by train labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import EdgeType, RelationalEntityGraph
from rdl_core.graph.store import Store
from rdl_core.links.key_path import LinkPath, find_link_paths, usable_keys
from rdl_core.links.labels import LinkSplit
from rdl_core.problems import InputError
from rdl_core.timestamps import NO_TIME

MAX_QUESTIONS = 2_000
"""Train labels by which paths are compared: the newest."""


@dataclass(frozen=True, kw_only=True)
class PastLinks:
    """The links along a path, in the order of their time.

    Args:
        path: The path.
        source, destination: int64 [links], rows of both tables.
        time_s: int64 [links], UNIX seconds, ascending.
        num_sources, num_destinations: Rows of both tables.
    """

    path: LinkPath
    source: NDArray[np.int64]
    destination: NDArray[np.int64]
    time_s: NDArray[np.int64]
    num_sources: int
    num_destinations: int

    @classmethod
    def along(cls, graph: RelationalEntityGraph, path: LinkPath) -> PastLinks:
        """Reads the links along a path."""
        source, of_source_s = _climbed(graph, path.table, path.to_source)
        destination, of_destination_s = _climbed(graph, path.table, path.to_destination)
        time_s = np.maximum(of_source_s, of_destination_s)
        links = np.flatnonzero((source >= 0) & (destination >= 0) & (time_s != NO_TIME))
        links = links[np.argsort(time_s[links], kind="stable")]
        ends = [keys[-1][2] if keys else path.table for keys in (path.to_source, path.to_destination)]
        return cls(
            path=path,
            source=source[links],
            destination=destination[links],
            time_s=time_s[links],
            num_sources=graph.num_rows(ends[0]),
            num_destinations=graph.num_rows(ends[1]),
        )

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def by_source(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The links source by source, each in the order of time, and where each source's begin: int64 [links], int64 [sources + 1]."""
        counts = np.bincount(self.source, minlength=self.num_sources)
        return np.argsort(self.source, kind="stable"), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def between(self, from_s: int | None, until_s: int) -> slice:
        """Returns where the links with from_s <= time < until_s lie; None: from the first on."""
        begin = 0 if from_s is None else int(np.searchsorted(self.time_s, from_s, side="left"))
        return slice(begin, max(begin, int(np.searchsorted(self.time_s, until_s, side="left"))))

    def pairs(self, part: slice) -> NDArray[np.int64]:
        """Returns the pairs of some links, each as one number: source * num_destinations + destination."""
        return self.source[part] * self.num_destinations + self.destination[part]

    def agreement(self, labels: LinkSplit) -> float:
        """Returns how well the links after each label's time, up to the end of its window, are its destinations: F1 over pairs, 0 to 1."""
        num_common = num_found = num_labelled = 0
        for time_s in np.unique(labels.time_s):
            questions = np.flatnonzero(labels.time_s == time_s)
            found = np.unique(self.pairs(self.between(time_s + 1, time_s + labels.window_s + 1)))
            found = found[np.isin(found // self.num_destinations, labels.sources[questions])]
            rows, positives = labels.positives_of(questions)
            labelled = np.unique(labels.sources[questions][rows] * self.num_destinations + positives)
            num_common += len(np.intersect1d(found, labelled, assume_unique=True))
            num_found, num_labelled = num_found + len(found), num_labelled + len(labelled)
        return 2.0 * num_common / max(1, num_found + num_labelled)


def find_past_links(store: Store, train: LinkSplit, source: str, destination: str) -> tuple[PastLinks, float]:
    """Returns the links along the path that agrees best with the train labels, and that agreement.

    Args:
        train: Train labels.
        source, destination: Tables.

    Raises:
        InputError: No table's rows join the two tables, or none of those whose rows do agrees with any label.
    """
    newest = train.rows(np.sort(np.argsort(-train.time_s, kind="stable")[:MAX_QUESTIONS]))
    best: tuple[PastLinks, float] | None = None
    for path in find_link_paths(usable_keys(store), source, destination):
        links = PastLinks.along(store.graph, path)
        agreement = links.agreement(newest)
        if best is None or agreement > best[1]:
            best = links, agreement
    if best is None:
        raise InputError(
            f"no table has keys that lead to {source} and to {destination}, so there are no past links to learn from. Remedy: declare the keys in "
            "the import's schema file, or materialize without leaving out the table that joins them"
        )
    return best


def _climbed(
    graph: RelationalEntityGraph, table: str, keys: Sequence[EdgeType]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the ancestor of each row of a table, -1 for none, and the latest time on the way: int64 [rows] each."""
    time_s = graph.table_time(table).copy()
    row = np.arange(len(time_s), dtype=np.int64)
    for key in keys:
        is_known = row >= 0
        row[is_known] = graph.key_parent(key)[row[is_known]]
        is_known = row >= 0
        time_s[is_known] = np.maximum(time_s[is_known], graph.table_time(key[2])[row[is_known]])
    return row, time_s
