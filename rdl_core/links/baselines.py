"""What a link task's model must beat: destinations by popularity, and a source's own past links, filled up by popularity.

    popularity   the destinations with the most links in a window before the time; of equal ones, those linked last
    past links   the source's own destinations, by their number of links in a window or by the last one; the rest by popularity

Promises: the window, and the order of past links, are chosen on validation by MAP; nothing at or after a question's bound is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from relbench.base import RecommendationTask

from rdl_core.links.labels import LinkSplit
from rdl_core.links.pair_statistics import PairStatistics
from rdl_core.links.scoring import METRIC, best_destinations, link_metrics

LATEST = "latest"
Window = float | None
"""In units of the task's window; None: all of the past."""
CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline with its choice.

    Args:
        popular: Window of popularity.
        own: Window in which a source's own links are counted, LATEST: by the last one; "": popularity alone.
    """

    popular: Window
    own: Window | str = ""

    @property
    def words(self) -> str:
        """The choice in words."""
        popular = f"most links in {_window_words(self.popular)}"
        if self.own == "":
            return popular
        how = "the latest first" if isinstance(self.own, str) else f"by links in {_window_words(self.own)}"
        return f"the source's own destinations, {how}; then {popular}"


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """The baselines of a task.

    Args:
        task: The task.
        statistics: Its past links.
        exists: Returns which destinations exist before a time, bool [destinations].
    """

    task: RecommendationTask
    statistics: PairStatistics
    exists: Callable[[int], NDArray[np.bool_]]

    def choose(self, val: LinkSplit) -> dict[str, Baseline]:
        """Returns {"popularity", "past_links"}, each the best on validation; of equal ones the first."""
        windows: list[Window] = [*self.statistics.config.windows, None]
        popular = self._best(val, [Baseline(popular=window) for window in windows])
        own = [Baseline(popular=popular.popular, own=window) for window in [*windows, LATEST]]
        return {"popularity": popular, "past_links": self._best(val, own)}

    def rank(self, baseline: Baseline, split: LinkSplit) -> NDArray[np.int64]:
        """Returns the best destinations of all questions: int64 [questions, eval_k]."""
        ranked = np.full((len(split), self.task.eval_k), -1, np.int64)
        for before_s in np.unique(split.before_s):
            rows = np.flatnonzero(split.before_s == before_s)
            destinations = np.flatnonzero(self.exists(int(before_s)))
            popularity = self._popularity(baseline.popular, int(before_s))
            for begin in range(0, len(rows), CHUNK):
                part = rows[begin : begin + CHUNK]
                scores = np.tile(popularity, (len(part), 1))
                if baseline.own != "":
                    scores += self._own(baseline.own, split.sources[part], int(before_s))
                ranked[part] = best_destinations(scores[:, destinations], destinations, self.task.eval_k)[0]
        return ranked

    def _best(self, val: LinkSplit, candidates: list[Baseline]) -> Baseline:
        scored = [link_metrics(self.task, val.lists, self.rank(candidate, val))[METRIC] for candidate in candidates]
        return candidates[int(np.argmax(scored))]

    def _popularity(self, window: Window, before_s: int) -> NDArray[np.float64]:
        """Returns what orders destinations by popularity, from 0 to less than 1: float64 [destinations]."""
        counts, links = self.statistics.counts(before_s, window), self.statistics.links
        last_s = np.full(links.num_destinations, np.iinfo(np.int64).min)
        past = links.between(None, before_s)
        np.maximum.at(last_s, links.destination[past], links.time_s[past])
        order = np.lexsort((last_s, counts))
        place = np.empty(len(order), np.int64)
        is_new = (np.diff(counts[order]) != 0) | (np.diff(last_s[order]) != 0)
        place[order] = np.concatenate([[0], np.cumsum(is_new)])[: len(order)]
        return place / (len(order) + 1.0)

    def _own(self, window: Window | str, sources: NDArray[np.int64], before_s: int) -> NDArray[np.float64]:
        """Returns whole numbers that order destinations by a source's own links: float64 [questions, destinations]."""
        question, destination, age_s = self.statistics.links_of(sources, before_s)
        own = np.zeros((len(sources), self.statistics.links.num_destinations))
        if window == LATEST:
            np.maximum.at(own, (question, destination), float(age_s.max(initial=0)) + 1.0 - age_s)
            return own
        recent = slice(None) if window is None else age_s <= round(float(window) * self.statistics.window_s)
        np.add.at(own, (question[recent], destination[recent]), 1.0)
        return own


def _window_words(window: Window) -> str:
    if window is None:
        return "all of the past"
    return f"the last {window:g} window{'s' * (window != 1)} of the task"
