"""FinetuningJournal: what a fine-tuning run tells while it goes on, written into its journal by whoever trains, read by whoever watches.

    phase        name, steps: updates at most, labels: per update, then: what comes after it
    validated    phase, step, metric, value, best, best_step, loss: mean since the validation before, labels_per_s
    resumed      step: update of training from which a run begins, or goes on after a kill (journal.py)

Promises: a step costs some microseconds; nothing here changes a run. `rdl status`, the lines in a log and the curve all read these events.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.runs.journal import Journal
from rdl_core.evidence import is_higher_better

TRAINING = "training"
"""Begins the names of the phases that validation decides on."""


class FinetuningJournal:
    """The callbacks of a run that write its journal.

    Args:
        folder: The run's folder.
        metric: The selecting metric.
        coming: What is done after training, in order: "out-of-fold", "refit", "heads".
    """

    def __init__(self, folder: Path, metric: str, coming: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.journal, self.metric, self.coming = Journal(folder), metric, list(coming)
        self._has_begun, self._reached_before = False, self.journal.reached()
        self._best: tuple[float, int] | None = None
        self._last, self._losses = "", list[float]()
        self._begin("", 0)

    def phase(self, name: str, steps: int, labels: int) -> None:
        """Something begins to be trained."""
        self._begin(name, labels)
        self.coming = [one for one in self.coming if not name.startswith(one)]
        begin_phase(self.journal, name, steps, self.coming, labels=labels)

    def step(self, step: int, loss: float) -> None:
        """An update is done."""
        if not self._has_begun:
            self._resume(step - 1)
        self._losses.append(loss)
        self._updates += 1
        self.journal.reach(step, f"loss {loss:.3f}{self._last}, {self._labels_per_s():,.0f} labels/s")

    def validation(self, step: int, value: float) -> None:
        """The weights are measured."""
        best, best_step = self._best_with(step, value)
        figures: dict[str, Any] = {"value": value, "best": best, "best_step": best_step}
        figures |= {"loss": sum(self._losses) / max(1, len(self._losses)), "labels_per_s": self._labels_per_s()}
        self.journal.append("validated", phase=self._name, step=step, metric=self.metric, **figures)
        self._last = f", val {self.metric} {value:.4f}, best {best:.4f} at step {best_step}"
        self._losses = []

    def _resume(self, step: int) -> None:
        """Takes over what was told up to a step of training, 0 of a new run."""
        self.journal.reach(self._reached_before)  # a phase that begins has set it back
        self.journal.resume(step)
        self._has_begun = True
        for event in curve(self.journal):
            if event["step"] <= step:
                self._best_with(event["step"], event["value"])

    def _best_with(self, step: int, value: float) -> tuple[float, int]:
        """Returns the best metric so far and its step, with one more validation."""
        sign = 1 if is_higher_better(self.metric) else -1
        if self._best is None or sign * value > sign * self._best[0]:
            self._best = value, step
        return self._best

    def _begin(self, name: str, labels: int) -> None:
        self._name, self._labels, self._updates, self._begun_s = name, labels, 0, time.monotonic()
        self._losses = []

    def _labels_per_s(self) -> float:
        return self._updates * self._labels / max(time.monotonic() - self._begun_s, 1e-3)


def begin_phase(journal: Journal, name: str, steps: int, coming: Sequence[str], **more: Any) -> None:
    """Notes that something begins.

    Args:
        steps: Updates at most; 0: it is none of updates.
        coming: What is done after it.
    """
    journal.append("phase", name=name, steps=steps, then=list(coming), **more)
    journal.reach(0)


def curve(journal: Journal) -> list[dict[str, Any]]:
    """Returns the validations of training, one per step in their order; of those that were done again after a kill, the last."""
    by_step = {e["step"]: e for e in journal.events("validated") if e.get("phase", "").startswith(TRAINING)}
    return [by_step[step] for step in sorted(by_step)]
