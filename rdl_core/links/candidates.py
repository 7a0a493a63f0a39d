"""Destinations that a step of a link task looks at: the positives of its questions, and negatives drawn among those that exist before the time.

A destination d is drawn with the probability pi(d) = min(1, negatives * q(d)), independently of all others (Poisson sampling), with q a mixture of
the uniform distribution and of popularity. A negative weighs 1 / pi(d) in the softmax's sum, which is unbiased for the sum over all destinations
(Horvitz and Thompson 1952); where no more exist than are asked for, all are taken.

Promises: a draw is a function of (seed, epoch, time, destination), of a question's positives of (seed, epoch, question); no destination exists at or
after the bound; popularity is of links strictly before it; a question's own positives are never its negatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import LinkConfig
from rdl_core.links.labels import LinkSplit
from rdl_core.links.pair_statistics import PairStatistics
from rdl_core.random_streams import PURPOSE_FINETUNING_ORDER, PURPOSE_LINK_NEGATIVES, fold_each, permuted, stream

UNSEEN = -1e9
"""The log weight of a destination that a question does not look at: its exponential is 0, and gradients stay finite where there is none at all."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The destinations that some questions of one time are scored against.

    Args:
        destinations: int64 [candidates], distinct rows, ascending.
        log_weight: float32 [questions, candidates], with which each is in the question's sum: -log pi of a negative, the logarithm of (positives /
            those that are learned from) of a positive, UNSEEN of what is neither.
        question, positive: int64 [positives], places of a question and of its destination among the candidates.
    """

    destinations: NDArray[np.int64]
    log_weight: NDArray[np.float32]
    question: NDArray[np.int64]
    positive: NDArray[np.int64]


def draw_candidates(
    split: LinkSplit,
    rows: NDArray[np.int64],
    exists: NDArray[np.bool_],
    statistics: PairStatistics,
    config: LinkConfig,
    *,
    seed: int,
    epoch: int,
) -> Candidates:
    """Returns the candidates of questions of one time.

    Args:
        split: What is learned from.
        rows: int64 [questions], of one time and one bound.
        exists: bool [destinations of the table], before that bound.
        seed, epoch: What draws depend on.
    """
    before_s, time_s = int(split.before_s[rows[0]]), int(split.time_s[rows[0]])
    place, labelled = split.positives_of(rows)
    is_known = exists[labelled]
    place, labelled = place[is_known], labelled[is_known]
    chosen = _chosen(place, labelled, rows, config.positives, seed, epoch)
    probability = _probability(exists, statistics.counts(before_s, config.windows[0]), config)
    draws = fold_each(stream(seed, PURPOSE_LINK_NEGATIVES, epoch, time_s), np.arange(len(exists)))
    drawn = np.flatnonzero(draws / 2.0**64 < probability)
    destinations = np.union1d(drawn, labelled[chosen])
    where = np.full(len(exists), -1, np.int64)
    where[destinations] = np.arange(len(destinations))
    of_each = np.full(len(destinations), UNSEEN, np.float32)
    of_each[where[drawn]] = -np.log(probability[drawn])
    log_weight = np.tile(of_each, (len(rows), 1))
    among = where[labelled] >= 0
    log_weight[place[among], where[labelled[among]]] = UNSEEN
    known, learned = (np.bincount(x, minlength=len(rows)) for x in (place, place[chosen]))
    share = np.log(np.maximum(1, known) / np.maximum(1, learned))
    log_weight[place[chosen], where[labelled[chosen]]] = share[place[chosen]]
    return Candidates(
        destinations=destinations,
        log_weight=log_weight,
        question=place[chosen],
        positive=where[labelled[chosen]],
    )


def _probability(exists: NDArray[np.bool_], counts: NDArray[np.int64], config: LinkConfig) -> NDArray[np.float64]:
    """Returns with which probability each destination is drawn: float64 [destinations of the table]."""
    number = int(exists.sum())
    if number <= config.negatives:
        return exists.astype(np.float64)
    popular = np.where(exists, counts, 0).astype(np.float64)
    share = config.popular_share if popular.sum() else 0.0
    q = (1.0 - share) / number + share * popular / max(1.0, popular.sum())
    return np.where(exists, np.minimum(1.0, config.negatives * q), 0.0)


def _chosen(
    place: NDArray[np.int64],
    labelled: NDArray[np.int64],
    rows: NDArray[np.int64],
    most: int,
    seed: int,
    epoch: int,
) -> NDArray[np.int64]:
    """Returns which labels are learned from, at most so many of each question: int64 [chosen], ascending."""
    pairs = rows[place] * (1 + int(labelled.max(initial=0))) + labelled
    draws = fold_each(stream(seed, PURPOSE_LINK_NEGATIVES, epoch, -1), pairs)
    order = np.lexsort((draws, place))
    first = np.searchsorted(place[order], place[order], side="left")
    return np.sort(order[np.arange(len(order)) - first < most])


@dataclass(frozen=True, kw_only=True)
class TimeBatches:
    """The order in which questions are learned from: a step is some groups of questions, those of a group of one time.

    Promises: what a step holds is a function of (seed, questions, batch size); an epoch is a pass over all questions.

    Args:
        split: What is learned from.
        batch_size: Most questions of a group; a step takes groups until it has as many.
        seed: Random seed of the order.
    """

    split: LinkSplit
    batch_size: int
    seed: int

    def __iter__(self) -> Iterator[tuple[list[NDArray[np.int64]], int]]:
        """Yields (groups: int64 [questions] each, epoch), step by step, for ever."""
        epoch = 0
        while True:
            for groups in self._epoch(epoch):
                yield groups, epoch
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[list[NDArray[np.int64]]]:
        key = stream(self.seed, PURPOSE_FINETUNING_ORDER, epoch)
        groups = []
        for time_s in np.unique(self.split.time_s):
            rows = np.flatnonzero(self.split.time_s == time_s)
            rows = rows[permuted(np.arange(len(rows)), len(rows), key)]
            groups += [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        step: list[NDArray[np.int64]] = []
        for number in permuted(np.arange(len(groups)), len(groups), key):
            step.append(groups[number])
            if sum(len(rows) for rows in step) >= self.batch_size:
                yield step
                step = []
        if step:
            yield step
