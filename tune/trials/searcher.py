"""What Ray Tune runs next: trials that are left, in order, then those that are suggested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher


class TrialSearcher(Searcher):
    """Names trials; their configurations stand in their preset files.

    Args:
        left: Trials to run first.
        suggest: Makes one more trial and returns its name; None: there is none.
    """

    def __init__(self, left: Sequence[str], suggest: Callable[[], str | None]) -> None:
        super().__init__()
        self._left, self._suggest = list(left), suggest

    def suggest(self, trial_id: str) -> Any:
        """{"trial": name} for a free place; Searcher.FINISHED when there is no more."""
        name = self._left.pop(0) if self._left else self._suggest()
        return Searcher.FINISHED if name is None else {"trial": name}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The ledger knows."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger and sweep.json are what a sweep goes on from. Tune wants a file."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""
