"""The downstream objective: the worth of a pretrained backbone to entity tasks, by their validation labels.

    error of a binary task       1 - AUROC                                       (chance: 0.5)
    error of a multi-class task  1 - accuracy
    error of a regression task   MAE over that of the median of the train labels  (the median: 1)
    objective                    the mean over the tasks; lower is better

Promises: no test label is used; every backbone is measured with the same trees, batches and first weights of the head; measuring changes
neither the pretraining run's weights nor its further course, and its outcome does not depend on what was measured before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from relbench.base import EntityTask
from torch import Tensor

from rdl_core.communicator import Communicator
from rdl_core.config import BackboneConfig, FinetuningConfig, PretrainingConfig, Regime
from rdl_core.database import load_task, open_dataset
from rdl_core.evidence import is_higher_better
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.place import Place
from rdl_core.pretraining import pretrained_checkpoint
from rdl_core.pretraining.state import TrainState
from rdl_core.tasks.finetuning import Finetuning

OBJECTIVE = "objective"
PREFIX = "downstream/"
"""Begins the names of the tasks' validation metrics."""


@dataclass(frozen=True, kw_only=True)
class DownstreamConfig:
    """The tasks that are measured, and the steps at which they are.

    Args:
        data: Dataset folder, remote folder or hub name, readable on every node.
        tasks: Names of entity tasks of that dataset.
        arm: "frozen" (only the head learns) or "finetuned".
        regime, finetuning: Settings of each task's run; trees are made as deep as the backbone.
        steps: The steps of pretraining after whose validation the backbone is measured.
    """

    data: Place
    tasks: tuple[str, ...]
    arm: Literal["frozen", "finetuned"]
    regime: Regime
    finetuning: FinetuningConfig
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks must be named once each, got {', '.join(self.tasks)}")

    def open_tasks(self) -> list[EntityTask]:
        """Reads the tasks.

        Raises:
            DatabaseError: A task does not exist, or `load_task` refuses it.
            ValueError: Train or validation labels are hidden or all alike, so no metric tells backbones apart.
        """
        dataset = open_dataset(self.data)
        tasks = [load_task(dataset, name) for name in self.tasks]
        for task in tasks:
            _require_labels(task)
        return tasks


def as_deep_as(config: FinetuningConfig, backbone: BackboneConfig) -> FinetuningConfig:
    """Returns the config with trees as deep as the backbone has layers: cut, or each further hop half as wide as the one before."""
    wide = list(config.sampling.num_neighbors[: backbone.num_layers])
    if backbone.num_layers and not wide:
        raise ValueError(
            f"trees without a neighbour are too shallow for a backbone of {backbone.num_layers} layers. Remedy: the --preset that it was "
            "pretrained with (contrast or paper), or sampling.num_neighbors, such as --config.sampling.num-neighbors 24 8"
        )
    while len(wide) < backbone.num_layers:
        wide.append(max(1, wide[-1] // 2))
    return dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, num_neighbors=tuple(wide)))


class Downstream:
    """Measures the backbones of one pretraining run.

    Args:
        store, pretraining: Store and settings of the run.
        config: What to measure.
        communicator, device: Those of the run's workers, which share each task's seeds.
        wrap: Makes a model data parallel.
        on_batch: Called with the task's name at each batch of training and evaluation.
    """

    def __init__(
        self,
        store: Store,
        pretraining: PretrainingConfig,
        config: DownstreamConfig,
        communicator: Communicator,
        device: torch.device,
        *,
        wrap: Callable[[torch.nn.Module], torch.nn.Module] = lambda model: model,
        on_batch: Callable[[str], None] = lambda task: None,
    ) -> None:
        self.store, self.pretraining, self.config = store, pretraining, config
        self.communicator, self.device, self.wrap, self.on_batch = communicator, device, wrap, on_batch
        self.finetuning = as_deep_as(config.finetuning, pretraining.backbone)
        self.tasks: Sequence[EntityTask] = config.open_tasks()

    def measure(self, state: TrainState, weights: Mapping[str, Tensor]) -> None:
        """At one of `config.steps`, measures the PretrainingModel's weights and notes the outcome beside the run's last validation."""
        if state.step not in self.config.steps:
            return
        found: dict[str, float] = {}
        errors = []
        for task in self.tasks:
            encoder = pretrained_checkpoint(weights, self.store, self.pretraining, state, future=None).encoder()
            value, error = self._of_task(task, encoder)
            found[PREFIX + task.name] = value
            errors.append(error)
        found[OBJECTIVE] = float(np.mean(errors))
        state.history[-1] |= found
        state.last |= found

    def _of_task(self, task: EntityTask, encoder: RelationalEncoder) -> tuple[float, float]:
        """Returns (validation metric, error)."""
        torch.manual_seed(self.finetuning.seed)  # the head starts alike for every backbone, and as `finetune` starts it
        run = Finetuning(
            self.store,
            task,
            encoder,
            self.config.arm,
            self.config.regime,
            self.finetuning,
            communicator=self.communicator,
            device=self.device,
            on_batch=lambda: self.on_batch(task.name),
        )
        value = run.train(wrap=self.wrap).val
        if is_higher_better(run.metric):
            return value, 1.0 - value
        constant = np.median(run.inputs.split("train").target)
        return value, value / float(np.abs(run.inputs.split("val").target - constant).mean())


def _require_labels(task: EntityTask) -> None:
    """Raises ValueError if the validation metric would be undefined, or nothing can be learned."""
    for split in ("train", "val"):
        labels = task.get_table(split, mask_input_cols=False).df[task.target_col]
        if labels.isna().any():
            raise ValueError(
                f"task {task.name!r} has hidden labels in {split}; an objective needs them. Remedy: another task"
            )
        if labels.nunique() < 2:
            raise ValueError(
                f"all {len(labels)} {split} labels of task {task.name!r} are {labels.iloc[0]}: no metric tells backbones apart. Remedy: another task"
            )
