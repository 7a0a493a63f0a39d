"""An entity task on the backbone, in three arms: scratch (fresh backbone), frozen (pretrained, only the head learns), finetuned (all learns).

Promises
- A tree holds rows strictly before its seed's time; early stopping and all choices use train and validation labels only; test labels are read
  by task.evaluate only, after all training.
- With `refit`, training is done again from the same first weights on every label whose window has closed by the test timestamp, for as many epochs
  as the chosen weights had seen of train; nothing is chosen any more. `model` is that model then.
- With `folds`, training is done again likewise on the train rows of each, to predict its validation rows: what a blend weighs the network by.
- A seed's tree is a function of (seed, epoch, number of the label), so evaluation does not depend on workers or batches.
- In the frozen arm each seed's tree is drawn once and its vector computed once, when it is first needed.
- Same seed, same result; a step's batch is a function of (seed, step), shared among the workers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from relbench.base import EntityTask, TaskType
from torch import Tensor

from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.communicator import Communicator, SingleProcess
from rdl_core.config import Arm, FinetuningConfig, Regime
from rdl_core.evidence import is_higher_better
from rdl_core.finetuning import BatchOrder, Callbacks, StateFile
from rdl_core.graph.store import Store
from rdl_core.heads import Fold
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.fitting import add_columns
from rdl_core.tasks.finetuning_result import Course, FinetuningResult, Trained
from rdl_core.tasks.inputs import TaskInputs, refuse_visible_labels
from rdl_core.tasks.labels import classes_of, metric_name
from rdl_core.tasks.model import TaskModel
from rdl_core.tasks.scoring import few_labels, intervals, task_metrics
from rdl_core.tasks.target_scale import TargetScale
from rdl_core.tasks.training import Training, train_again
from rdl_core.tasks.trivial import trivial_figures
from rdl_core.tasks.updates import Updates


class Finetuning:
    """One run of one arm.

    Args:
        store: An open store, made of the task's database.
        task: An entity task: binary or multi-class classification, or regression.
        encoder: Backbone, fresh for "scratch", pretrained for the others. Changed in place.
        arm, regime, config: What to do.
        communicator: The workers of the run.
        on_batch: Called at each batch of training and evaluation.

    Raises:
        ValueError: The store holds columns that the task must not see; or a refit is asked for, and there is no label for it.
    """

    def __init__(
        self,
        store: Store,
        task: EntityTask,
        encoder: RelationalEncoder,
        arm: Arm,
        regime: Regime,
        config: FinetuningConfig,
        *,
        communicator: Communicator | None = None,
        device: torch.device | None = None,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        refuse_visible_labels(store, task)
        self.store, self.task, self.arm, self.regime, self.config = store, task, arm, regime, config
        self.communicator = communicator or SingleProcess()
        self.device = device or torch.device("cpu")
        self.inputs, self.on_batch = TaskInputs(store, task, regime, config, self.device, encoder.config), on_batch
        self.metric = metric_name(task)
        self.is_higher_better = is_higher_better(self.metric)
        self.is_binary, self.classes = task.task_type == TaskType.BINARY_CLASSIFICATION, classes_of(task)
        target = self.inputs.split("train").target
        if config.refit:
            self.inputs.split("refit")  # refused here, if there are none, and not after training
        self.scale = self._scale_of(target)
        share = min(config.batch_size, len(target)) // self.communicator.world_size
        if share < 2:
            raise ValueError(
                f"{len(target)} train rows in batches of {config.batch_size} leave {share} rows to each of "
                f"{self.communicator.world_size} workers; batch norm needs 2. Remedy: fewer --workers"
            )
        self.model = TaskModel(encoder, config.head_channels, config.head_dropout, len(self.classes))
        self._read_columns(encoder)
        self.model.to(self.device)
        if arm == "frozen":
            encoder.requires_grad_(False)
        self.predictions: dict[str, NDArray[np.float64]] = {}
        """Per split that was predicted, "val", "test", "test_refit" and "out_of_fold" (rows of train, NaN where no fold validates), probabilities
        (of several classes [rows, classes]) or targets in the order of the labels; filled by `run`."""
        self.first_weights: dict[str, Tensor] = {}
        """From where every training begins; set by `train`."""
        self.phase: Arm = arm
        """The part that learns now: of the arm "finetuned" also "frozen", the head alone."""
        self.callbacks = Callbacks()
        self._wrapped: torch.nn.Module = self.model

    def _read_columns(self, encoder: RelationalEncoder) -> None:
        """Lets the backbone read the columns of the task's entities, if it reads any of seeds.

        Raises:
            ValueError: The backbone reads others than the store has, or is frozen and was not pretrained on any.
        """
        table = self.task.entity_table
        columns = {t: width for t, width in encoder.columns_widths.items() if t == table}
        self.inputs.questions.require_same_widths(encoder.statistics_widths, columns)
        if encoder.config.columns is None or columns:
            return
        if self.arm == "frozen":
            raise ValueError(
                f"the backbone was pretrained without columns of {table!r}, to which no key leads, so a frozen one cannot read them. "
                "Remedy: --arm finetuned, or a backbone without columns"
            )
        add_columns(encoder, self.inputs.questions, table)

    def run(
        self,
        *,
        folds: Sequence[Fold] = (),
        wrap: Callable[[torch.nn.Module], torch.nn.Module] = lambda model: model,
        on_step: Callable[[int, float], None] = lambda step, loss: None,
        on_validation: Callable[[int, float], None] = lambda step, metric: None,
        on_phase: Callable[[str, int, int], None] = lambda name, steps, labels: None,
        states: StateFile | None = None,
    ) -> FinetuningResult:
        """Trains, refits if that is asked for, and evaluates on validation and test.

        Args:
            folds: Windows inside train on which the network is trained again, for `predictions["out_of_fold"]`.
            wrap, on_step, on_validation, on_phase, states: As of `train`. A run that was killed after training goes on right behind it, with the
                first fold.
        """
        begun = time.perf_counter()
        callbacks: dict[str, Any] = {"on_step": on_step, "on_validation": on_validation, "on_phase": on_phase}
        trained = self.train(wrap=wrap, states=states, **callbacks)
        refit_steps = None
        self.predictions = {split: self.predict(self.model, split) for split in ("val", "test")}
        out_of_fold = self.out_of_fold(folds, trained.course) if folds else None
        if self.config.refit:
            refit_steps = self.refit(trained.course)
            self.predictions["test_refit"] = self.predict(self.model, "test")
        metrics = {
            name: task_metrics(self.task, name.removesuffix("_refit"), p) for name, p in self.predictions.items()
        }
        if out_of_fold is not None:
            self.predictions["out_of_fold"] = out_of_fold
        return FinetuningResult(
            task=self.task.name,
            arm=self.arm,
            regime=self.regime,
            seed=self.config.seed,
            metric=self.metric,
            val=metrics["val"][self.metric],
            test=metrics["test"][self.metric],
            metrics=metrics,
            steps=trained.steps,
            best_step=sum(steps for _, steps in trained.course),
            seconds=time.perf_counter() - begun,
            test_refit=metrics["test_refit"][self.metric] if self.config.refit else None,
            refit_steps=refit_steps,
            finished=trained.finished,
            **self.beside({split: self.predictions[split] for split in metrics}),
        )

    def beside(self, predictions: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
        """Returns what stands beside the figures of these predictions, as FinetuningResult names it: {"interval", "labels", "baselines", "about"}.

        Reads the labels of test.
        """
        of = self.inputs.split
        few = {split: few_labels(self.task, of(split)) for split in ("val", "test")}
        figures, about = trivial_figures(self.task, of("train"), of("val"), of("test"))
        figures |= {"test_refit": figures["test"]} if "test_refit" in predictions else {}
        return {
            "interval": intervals(self.task, of, predictions),
            "labels": {split: words for split, words in few.items() if words is not None},
            "baselines": {"trivial": figures},
            "about": {"baseline trivial": about},
        }

    def train(
        self,
        *,
        wrap: Callable[[torch.nn.Module], torch.nn.Module] = lambda model: model,
        on_step: Callable[[int, float], None] = lambda step, loss: None,
        on_validation: Callable[[int, float], None] = lambda step, metric: None,
        on_phase: Callable[[str, int, int], None] = lambda name, steps, labels: None,
        states: StateFile | None = None,
    ) -> Trained:
        """Trains, and leaves in `model` the weights that are best on validation; test labels stay unread.

        Args:
            wrap: Makes the model data parallel.
            on_step, on_validation, on_phase: As of Callbacks.
            states: Where the state is kept, from which the same run goes on after a crash; None: nowhere.

        Raises:
            FloatingPointError: No validation metric is finite.
            ValueError: The state is of another training.
        """
        self._wrapped, self.first_weights = wrap(self.model), copy.deepcopy(self.model.state_dict())
        self.callbacks = Callbacks(on_phase=on_phase, on_step=on_step, on_validation=on_validation)
        return Training(self, states)()

    def refit(self, course: Course) -> int:
        """Trains again after `train`, from the same start, on every label whose window has closed; leaves the last weights in `model`.

        Args:
            course: What validation chose. The labels are more now, so the steps are more in proportion: as many epochs.

        Returns:
            The number of updates.

        Raises:
            ValueError: No window of a validation label has closed by the test timestamp.
        """
        self.scale = self._scale_of(self.inputs.split("refit").target)
        return train_again(self, "refit", "refit", None, course)

    def out_of_fold(self, folds: Sequence[Fold], course: Course) -> NDArray[np.float64]:
        """Trains again, from the same start and for as many epochs, on the train rows of each fold; `model` is left as it was.

        Args:
            folds: Windows inside the labels that are learned from. One whose rows are too few for batch norm is left out.
            course: What validation chose.

        Returns:
            float64 [train], of several classes [train, classes], predictions of the validation rows of the folds; NaN elsewhere.
        """
        train, chosen, scale = self.inputs.split("train"), copy.deepcopy(self.model.state_dict()), self.scale
        predicted = np.full((len(train), *self.scale.shape), np.nan)
        for number, fold in enumerate(folds, start=1):
            if len(fold.train) < 2 * self.communicator.world_size:
                continue
            self.scale = self._scale_of(train.target[fold.train])
            train_again(self, f"out-of-fold {number} of {len(folds)}", "train", fold.train, course)
            predicted[fold.validation] = self.predict(self.model, "train", fold.validation)
        self.scale = scale
        self.model.load_state_dict(chosen)
        return predicted

    def _scale_of(self, target: NDArray[np.float64]) -> TargetScale:
        loss = self.config.regression_loss
        return TargetScale.of(target, is_binary=self.is_binary, loss=loss, classes=self.classes)

    def predict(self, model: TaskModel, split: str, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Returns probabilities (binary: [seeds], several classes: [seeds, classes]) or targets of a split, or of some of its rows, float64."""
        rows = np.arange(len(self.inputs.split(split))) if rows is None else rows
        mine = self.share_of(rows)
        model.eval()
        parts = [torch.zeros(0, *self.scale.shape, device=self.device)]
        with torch.no_grad():
            for chunk in _chunks(mine, self.config.batch_size):
                parts.append(model(self._inputs(split, chunk)))
        model.train()
        shares = self.communicator.gather(torch.cat(parts))
        out = torch.empty(len(rows), *self.scale.shape, dtype=torch.float64)
        for rank, share in enumerate(shares):
            out[rank :: self.communicator.world_size] = share.double().cpu()
        return self.scale.prediction(out).numpy()

    def evaluate(self, model: TaskModel, split: str) -> dict[str, float]:
        """Returns the metrics of task.evaluate for the predictions of a split, with "mae" added for regression.

        Raises:
            FloatingPointError: A prediction is not finite.
        """
        return task_metrics(self.task, split, self.predict(model, split))

    def begin(self) -> Updates:
        """Returns the updates of a training that begins; dropout draws from the global generator, which starts over."""
        torch.manual_seed(self.config.seed)
        return Updates(self.model, self._wrapped, self.phase, self.config, self.communicator, is_binary=self.is_binary)

    def update(self, updates: Updates, step: int, learned: str, order: BatchOrder) -> float:
        """Updates the model by one batch of what is learned from, "train" or "refit"; returns the weighted mean of its losses."""
        seeds, (rows, epoch) = self.inputs.split(learned), order(step)
        mine = self.share_of(rows)
        updates.set_training()
        inputs = self._inputs(learned, mine, epoch=epoch)
        target, weights = (torch.from_numpy(x[mine]).float().to(self.device) for x in (seeds.target, seeds.weights))
        return updates(inputs, self.scale.output(target), weights, total_weight=float(seeds.weights[rows].sum()))

    def order(self, learned: str, part: NDArray[np.int64] | None = None) -> BatchOrder:
        """Returns the batches of "train" or "refit", or of a part of its rows."""
        rows = np.arange(len(self.inputs.split(learned))) if part is None else part
        return BatchOrder(rows=rows, batch_size=self.config.batch_size, seed=self.config.seed)

    def share_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns this worker's share of rows."""
        return rows[self.communicator.rank :: self.communicator.world_size]

    def _inputs(self, split: str, rows: NDArray[np.int64], *, epoch: int | None = None) -> TreeBatch | Tensor:
        self.on_batch()
        if self.phase == "frozen":
            return self.inputs.vectors(self.model, split, rows)
        return self.inputs.trees(split, rows, epoch)

    def courses(self) -> Sequence[Sequence[Arm]]:
        """Returns the ways to train that validation chooses among; each is what learns, in turn: "frozen" the head alone, the others all."""
        if self.arm != "finetuned":
            return [[self.arm]]
        courses: dict[str, Sequence[Arm]] = {"after_head": ["frozen", "finetuned"], "at_once": ["finetuned"]}
        return list(courses.values()) if self.config.unfreeze == "best" else [courses[self.config.unfreeze]]


def _chunks(rows: NDArray[np.int64], size: int) -> Sequence[NDArray[np.int64]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
