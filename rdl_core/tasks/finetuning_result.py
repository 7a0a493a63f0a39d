"""The result of fine-tuning: the figures of a run, what training alone leaves, and the model with its predictions as files.

Promise: the checkpoint holds all that a prediction needs besides the store: weights, form, schema, the trees' settings, and the target's scale.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdl_core.config import Arm, Regime
from rdl_core.database.question import Question
from rdl_core.model.checkpoint import Checkpoint, cpu_weights, save_pretrained
from rdl_core.statistics import distributions
from rdl_core.tasks.prediction_file import FILE_NAME, write_predictions

if TYPE_CHECKING:
    from rdl_core.tasks.finetuning import Finetuning


Course = tuple[tuple[Arm, int], ...]
"""The arms that learned, in turn, and for how many steps: "frozen" the head alone, "scratch" and "finetuned" all; 0 where that was no better."""


@dataclass(frozen=True, kw_only=True)
class FinetuningResult:
    """The result of one run; `val` and `test` are the metric that selects, of the weights that validation chose; `metrics` all of task.evaluate.

    Args:
        test_refit, refit_steps: Of the model that was refitted, in `refit_steps` updates; None without `refit`.
        interval: {"val", "test" and, of a refit, "test_refit": [low, high]}, 95 % intervals of the metric by the bootstrap over entities; None where
            none can be given (rdl_core/evidence).
        labels: {"val", "test": words}, how many labels the metric rests on, of a split that has few of them.
        baselines: {"trivial": {"val", "test"}}, the metric of the trivial prediction.
        about: {"baseline trivial": words}, what is predicted.
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
    test_refit: float | None = None
    refit_steps: int | None = None
    interval: dict[str, list[float] | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    finished: str = ""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome of training; `val` is the selecting metric of the weights that were chosen, those at the end of `course`; `finished` as of
    FinetuningResult."""

    val: float
    steps: int
    course: Course
    finished: str = ""


def finetuned_checkpoint(run: Finetuning, result: FinetuningResult) -> Checkpoint:
    """Returns the model of a run that is over; with refit, the one that was refitted."""
    about: dict[str, Any] = {
        "task": run.task.name,
        "question": dataclasses.asdict(Question.of_task(run.task)),
        "arm": run.arm,
        "regime": run.regime,
        "finetuning": dataclasses.asdict(run.config),
        "result": dataclasses.asdict(result),
        "target_scale": dataclasses.asdict(run.scale),
        "store": run.store.content_hash,
    }
    return Checkpoint(
        weights=cpu_weights(run.model),
        backbone=run.model.encoder.config,
        schema=run.store.schema,
        edge_types=run.store.graph.edge_types,
        kind="finetuned",
        about=about,
        extras={distributions.FILE_NAME: distributions.to_bytes(distributions.fit_distributions(run.store))},
    )


def save_finetuned(path: Path, run: Finetuning, result: FinetuningResult) -> Path:
    """Writes the model of a run into the folder `path`, and its predictions beside that folder; returns the path."""
    save_pretrained(path, finetuned_checkpoint(run, result))
    write_predictions(predictions_path(path), run.inputs, run.predictions)
    return path


def predictions_path(path: Path | str) -> Path:
    """Returns the file of predictions of a model that is at `path`."""
    return Path(path).parent / FILE_NAME
