"""What fine-tuning gives: the figures of a run, and what training alone leaves."""

from __future__ import annotations

from dataclasses import dataclass

from rdl_core.config import Arm, Regime


@dataclass(frozen=True, kw_only=True)
class FinetuningResult:
    """The result of one run; `val` and `test` are the metric that selects, of the weights that validation chose; `metrics` all of task.evaluate.

    Args:
        test_refit, refit_steps: Of the model that was refitted, in `refit_steps` updates; None without `refit`.
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
    test_refit: float | None = None
    refit_steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome of training; `val` is the selecting metric of the weights that were chosen, those after `best_step`."""

    val: float
    steps: int
    best_step: int
