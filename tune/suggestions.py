"""Settings suggested by Optuna's TPE sampler, each from what the trials before it found.

Promises: a suggestion is a function of (space, seed, its number, what is known of the other trials), so nothing is kept besides the ledger; no
setting is suggested twice, and none is left out while trials are still to come; a sweep of one trial at a time has the same trials whether it was
killed or not. The first STARTUP_TRIALS are drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search.optuna import OptunaSearch

from rdl_core.random_streams import PURPOSE_SUGGESTION, numpy_generator
from tune.results.ledger import TrialRecord
from tune.search_space import SearchSpace, Setting

STARTUP_TRIALS = 5
DRAWS = 100
"""Most draws for one suggestion; when all of them are known settings, there is no new one."""


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Returns {path: Optuna's distribution}; a list is a choice among its indices, so that values may be of any type."""
    return {
        path: CategoricalDistribution(tuple(range(len(values))))
        if isinstance(values, list)
        else OptunaSearch.convert_search_space({path: values})[path]
        for path, values in space.values.items()
    }


def suggest(space: SearchSpace, seed: int, known: Sequence[tuple[Setting, TrialRecord]]) -> Setting | None:
    """Returns the next setting, or None where there seem to be no new ones.

    Args:
        space: The search space.
        seed: The sweep's seed.
        known: The settings so far, with what is known of their trials.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = distributions_of(space)
    seed_of_number = int(numpy_generator(seed, PURPOSE_SUGGESTION, len(known)).integers(1 << 31))
    # constant_liar: trials under way, and draws that were refused below, count as bad, so that the next draw is another.
    sampler = optuna.samplers.TPESampler(seed=seed_of_number, constant_liar=True, n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(sampler=sampler)
    study.add_trials([_trial(space, distributions, setting, record) for setting, record in known])
    for _ in range(DRAWS):
        drawn = study.ask(distributions).params
        setting = {
            path: values[drawn[path]] if isinstance(values, list) else drawn[path]
            for path, values in space.values.items()
        }
        if all(setting != other for other, _ in known):
            return setting
    return None


def _trial(
    space: SearchSpace, distributions: dict[str, BaseDistribution], setting: Setting, record: TrialRecord
) -> FrozenTrial:
    """Returns Optuna's view of a trial: stopped early is what it calls pruned, failed the worst of these; under way, only the setting is known."""
    params = {
        path: values.index(setting[path]) if isinstance(values, list) else setting[path]
        for path, values in space.values.items()
    }
    known: dict[str, Any] = {"state": TrialState.RUNNING}
    if record.status in ("failed", "hung"):
        known = {"state": TrialState.PRUNED}  # Optuna would forget a failure, and suggest its like again
    elif record.status == "finished":
        known = {"state": TrialState.COMPLETE, "value": record.metric}
    elif record.status == "stopped":
        known = {"state": TrialState.PRUNED, "intermediate_values": {record.steps: record.metric}}
    return create_trial(params=params, distributions=distributions, **known)
