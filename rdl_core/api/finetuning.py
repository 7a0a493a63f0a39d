"""A model, a store and a task to a model that predicts, in this process; `rdl finetune` does so over workers, with heads and baselines."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from relbench.base import EntityTask

from rdl_core.api.model import FinetunedModel, PretrainedModel
from rdl_core.api.pretraining import preset_of, refuse_file
from rdl_core.api.progress import print_validation
from rdl_core.config import Arm, BackboneConfig, Preset, PresetName, Regime, check_arm
from rdl_core.database.label_checks import require_measurable_labels
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.fitting import new_encoder
from rdl_core.prediction.head_records import record_heads
from rdl_core.prediction.kept_heads import with_heads
from rdl_core.tasks.downstream import as_deep_as
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.finetuning_result import FinetuningResult, finetuned_checkpoint
from rdl_core.tasks.prediction_file import prediction_table


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """The result of `finetune`.

    Args:
        model: The module that predicts.
        figures: All figures of the run.
        predictions: Predictions for the labels of validation and test: "split", "entity" (row of the entity table), "source_key" where the import
            has kept it, "time" (UTC) and "prediction" (probability or value; of several classes the most likely one, and
            "probability_<class>" of each), in the order of the task's labels.
    """

    model: FinetunedModel
    figures: FinetuningResult
    predictions: pd.DataFrame

    @property
    def metric(self) -> str:
        """Name of the metric of `val` and `test`: "roc_auc", of several classes "accuracy" (more is better), or "mae" (less is better)."""
        return self.figures.metric

    @property
    def val(self) -> float:
        """The metric on validation, by which the weights were chosen."""
        return self.figures.val

    @property
    def test(self) -> float:
        """The metric on test, which nothing was chosen by; NaN where its labels are hidden."""
        return self.figures.test

    def __repr__(self) -> str:
        return f"Finetuned({self.figures.task}, {self.figures.arm}: {self.metric} {self.val:.4f} val, {self.test:.4f} test)"


def finetune(
    model: PretrainedModel | None,
    store: Store,
    task: EntityTask,
    *,
    preset: PresetName | Preset = "robust",
    arm: Arm | None = None,
    regime: Regime = "rolling",
    seed: int = 0,
    max_steps: int | None = None,
    out: Path | str | None = None,
    on_validation: Callable[[int, float], None] | None = print_validation,
) -> Finetuned:
    """Fine-tunes a model on the labels of a task, chooses weights on validation and scores them on test.

    Args:
        model: From `pretrain` or `load_model`, which stays as it is; None: a fresh backbone.
        store: The store that the model was pretrained on, or one with its schema; of the task's dataset.
        task: From `load_task`.
        preset: The settings of fine-tuning, or their name; without a model, of the backbone, too.
        arm: "finetuned" (all learns), "frozen" (the head alone) or, without a model, "scratch"; None: "finetuned", or "scratch".
        regime: "rolling" (what exists before a label's own time is seen) or "snapshot" (of a database cut at the test timestamp).
        seed: All that is random follows from it.
        max_steps: Most updates; None: as the preset says.
        out: Folder that the model is written to, which `load_model`, `Predictor` and `rdl predict` read; None: nothing is written.
        on_validation: Called after each validation with (step, metric); by default it prints. None: silence.

    Warns:
        UserWarning: Labels are so few or so alike that figures are chance.

    Raises:
        DatabaseError: The task's labels cannot be learned from, or not be measured by.
        ValueError: Model, store and task do not belong together; or the arm and the model do not.
    """
    arm = arm or ("scratch" if model is None else "finetuned")
    check_arm(arm, model)
    refuse_file(out)
    if store.schema.database != task.dataset.manifest.name:
        raise ValueError(
            f"task {task.name!r} is of database {task.dataset.manifest.name!r}, the store of {store.schema.database!r}; expected both of one database"
        )
    _warn_of_labels(task)
    settings = preset_of(preset)
    backbone = settings.pretraining.backbone if model is None else model.config
    config = as_deep_as(replace(settings.finetuning, seed=seed), backbone)
    if max_steps is not None:
        config = replace(config, max_steps=max_steps)
    torch.manual_seed(seed)
    encoder = _encoder(model, store, backbone)
    torch.manual_seed(seed)  # the head starts alike in every arm
    run = Finetuning(store, task, encoder, arm, regime, config)
    figures = run.run(on_validation=on_validation or (lambda step, metric: None))
    validation = run.inputs.split("val")
    records = record_heads(task, validation, {"network": figures.val}, {"network": run.predictions["val"]})
    finetuned = FinetunedModel(with_heads(finetuned_checkpoint(run, figures), records, {}))
    if out is not None:
        finetuned.save_pretrained(out)
    predictions = prediction_table(run.inputs, run.predictions).to_pandas()
    return Finetuned(model=finetuned, figures=figures, predictions=predictions)


def _warn_of_labels(task: EntityTask) -> None:
    """Warns the caller of `finetune` of labels by which figures are chance.

    Raises:
        DatabaseError: They cannot be learned from, or not be measured by.
    """
    if problems := require_measurable_labels(task):
        lines = [f"task {task.name}, {problem}; {problem.remedy}" for problem in problems]
        warnings.warn("\n".join(lines), stacklevel=3)


def _encoder(model: PretrainedModel | None, store: Store, backbone: BackboneConfig) -> RelationalEncoder:
    """Returns a backbone of its own to train: a copy of the model's, or a fresh one."""
    if model is None:
        return new_encoder(store, backbone)
    model.checkpoint.require_same_schema(store)
    return copy.deepcopy(model.encoder).cpu()
