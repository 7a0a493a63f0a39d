"""Statistics of past links strictly before a time: of a pair, of its destination and of its source. Exact; nothing is sampled.

    counts        log(1 + number of links) in each window that ends at the time, and in all of the past
    recency       1 / (1 + age of the last link in windows); 0 where there is none
    regularity    share of the last periods in which there was a link
    of a pair     the pair's share of its source's links besides; zeros for a pair that was never linked
    of an end     log(1 + days) since the last link, and since the first

Promises: a link at or after the bound changes no bit; a value is a function of (pair, bound, links before it), whatever is asked beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import LinkConfig
from rdl_core.links.past_links import PastLinks
from rdl_core.timestamps import SECONDS_PER_DAY

MAX_BYTES_KEPT = 1 << 30
"""Statistics of destinations are kept per time up to this size."""


@dataclass(frozen=True, kw_only=True)
class PairInputs:
    """Statistics of all pairs of some sources and destinations at one time.

    Args:
        of_source: float32 [sources, width].
        of_destination: float32 [destinations, width].
        question, destination: int64 [linked pairs], places in the two above; in the order of (question, destination).
        of_pair: float32 [linked pairs, width]; of all other pairs it is zeros.
    """

    of_source: NDArray[np.float32]
    of_destination: NDArray[np.float32]
    question: NDArray[np.int64]
    destination: NDArray[np.int64]
    of_pair: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PairStatistics:
    """The statistics of past links.

    Args:
        links: The links.
        window_s: Seconds of the task's window, the unit of windows and periods.
        config: Which windows and periods.
    """

    links: PastLinks
    window_s: int
    config: LinkConfig
    _kept: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def end_width(self) -> int:
        """Number of statistics of a source or a destination."""
        return len(self.config.windows) + 5

    @property
    def pair_width(self) -> int:
        """Number of statistics of a pair."""
        return len(self.config.windows) + 4

    def __call__(self, sources: NDArray[np.int64], destinations: NDArray[np.int64], before_s: int) -> PairInputs:
        """Returns the statistics of all pairs of these rows strictly before a time.

        Args:
            sources: int64 [sources], rows of the source table; -1, of nobody, has no past.
            destinations: int64 [destinations], distinct rows of the destination table.
            before_s: UNIX seconds.
        """
        question, target, age_s = self.links_of(sources, before_s)
        of_source = self._of_ends(question, age_s, len(sources))
        place = np.full(self.links.num_destinations, -1, np.int64)
        place[destinations] = np.arange(len(destinations))
        asked = np.flatnonzero(place[target] >= 0)
        pairs, of_link = np.unique(question[asked] * len(destinations) + place[target[asked]], return_inverse=True)
        of_pair = self._of_groups(of_link, age_s[asked], len(pairs))
        total = np.bincount(question, minlength=len(sources))
        share = np.bincount(of_link, minlength=len(pairs)) / np.maximum(1, total[pairs // max(1, len(destinations))])
        return PairInputs(
            of_source=of_source,
            of_destination=self.of_destinations(before_s)[destinations],
            question=pairs // max(1, len(destinations)),
            destination=pairs % max(1, len(destinations)),
            of_pair=np.column_stack([of_pair, share]).astype(np.float32),
        )

    def of_destinations(self, before_s: int) -> NDArray[np.float32]:
        """Returns the statistics of every destination strictly before a time: float32 [destinations, end_width]."""
        if before_s not in self._kept:
            past = self.links.between(None, before_s)
            age_s = before_s - self.links.time_s[past]
            found = self._of_ends(self.links.destination[past], age_s, self.links.num_destinations)
            if (len(self._kept) + 1) * found.nbytes > MAX_BYTES_KEPT:
                return found
            self._kept[before_s] = found
        return self._kept[before_s]

    def counts(self, before_s: int, window: float | None) -> NDArray[np.int64]:
        """Returns how many links each destination has in a window before a time, in units of the task's; None: in all of the past."""
        from_s = None if window is None else before_s - round(window * self.window_s)
        part = self.links.between(from_s, before_s)
        return np.bincount(self.links.destination[part], minlength=self.links.num_destinations)

    def links_of(
        self, sources: NDArray[np.int64], before_s: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Returns the links of sources strictly before a time: (place of the source, destination, age in seconds), int64 [links] each."""
        order, indptr = self.links.by_source
        known = np.maximum(sources, 0)
        counts = np.where(sources >= 0, indptr[known + 1] - indptr[known], 0)
        question = np.repeat(np.arange(len(sources)), counts)
        link = order[np.repeat(indptr[known] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())]
        is_past = self.links.time_s[link] < before_s
        link = link[is_past]
        return question[is_past], self.links.destination[link], before_s - self.links.time_s[link]

    def _of_groups(self, group: NDArray[np.int64], age_s: NDArray[np.int64], number: int) -> NDArray[np.float64]:
        """Returns counts, recency and regularity of groups of links: float64 [groups, windows + 3]."""
        columns = [
            np.log1p(np.bincount(group[age_s <= window * self.window_s], minlength=number))
            for window in self.config.windows
        ]
        columns.append(np.log1p(np.bincount(group, minlength=number)))
        last_s = _extreme(np.minimum, group, age_s, number, np.iinfo(np.int64).max)
        columns.append(np.where(last_s == np.iinfo(np.int64).max, 0.0, 1.0 / (1.0 + last_s / self.window_s)))
        period = (age_s - 1) // self.window_s
        recent = period < self.config.periods
        seen = np.unique(group[recent] * self.config.periods + period[recent]) // self.config.periods
        columns.append(np.bincount(seen, minlength=number) / self.config.periods)
        return np.column_stack(columns)

    def _of_ends(self, end: NDArray[np.int64], age_s: NDArray[np.int64], number: int) -> NDArray[np.float32]:
        first_s, last_s = (
            _extreme(np.maximum, end, age_s, number, 0),
            _extreme(np.minimum, end, age_s, number, np.iinfo(np.int64).max),
        )
        last_s = np.where(last_s == np.iinfo(np.int64).max, 0, last_s)
        days = [np.log1p(age / SECONDS_PER_DAY) for age in (last_s, first_s)]
        return np.column_stack([self._of_groups(end, age_s, number), *days]).astype(np.float32)


def _extreme(
    of: np.ufunc, group: NDArray[np.int64], values: NDArray[np.int64], number: int, start: int
) -> NDArray[np.int64]:
    found = np.full(number, start, np.int64)
    of.at(found, group, values)
    return found
