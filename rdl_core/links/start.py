"""The weights that a pair term starts with: those that order destinations by popularity, and by a source's past links, as validation likes best.

    score = log(1 + links of the destination in a window) + small * recency + scale * log(1 + links of the pair in a window)

Promises: popularity is a start with the scale 0, with its ties broken by the last link; a large scale puts past links first; what is chosen is a
function of validation labels and of what lies before them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rdl_core.links.baselines import Baselines
from rdl_core.links.labels import LinkSplit
from rdl_core.links.model import PairTerm
from rdl_core.links.pair_statistics import PairStatistics
from rdl_core.links.scoring import METRIC, best_destinations, link_metrics

SCALES = (0.3, 1.0, 3.0, 10.0)
"""Weights of past links beside popularity that are tried."""
RECENCY = 0.01
"""Weight of recency: less than one link makes, so it orders equally popular destinations only."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A start of the pair term.

    Args:
        popular, own: Places of the windows, of a destination's links and of a pair's; the last is all of the past.
        scale: Weight of past links.
        val: MAP on validation.
    """

    popular: int
    own: int
    scale: float
    val: float


def choose_start(pair: PairTerm, baselines: Baselines, val: LinkSplit) -> Start:
    """Sets the linear weights of a pair term to the start that is best on validation, of equal ones the first, and returns it."""
    windows = range(len(baselines.statistics.config.windows) + 1)
    best = max((_tried(pair, baselines, val, popular, 0, 0.0) for popular in windows), key=lambda start: start.val)
    for own in windows:
        for scale in SCALES:
            found = _tried(pair, baselines, val, best.popular, own, scale)
            best = found if found.val > best.val else best
    _set(pair, best.popular, best.own, best.scale, baselines.statistics)
    return best


def _tried(pair: PairTerm, baselines: Baselines, val: LinkSplit, popular: int, own: int, scale: float) -> Start:
    _set(pair, popular, own, scale, baselines.statistics)
    weight_of_destination = pair.linear_destination.weight.detach().numpy()[0].astype(np.float64)
    ranked = np.full((len(val), baselines.task.eval_k), -1, np.int64)
    for before_s in np.unique(val.before_s):
        destinations = np.flatnonzero(baselines.exists(int(before_s)))
        rows = np.flatnonzero(val.before_s == before_s)
        for begin in range(0, len(rows), 256):
            part = rows[begin : begin + 256]
            inputs = baselines.statistics(val.sources[part], destinations, int(before_s))
            scores = np.tile(inputs.of_destination @ weight_of_destination, (len(part), 1))
            scores[inputs.question, inputs.destination] += scale * inputs.of_pair[:, own]
            ranked[part] = best_destinations(scores, destinations, baselines.task.eval_k)[0]
    return Start(popular=popular, own=own, scale=scale, val=link_metrics(baselines.task, val.lists, ranked)[METRIC])


def _set(pair: PairTerm, popular: int, own: int, scale: float, statistics: PairStatistics) -> None:
    with torch.no_grad():
        pair.linear_destination.weight.zero_()
        pair.linear_pair.weight.zero_()
        pair.linear_destination.weight[0, popular] = 1.0
        pair.linear_destination.weight[0, len(statistics.config.windows) + 1] = RECENCY
        pair.linear_pair.weight[0, own] = scale
