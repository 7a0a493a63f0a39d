"""A fine-tuned checkpoint scored again by task.evaluate, on the regime it was trained for or the other one."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from rdl_core.config import FinetuningConfig, Regime, decode
from rdl_core.database import load_task, open_dataset
from rdl_core.graph.store import open_store
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.place import Place
from rdl_core.prediction.calibration import Calibrated, Reliability
from rdl_core.prediction.kept_heads import kept_heads
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.scoring import task_metrics
from rdl_core.tasks.target_scale import TargetScale


def evaluate(data: Place, store_path: Place, checkpoint_path: str, regime: Regime | None = None) -> dict[str, Any]:
    """Returns {"task", "arm", "regime", "metric", "val": {...}, "test": {...}} of a fine-tuned checkpoint, with what stands beside its figures
    (`Finetuning.beside`); without "val" of one that was refitted, since it has learned from those labels. Of a model with a calibration also
    "calibration": {"network": {"test": {"brier", "ece", "brier_calibrated", "ece_calibrated"}}}.

    Args:
        data: Dataset folder, remote folder or hub name.
        store_path: The dataset's store.
        checkpoint_path: Folder that `finetune` printed under "checkpoint".
        regime: None: the one it was fine-tuned for.

    Raises:
        ValueError: The checkpoint is not a fine-tuned one, or its schema is not the store's.
    """
    checkpoint, store = from_pretrained(checkpoint_path, kind="finetuned"), open_store(store_path)
    checkpoint.require_same_schema(store)
    about = checkpoint.about
    trained = decode(FinetuningConfig, about["finetuning"], f"{checkpoint_path}: finetuning")
    config = dataclasses.replace(trained, label_stride=None, refit=False)  # nothing is learned here
    used_regime: Regime = regime or about["regime"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = load_task(open_dataset(data), about["task"])
    run = Finetuning(store, task, checkpoint.encoder(), about["arm"], used_regime, config, device=device)
    run.model.load_state_dict(checkpoint.weights)
    if "target_scale" in about:  # not in a checkpoint of before there was a choice of labels: its are all of train's
        run.scale = TargetScale(**about["target_scale"])
    if run.scale.classes != run.classes:
        raise ValueError(
            f"{checkpoint_path} was trained on the classes {', '.join(run.scale.classes)} of task {about['task']}, whose train labels have "
            f"{', '.join(run.classes)} now. Remedy: fine-tune again"
        )
    splits = ("test",) if trained.refit else ("val", "test")
    predictions = {split: run.predict(run.model, split) for split in splits}
    metrics = {split: task_metrics(task, split, prediction) for split, prediction in predictions.items()}
    described = {"task": about["task"], "arm": about["arm"], "regime": used_regime, "metric": run.metric}
    found = described | metrics | run.beside(predictions)
    calibration = kept_heads(checkpoint, store).records.heads["network"].calibration
    if calibration is None:
        return found
    test, target = predictions["test"], run.inputs.split("test").target
    both = Calibrated(Reliability.of(test, target), Reliability.of(calibration(test), target))
    return found | {"calibration": {"network": {"test": both.figures()}}}
