"""Trials: one pretraining run each under Ray Tune, watched, with room for them in a Ray session.

A trial reports every validation once, goes on from its newest checkpoint after a kill, and ends alone when it fails or hangs.
"""

from tune.trials.ray_tune import ResumableASHA, TrialSearcher
from tune.trials.resources import CPUS_OF_WAITING_TRIAL, Execution, start_ray_for_trials
from tune.trials.trial import TrialJob, run_trial
from tune.trials.watchdog import OrphanedGroups

__all__ = [
    "CPUS_OF_WAITING_TRIAL",
    "Execution",
    "OrphanedGroups",
    "ResumableASHA",
    "TrialJob",
    "TrialSearcher",
    "run_trial",
    "start_ray_for_trials",
]
