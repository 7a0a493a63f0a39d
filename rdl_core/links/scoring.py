"""Figures of a run: ranked destinations scored by RelBench's `task.evaluate`: MAP, which selects, precision and recall, all at the task's eval_k.

Promises: ties are broken by the destination's row, so that equal scores give equal ranks; a place for which no destination exists holds -1, which is
never right; RelBench 3 has MAP alone, precision and recall are as RelBench 1 had them, of the questions that have a destination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from relbench.base import RecommendationTask, Table
from relbench.metrics import map as relbench_map
from torch import Tensor

from rdl_core.config import Arm, Regime
from rdl_core.links.inputs import LinkInputs
from rdl_core.links.model import LinkModel

METRIC = "map"
MAX_SCORES = 1 << 19
"""Questions times destinations that are scored at once."""
CHUNK = 1024
"""Rows that are embedded at once."""


@dataclass(frozen=True, kw_only=True)
class LinkResult:
    """The result of one run; `val` and `test` are MAP at the task's eval_k, of the weights that validation chose.

    Args:
        metrics: {"val", "test": {"map", "precision", "recall"}}.
        baselines: {"popularity", "past_links": {"val", "test"}}, their MAP.
        baseline_metrics: The same with all metrics.
        about: What the baselines are, in words, and which rows are the past links.
        finished: Why training ended: "max_steps", "patience" or "time_budget".
    """

    task: str
    arm: Arm
    regime: Regime
    seed: int
    metric: str
    val: float
    test: float
    metrics: dict[str, dict[str, float]]
    steps: int
    best_step: int
    seconds: float
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    baseline_metrics: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    finished: str = ""


def best_destinations(
    scores: NDArray[np.floating], destinations: NDArray[np.int64], number: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the destinations with the highest scores, the highest first, and these scores: [questions, number] each; -1 and NaN past the last.

    Args:
        scores: float [questions, candidates].
        destinations: int64 [candidates], rows of the destination table, ascending.
        number: How many are wanted.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :number]
    rows = np.full((len(scores), number), -1, np.int64)
    values = np.full((len(scores), number), np.nan)
    rows[:, : order.shape[1]] = destinations[order] if len(destinations) else order
    values[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
    return rows, values


def rank_destinations(
    model: LinkModel,
    inputs: LinkInputs,
    sources: NDArray[np.int64],
    time_s: NDArray[np.int64],
    before_s: NDArray[np.int64],
    number: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the destinations with the highest scores, the highest first, and these scores: [questions, number] each; -1 and NaN past the last.

    Args:
        sources, time_s, before_s: int64 [questions].
        advance: Is told the number of questions that are done, now and then.
    """
    ranked = np.full((len(sources), number), -1, np.int64)
    values = np.full((len(sources), number), np.nan)
    model.eval()
    with torch.no_grad():
        for rows in _of_one_time(time_s, before_s):
            asked_s, bound_s = int(time_s[rows[0]]), int(before_s[rows[0]])
            destinations = np.flatnonzero(inputs.exists(bound_s))
            if not len(destinations):
                continue
            size = max(1, MAX_SCORES // len(destinations))
            h = _embedded(model, inputs, inputs.destination_table, destinations, asked_s, bound_s)
            for begin in range(0, len(rows), size):
                part = rows[begin : begin + size]
                of_sources = _embedded(model, inputs, inputs.source_table, sources[part], asked_s, bound_s)
                scores = model(of_sources, h, inputs.statistics(sources[part], destinations, bound_s))
                ranked[part], values[part] = best_destinations(scores.double().numpy(), destinations, number)
                advance(len(part))
    return ranked, values


def _embedded(
    model: LinkModel, inputs: LinkInputs, table: str, rows: NDArray[np.int64], time_s: int, before_s: int
) -> Tensor | None:
    """Returns vectors of rows at one time, [rows, channels], in chunks; None without towers."""
    if not model.has_towers:
        return None
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    return torch.cat(
        [
            inputs.vectors(model.encoder, table, chunk, np.full(len(chunk), time_s), np.full(len(chunk), before_s))
            for chunk in chunks
        ]
    )


def _of_one_time(time_s: NDArray[np.int64], before_s: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yields the questions of each (time, bound): int64."""
    _, group = np.unique(np.stack([time_s, before_s]), axis=1, return_inverse=True)
    for number in range(int(group.max(initial=-1)) + 1):
        yield np.flatnonzero(group == number)


def link_metrics(
    task: RecommendationTask, destinations: Sequence[NDArray[np.int64]], ranked: NDArray[np.int64]
) -> dict[str, float]:
    """Returns {"map", "precision", "recall"} at the task's eval_k by task.evaluate.

    Args:
        destinations: Those of each question's label.
        ranked: int64 [questions, eval_k], rows of the destination table, the best first.
    """
    labels = Table(
        df=pd.DataFrame({task.dst_entity_col: pd.Series(list(destinations), dtype=object)}),
        fkey_col_to_pkey_table={task.dst_entity_col: task.dst_entity_table},
    )
    found = task.evaluate(ranked, labels, metrics=[map_at_k, _precision, _recall])
    return {name.lstrip("_").removesuffix("_at_k"): float(value) for name, value in found.items()}


def map_at_k(pred_isin: NDArray[np.bool_], dst_count: NDArray[np.int64]) -> float:
    """Returns RelBench's MAP."""
    return float(relbench_map(pred_isin, dst_count))


def _precision(pred_isin: NDArray[np.bool_], dst_count: NDArray[np.int64]) -> float:
    return float(pred_isin[dst_count > 0].mean())


def _recall(pred_isin: NDArray[np.bool_], dst_count: NDArray[np.int64]) -> float:
    counted = dst_count > 0
    return float((pred_isin[counted].sum(axis=1) / dst_count[counted]).mean())
