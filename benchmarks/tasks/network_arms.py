"""The network in its arms: scratch, frozen and finetuned as a user trains them, and untrained, which is frozen with a fresh backbone; and its blend.

Promises: arms of one seed differ only in the backbone that they start from and in whether it learns; "untrained" and "scratch" start from the same
weights; all learn from the same train labels. A blend weighs the network by its out-of-fold predictions: where a limit of `network_train_rows` keeps
the network from some labels, weights and settings are chosen on those validation rows of the folds that it may learn from.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from relbench.base import EntityTask

from benchmarks.tasks.column_arms import column_heads, outcome_of
from benchmarks.tasks.database import Database
from benchmarks.tasks.outcome import Outcome, Outcomes
from benchmarks.tasks.settings import Setting
from rdl_core.config import Arm, PretrainingConfig, Regime
from rdl_core.heads import Fold
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.fitting import new_encoder
from rdl_core.tasks.downstream import as_deep_as
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.labels import Split


def run_network(
    database: Database,
    task: EntityTask,
    setting: Setting,
    arm: str,
    regime: Regime,
    label_share: float,
    heads: Collection[str],
) -> Outcomes:
    """Trains and evaluates one arm.

    Args:
        setting: With the seed of the run (`Setting.of_seed`).
        arm: One of NETWORK_ARMS.
        heads: "network", "blend" or both.

    Returns:
        Outcomes of the heads; with a refit, those of the refitted ones, too.
    """
    config = setting.of_labels(label_share, database.num_train_rows(task.name), is_network=True)
    config = as_deep_as(config, setting.pretraining.backbone)
    encoder = _backbone(database, task, setting, arm)
    torch.manual_seed(config.seed)  # the head starts alike in every arm
    trained_as: Arm = "frozen" if arm == "untrained" else arm  # type: ignore[assignment]
    run = Finetuning(database.store, task, encoder, trained_as, regime, config)
    database.remember(run.inputs)
    beside = column_heads(database, task, setting, regime, label_share) if "blend" in heads else None
    kept = None if beside is None else KeptFolds(beside.labels["train"], run.inputs.split("train"), beside.folds())
    begun, seconds = time.perf_counter(), []
    result = run.run(
        folds=() if kept is None else kept.of_network[-setting.heads.network_folds :],
        on_validation=lambda step, metric: seconds.append(time.perf_counter() - begun),
    )
    found = {}
    for is_refit, split in ((False, "test"), *([(True, "test_refit")] if config.refit else [])):
        found["network", is_refit] = Outcome(
            metric=run.metric,
            val=result.val,
            test=result.metrics[split][run.metric],
            predictions=run.predictions[split],
            steps=result.steps,
            seconds=seconds[-1],
        )
    if beside is not None and kept is not None:
        beside.use_folds(kept.of_columns)
        predictions = run.predictions | {"out_of_fold": kept.expanded(run.predictions["out_of_fold"])}
        blend = beside.run(("network", "blend"), network=predictions).heads["blend"]
        seconds_of_all = time.perf_counter() - begun
        found |= outcome_of("blend", blend, run.metric, steps=result.steps, seconds=seconds_of_all)
    return found


class KeptFolds:
    """Folds of all labels, and the same of the labels that a network learns from.

    Args:
        all_labels: What heads on columns learn from.
        kept: A part of them.
        folds: Of all labels.
    """

    def __init__(self, all_labels: Split, kept: Split, folds: Sequence[Fold]) -> None:
        self.place = np.flatnonzero(np.isin(all_labels.numbers, kept.numbers))
        if len(self.place) != len(kept) or not np.array_equal(all_labels.numbers[self.place], kept.numbers):
            raise ValueError(
                f"a network learns from {len(kept)} labels, of which {len(self.place)} are among the {len(all_labels)} of the heads on columns "
                "in the same order; expected all. Remedy: the same seed and label stride for both"
            )
        self.num_labels = len(all_labels)
        number = np.full(self.num_labels, -1)
        number[self.place] = np.arange(len(kept))
        self.of_columns, self.of_network = [], []
        for fold in folds:
            train, validation = (rows[number[rows] >= 0] for rows in (fold.train, fold.validation))
            if len(train) and len(validation):
                self.of_columns.append(Fold(train=fold.train, validation=validation))
                self.of_network.append(Fold(train=number[train], validation=number[validation]))

    def expanded(self, out_of_fold: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the network's predictions [kept] as those of all labels, NaN where it has none: float64 [all labels]."""
        predicted = np.full(self.num_labels, np.nan)
        predicted[self.place] = out_of_fold
        return predicted


def pretraining_for(setting: Setting, database: str, task: str) -> PretrainingConfig:
    """Returns the pretraining of a task: the setting's, and the same for all tasks that exclude nothing."""
    excluded = setting.excluded_targets.get(f"{database}/{task}", ())
    if not excluded:
        return setting.pretraining
    future = dataclasses.replace(setting.pretraining.future, exclude=excluded)
    return dataclasses.replace(setting.pretraining, future=future)


def _backbone(database: Database, task: EntityTask, setting: Setting, arm: str) -> RelationalEncoder:
    if arm in ("scratch", "untrained"):
        torch.manual_seed(setting.finetuning.seed)
        return new_encoder(database.store, setting.pretraining.backbone)
    return database.pretrained(pretraining_for(setting, database.name, task.name)).encoder()
