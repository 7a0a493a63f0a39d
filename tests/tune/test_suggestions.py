"""Suggestions of a search by Optuna."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import ray.tune

from rdl_core.config import contrast
from tune.results.ledger import TrialRecord
from tune.search_space import SearchSpace, Setting, read_space, settings, with_setting
from tune.suggestions import STARTUP_TRIALS, suggest

RATES = SearchSpace(
    preset="contrast",
    values={
        "learning_rate": ray.tune.loguniform(1e-4, 1e-1),
        "backbone.num_layers": ray.tune.randint(2, 4),
        "gradient_clip_norm": [None, 1.0],
    },
)


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
    drawn_first = suggest(RATES, 0, finished_near(1e-3, STARTUP_TRIALS - 1))
    assert drawn_first == suggest(RATES, 0, finished_near(1e-1, STARTUP_TRIALS - 1)), "at random"
    config = with_setting(contrast().pretraining, first)
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


def test_settings_like_those_that_failed_are_left_alone() -> None:
    def share_beside(*statuses: str) -> float:
        """Returns the share of suggestions that lie where trials of these statuses do, beside the best of the others."""
        known = finished_near(8e-3, 10)
        for status in statuses:
            known += [({**known[0][0], "learning_rate": 1e-2 * 1.2**k}, record(status, None)) for k in range(8)]
        found = [suggest(RATES, seed, known) for seed in range(24)]
        return float(np.mean([1e-2 < s["learning_rate"] < 3.6e-2 for s in found if s is not None]))

    assert share_beside("failed") < 0.6 * share_beside()


@pytest.mark.parametrize("status", ["finished", "stopped", "running"])
@pytest.mark.parametrize("name", ["paper", "contrast"])
def test_no_setting_of_a_grid_is_suggested_twice_and_none_is_left_out(name: str, status: str) -> None:
    space, known = read_space(name), []
    while (setting := suggest(space, 0, known)) is not None:
        known.append((setting, record(status, setting["backbone.num_layers"] + len(known) % 7)))
    found = [json.dumps(setting) for setting, _ in known]
    assert sorted(found) == sorted(json.dumps(setting) for setting in settings(space, "grid", 0, 0))
