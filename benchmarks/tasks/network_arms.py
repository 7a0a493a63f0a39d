"""The network in its arms: scratch, frozen and finetuned as a user trains them, and untrained, which is frozen with a fresh backbone.

Promises: arms of one seed differ only in the backbone that they start from and in whether it learns; "untrained" and "scratch" start from the same
weights; all take the same train labels. Test labels are read only where the caller asks for test.
"""

from __future__ import annotations

import dataclasses
import time

import torch
from relbench.base import EntityTask

from benchmarks.tasks.database import Database
from benchmarks.tasks.outcome import Outcome
from benchmarks.tasks.settings import Setting
from rdl_core.config import Arm, PretrainingConfig, Regime
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.fitting import new_encoder
from rdl_core.tasks.downstream import as_deep_as
from rdl_core.tasks.finetuning import Finetuning


def run_network(
    database: Database,
    task: EntityTask,
    setting: Setting,
    arm: str,
    regime: Regime,
    label_share: float,
    *,
    val_only: bool,
) -> Outcome:
    """Trains and evaluates one arm.

    Args:
        setting: With the seed of the run (`Setting.of_seed`).
        arm: One of NETWORK_ARMS.
        val_only: Whether test is left alone.
    """
    num_train_rows = len(task.get_table("train", mask_input_cols=False).df)
    config = setting.of_labels(label_share, num_train_rows, is_network=True)
    config = as_deep_as(config, setting.pretraining.backbone)
    encoder = _backbone(database, task, setting, arm)
    torch.manual_seed(config.seed)  # the head starts alike in every arm
    trained_as: Arm = "frozen" if arm == "untrained" else arm  # type: ignore[assignment]
    begun = time.perf_counter()
    run = Finetuning(database.store, task, encoder, trained_as, regime, config)
    trained = run.train()
    predictions = None if val_only else run.predict(run.model, "test")
    return Outcome(
        metric=run.metric,
        val=trained.val,
        test=None if val_only else run.evaluate(run.model, "test")[run.metric],
        predictions=predictions,
        steps=trained.steps,
        seconds=time.perf_counter() - begun,
    )


def pretraining_for(setting: Setting, database: str, task: str) -> PretrainingConfig:
    """Returns the pretraining of a task: the setting's, and the same for all tasks that exclude nothing."""
    excluded = setting.excluded_targets.get(f"{database}/{task}", ())
    if not excluded:
        return setting.pretraining
    future = dataclasses.replace(setting.pretraining.future, exclude=excluded)  # type: ignore[attr-defined]
    return dataclasses.replace(setting.pretraining, future=future)  # type: ignore[call-arg]


def _backbone(database: Database, task: EntityTask, setting: Setting, arm: str) -> RelationalEncoder:
    if arm in ("scratch", "untrained"):
        torch.manual_seed(setting.finetuning.seed)
        store = database.store
        return new_encoder(store, setting.pretraining.backbone)
    return database.pretrained(pretraining_for(setting, database.name, task.name)).encoder()
