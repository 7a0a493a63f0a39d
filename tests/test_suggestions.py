"""Suggestions of a search by Optuna."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray.tune

from rdl_core.config import robust
from tune.ledger import TrialRecord
from tune.search_space import SearchSpace, Setting, with_setting
from tune.suggestions import suggest

RATES = SearchSpace(
    preset="robust",
    values={"learning_rate": ray.tune.loguniform(1e-4, 1e-1), "backbone.num_layers": ray.tune.randint(2, 4), "gradient_clip_norm": [None, 1.0]},
)  # fmt: skip


def record(status: Any, metric: float | None, steps: int = 8) -> TrialRecord:
    results = [] if metric is None else [{"step": steps, "best_loss": metric}]
    return TrialRecord("0", status=status, results=results)


def finished_near(best_rate: float, number: int) -> list[tuple[Setting, TrialRecord]]:
    """Trials whose loss is the distance of their rate to the best, in powers of ten."""
    known: list[tuple[Setting, TrialRecord]] = []
    for rate in np.geomspace(1e-4, 1e-1, number).tolist():
        loss = abs(np.log10(rate / best_rate))
        setting = {"learning_rate": rate, "backbone.num_layers": 2, "gradient_clip_norm": None}
        known.append((setting, record("finished", float(loss))))
    return known


def test_a_suggestion_is_a_function_of_seed_number_and_what_is_known() -> None:
    known = finished_near(1e-3, 12)
    first = suggest(RATES, 0, known)
    assert suggest(RATES, 0, known) == first
    assert suggest(RATES, 1, known) != first
    assert suggest(RATES, 0, known[:-1]) != first
    assert suggest(RATES, 0, finished_near(1e-1, 12)) != first
    assert first is not None
    config = with_setting(robust().pretraining, first)
    assert 1e-4 <= config.learning_rate <= 1e-1
    assert config.backbone.num_layers in (2, 3)
    assert config.gradient_clip_norm in (None, 1.0)


def test_suggestions_lie_nearer_to_what_did_well_than_draws_without_knowledge() -> None:
    def distances(known: list[tuple[Setting, TrialRecord]]) -> list[float]:
        found = [suggest(RATES, seed, known) for seed in range(12)]
        return [abs(np.log10(s["learning_rate"] / 3e-3)) for s in found if s is not None]

    assert np.median(distances(finished_near(3e-3, 16))) < 0.6 * np.median(distances([]))


def test_trials_that_were_stopped_early_count_as_worse_than_those_that_finished() -> None:
    def rates(high: str, low: str) -> list[float]:
        known = [(s, record(high if s["learning_rate"] > 3e-3 else low, 1.0)) for s, _ in finished_near(3e-3, 16)]
        return [s["learning_rate"] for seed in range(12) if (s := suggest(RATES, seed, known)) is not None]

    assert np.median(rates("finished", "stopped")) > 3e-3 > np.median(rates("stopped", "finished"))


def test_no_setting_is_suggested_twice_and_an_exhausted_space_suggests_none() -> None:
    space = SearchSpace(preset="robust", values={"backbone.num_layers": [2, 3], "learning_rate": [1e-3, 2e-3]})
    known: list[tuple[Setting, TrialRecord]] = []
    while (setting := suggest(space, 0, known)) is not None:
        known.append((setting, record(["finished", "stopped", "failed", "running"][len(known)], 1.0)))
    found = [tuple(setting.values()) for setting, _ in known]
    assert sorted(found) == [(2, 1e-3), (2, 2e-3), (3, 1e-3), (3, 2e-3)]
