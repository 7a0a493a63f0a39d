"""ASHA (Li et al. 2020) as Ray Tune has it, going on from a ledger.

Ray Tune 2.60 leaves the scheduler out of what `Tuner.restore` loads (TuneController.__getstate__), so the rungs of a restored sweep would be empty
and its first trials would all go on. Here the rungs are filled by the ledger's results in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler


class ResumableASHA(ASHAScheduler):
    """Stops, at each rung, a trial that is not in the better 1/reduction_factor of those that came there before it.

    Args:
        results: Of earlier sessions: {"trial", "step", the metric where it was measured}.
        first_rung: Step of the first rung; the next are reduction_factor times as far each.
        max_steps: Of a trial.
        reduction_factor: See above.
        metric: What trials are compared by, the lower the better; results without it pass.
    """

    def __init__(
        self, results: Iterable[Mapping[str, Any]], *, first_rung: int, max_steps: int, reduction_factor: float,
        metric: str = "best_loss",
    ) -> None:  # fmt: skip
        super().__init__(
            time_attr="step", metric=metric, mode="min", grace_period=min(first_rung, max_steps),
            max_t=max_steps + 1,  # a trial ends by itself at max_steps, after it has stored its model
            reduction_factor=reduction_factor,
        )  # fmt: skip
        for result in (r for r in results if metric in r):
            trial: Any = SimpleNamespace(trial_id=result["trial"])
            self._brackets[0].on_result(trial, result["step"], -result[metric])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial that goes on keeps its place in the rungs under Tune's new id of it."""
        super().on_trial_add(tune_controller, trial)
        for _, recorded in self._brackets[0]._rungs:
            if (own := trial.config["trial"]) in recorded:
                recorded[trial.trial_id] = recorded.pop(own)
