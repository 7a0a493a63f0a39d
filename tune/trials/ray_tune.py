"""The two parts of Ray Tune that a sweep replaces: ASHA whose rungs outlive the driver, and a searcher that only names trials.

Ray Tune 2.60 leaves the scheduler out of what `Tuner.restore` loads (`TuneController.__getstate__`), so the rungs of a restored sweep would be empty
and its first trials would all go on. Here the ledger's results fill the rungs in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from distributed.cluster.ray_internals import fill_rungs, rename_in_rungs


class ResumableASHA(ASHAScheduler):
    """ASHA (Li et al. 2020): stops, at each rung, a trial that is not in the better 1/reduction_factor of those that came there before it.

    Args:
        results: Results of earlier sessions: {"trial", "step", the metric where it was measured}.
        first_rung: Step of the first rung; each further rung lies reduction_factor times as far.
        max_steps: Steps of a whole trial.
        reduction_factor: Ratio of the steps of two successive rungs.
        metric: Name of what trials are compared by; lower is better. Results without it pass.
    """

    def __init__(
        self,
        results: Iterable[Mapping[str, Any]],
        *,
        first_rung: int,
        max_steps: int,
        reduction_factor: float,
        metric: str = "best_loss",
    ) -> None:
        super().__init__(
            time_attr="step",
            metric=metric,
            mode="min",
            grace_period=min(first_rung, max_steps),
            max_t=max_steps + 1,  # a trial ends by itself at max_steps, after it has stored its model
            reduction_factor=reduction_factor,
        )
        for result in (r for r in results if metric in r):
            fill_rungs(self, result["trial"], result["step"], -result[metric])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Gives a trial that goes on its old place in the rungs under the new id that Tune made for it."""
        super().on_trial_add(tune_controller, trial)
        rename_in_rungs(self, trial.config["trial"], trial.trial_id)


class TrialSearcher(Searcher):
    """Names the next trial: first those that are left, in order, then suggested ones. Their configurations stand in their preset files.

    Args:
        left: Trials to run first.
        suggest: Makes one more trial and returns its name; None when there is none.
    """

    def __init__(self, left: Sequence[str], suggest: Callable[[], str | None]) -> None:
        super().__init__()
        self._left, self._suggest = list(left), suggest

    def suggest(self, trial_id: str) -> Any:
        """Returns {"trial": name} for a free place, and Searcher.FINISHED when there is no more."""
        name = self._left.pop(0) if self._left else self._suggest()
        return Searcher.FINISHED if name is None else {"trial": name}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: the ledger knows."""

    def save(self, checkpoint_path: str) -> None:
        """Makes the empty file that Tune wants: a sweep goes on from its ledger and sweep.json."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, see `save`."""
