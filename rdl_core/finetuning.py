"""An entity task on the backbone, in three arms: scratch (fresh backbone), frozen (pretrained, only the head learns), finetuned (all learns).

Promises
- A tree holds rows strictly before its seed's time; early stopping and all choices use train and validation labels only; test labels are read
  once, by task.evaluate, after the weights are chosen.
- A seed's tree is a function of (seed, epoch, row of the label), so evaluation does not depend on workers or batches.
- In the frozen arm each seed's tree is drawn once and its vector computed once.
- Same seed, same result; a step's batch is a function of (seed, step), shared among the workers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from relbench.base import EntityTask, TaskType
from sklearn.metrics import mean_absolute_error
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rdl_core.backbone import RelationalEncoder
from rdl_core.communicator import Communicator, SingleProcess
from rdl_core.config import Arm, FinetuningConfig, Regime
from rdl_core.optimizer import make_optimizer
from rdl_core.random_streams import PURPOSE_FINETUNING_ORDER, numpy_generator
from rdl_core.store import Store
from rdl_core.task_batch import Split, TaskBatch, collate_trees, metric_name, read_split
from rdl_core.temporal_sampling import TemporalSampling

SPLITS = ("train", "val", "test")
EVALUATION_EPOCH = 1 << 40
"""Trees of evaluation and of the frozen arm belong to epochs from here on, one a split."""


class TaskModel(torch.nn.Module):
    """Backbone and head: an MLP with one hidden layer, batch norm and ReLU.

    Args:
        encoder: The backbone.
        head_channels: Hidden layer.
    """

    def __init__(self, encoder: RelationalEncoder, head_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Sequential(
            torch.nn.Linear(encoder.config.channels, head_channels),
            torch.nn.BatchNorm1d(head_channels),
            torch.nn.ReLU(),
            torch.nn.Linear(head_channels, 1),
        )

    def embed(self, batch: TaskBatch) -> Tensor:
        """Vectors of the seeds: [seeds, channels]."""
        self.encoder.set_dropout_segments(None)
        distinct = self.encoder.encode_rows(batch.frames)
        x_dict, lookup = self.encoder.spread(distinct, batch.index, batch.age_days)
        h = self.encoder.propagate(x_dict, batch.edges, batch.num_nodes_per_hop, batch.num_edges_per_hop, lookup)
        return h[batch.entity_table][: batch.num_seeds]

    def forward(self, batch: TaskBatch | Tensor) -> Tensor:
        """Predictions in the head's unit (logit, or standardised target): [seeds]. Takes trees or vectors from `embed`."""
        h = batch if isinstance(batch, Tensor) else self.embed(batch)
        return self.head(h).squeeze(1)


@dataclass(frozen=True, kw_only=True)
class FinetuningResult:
    """What one run gives; `val` and `test` are the metric that selects, `metrics` all that task.evaluate says."""

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


class Finetuning:
    """One run of one arm.

    Args:
        store: An open store, made of the task's database.
        task: An entity task: binary classification or regression.
        encoder: Backbone: fresh for "scratch", pretrained for the others. Changed in place.
        arm, regime, config: What to do.
        communicator: The workers of the run.

    Raises:
        ValueError: The store holds columns that the task must not see.
    """

    def __init__(
        self, store: Store, task: EntityTask, encoder: RelationalEncoder, arm: Arm, regime: Regime, config: FinetuningConfig,
        *, communicator: Communicator | None = None, device: torch.device | None = None,
    ) -> None:  # fmt: skip
        _refuse_visible_labels(store, task)
        self.store, self.task, self.arm, self.regime, self.config = store, task, arm, regime, config
        self.communicator = communicator or SingleProcess()
        self.device = device or torch.device("cpu")
        self._splits: dict[str, Split] = {}
        self.metric = metric_name(task)
        self.is_binary = task.task_type == TaskType.BINARY_CLASSIFICATION
        target = self.split("train").target
        # A head's first output is near 0, so 0 stands for the best constant: the median for L1, the mean for MSE.
        centre = np.median if config.regression_loss == "l1" else np.mean
        self.target_centre, self.target_std = (
            (0.0, 1.0) if self.is_binary else (float(centre(target)), float(target.std()) or 1.0)
        )
        self.target_range = (float(target.min()), float(target.max()))
        share = min(config.batch_size, len(target)) // self.communicator.world_size
        if share < 2:
            raise ValueError(
                f"{len(target)} train rows in batches of {config.batch_size} leave {share} rows to each of "
                f"{self.communicator.world_size} workers; batch norm needs 2. Remedy: fewer --workers"
            )
        self.sampling = TemporalSampling(store.graph, config.sampling, seed=config.seed)
        self.model = TaskModel(encoder, config.head_channels).to(self.device)
        if arm == "frozen":
            encoder.requires_grad_(False)
        self._vectors: dict[str, Tensor] = {}

    def run(
        self,
        *,
        wrap: Callable[[torch.nn.Module], torch.nn.Module] = lambda model: model,
        on_step: Callable[[int, float], None] = lambda step, loss: None,
        on_validation: Callable[[int, float], None] = lambda step, metric: None,
    ) -> FinetuningResult:
        """Trains, picks the weights that are best on validation, evaluates them on test.

        Args:
            wrap: Makes the model data parallel.
            on_step, on_validation: Called with (step, loss) and (step, metric).
        """
        begun = time.perf_counter()
        torch.manual_seed(self.config.seed)  # dropout draws from the global generator
        config, model = self.config, wrap(self.model)
        optimizer = make_optimizer(model, config.learning_rate)
        average = None
        if config.ema_decay is not None:
            average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        best, best_step, best_weights, since_best, step = -np.inf, 0, None, 0, 0
        while step < config.max_steps:
            loss = self._step(model, optimizer, step)
            step += 1
            if average is not None:
                average.update_parameters(self.model)
            on_step(step, loss)
            if step % config.validation_interval_steps and step < config.max_steps:
                continue
            chosen: TaskModel = self.model if average is None else average.module  # type: ignore[assignment]
            value = self.evaluate(chosen, "val")[self.metric]
            on_validation(step, value)
            score = value if self.is_binary else -value
            since_best = 0 if score > best else since_best + 1
            if score > best:
                best, best_step, best_weights = score, step, copy.deepcopy(chosen.state_dict())
            if since_best >= config.patience or self._out_of_time(begun):
                break
        if best_weights is None:
            raise FloatingPointError(
                f"no finite validation metric in {step} steps of {self.task.name}; lower the learning rate"
            )
        self.model.load_state_dict(best_weights)
        metrics = {split: self.evaluate(self.model, split) for split in ("val", "test")}
        return FinetuningResult(
            task=self.task.name, arm=self.arm, regime=self.regime, seed=config.seed, metric=self.metric,
            val=metrics["val"][self.metric], test=metrics["test"][self.metric], metrics=metrics, steps=step,
            best_step=best_step, seconds=time.perf_counter() - begun,
        )  # fmt: skip

    def split(self, name: str) -> Split:
        """Seeds and labels of a split, read when they are first asked for: those of test after training."""
        if name not in self._splits:
            self._splits[name] = read_split(self.task, name, self.regime, self.store.test_timestamp_s)
        return self._splits[name]

    def predict(self, model: TaskModel, split: str) -> NDArray[np.float64]:
        """Probabilities or targets of a split: float64 [seeds]."""
        mine = np.arange(len(self.split(split)))[self.communicator.rank :: self.communicator.world_size]
        model.eval()
        parts = [torch.zeros(0, device=self.device)]
        with torch.no_grad():
            for rows in _chunks(mine, self.config.batch_size):
                parts.append(model(self._inputs(split, rows)))
        model.train()
        shares = self.communicator.gather(torch.cat(parts))
        out = torch.empty(len(self.split(split)), dtype=torch.float64)
        for rank, share in enumerate(shares):
            out[rank :: self.communicator.world_size] = share.double().cpu()
        if self.is_binary:
            return out.sigmoid().numpy()
        return (out * self.target_std + self.target_centre).clamp(*self.target_range).numpy()

    def evaluate(self, model: TaskModel, split: str) -> dict[str, float]:
        """What task.evaluate says of the predictions for a split, with "mae" besides for regression."""
        table, prediction = self.task.get_table(split, mask_input_cols=False), self.predict(model, split)
        if not np.isfinite(prediction).all():
            raise FloatingPointError(
                f"predictions for {self.task.name} ({split}) are not finite; lower the learning rate"
            )
        if np.isnan(self.split(split).target).any():  # hidden labels: there is nothing to score against
            return {self.metric: float("nan")}
        metrics = list(self.task.metrics) + ([] if self.is_binary else [_mae])
        named = self.task.evaluate(prediction, table, metrics=metrics)
        return {name.lstrip("_"): float(value) for name, value in named.items()}

    def _step(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> float:
        rows, epoch = self._batch_rows(step)
        mine = rows[self.communicator.rank :: self.communicator.world_size]
        model.train()
        if self.arm == "frozen":
            self.model.encoder.eval()
        inputs = self._inputs("train", mine, epoch=epoch)
        target = torch.from_numpy(self.split("train").target[mine]).float().to(self.device)
        optimizer.zero_grad(set_to_none=True)
        losses = self._losses(model(inputs), (target - self.target_centre) / self.target_std)
        (losses.sum() / len(rows) * self.communicator.world_size).backward()
        if self.config.gradient_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.gradient_clip_norm)
        optimizer.step()
        if self.communicator.world_size > 1:
            # Each worker's batch norm saw its own share; with their mean, all evaluate the very model that is saved.
            for buffer in self.model.head.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.communicator.sum(buffer) / self.communicator.world_size)
        return float(self.communicator.sum(losses.detach().sum().double())) / len(rows)

    def _losses(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self.is_binary:
            return torch.nn.functional.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        return (prediction - target).abs() if self.config.regression_loss == "l1" else (prediction - target).square()

    def _batch_rows(self, step: int) -> tuple[NDArray[np.int64], int]:
        """(train rows of a step, epoch): a shuffled pass per epoch; a last partial batch is left for the next shuffle."""
        num_rows = len(self.split("train"))
        size = min(self.config.batch_size, num_rows)
        epoch, batch = divmod(step, num_rows // size)
        order = numpy_generator(self.config.seed, PURPOSE_FINETUNING_ORDER, epoch).permutation(num_rows)
        return order[batch * size : (batch + 1) * size], epoch

    def _inputs(self, split: str, rows: NDArray[np.int64], *, epoch: int | None = None) -> TaskBatch | Tensor:
        if self.arm == "frozen":
            if split not in self._vectors:
                self._vectors[split] = self._embed_split(split)
            return self._vectors[split][torch.from_numpy(rows).to(self.device)]
        return self._trees(split, rows, EVALUATION_EPOCH + SPLITS.index(split) if epoch is None else epoch)

    def _embed_split(self, split: str) -> Tensor:
        self.model.encoder.eval()
        rows, epoch = np.arange(len(self.split(split))), EVALUATION_EPOCH + SPLITS.index(split)
        with torch.no_grad():
            parts = [self.model.embed(self._trees(split, r, epoch)) for r in _chunks(rows, self.config.batch_size)]
        return torch.cat(parts)

    def _trees(self, split: str, rows: NDArray[np.int64], epoch: int) -> TaskBatch:
        seeds = self.split(split)
        trees = self.sampling.sample(
            self.task.entity_table, seeds.entities[rows], seeds.before_s[rows], epoch=epoch, numbers=rows
        )
        return collate_trees(trees, seeds.time_s[rows], self.store.graph, self.store.features).to(self.device)

    def _out_of_time(self, begun: float) -> bool:
        if self.config.max_hours is None:
            return False
        # Every worker must stop at the same step, so the mean of their clocks decides.
        seconds = float(self.communicator.sum(torch.tensor(time.perf_counter() - begun, dtype=torch.float64)))
        return seconds / self.communicator.world_size >= self.config.max_hours * 3600


def _mae(true: NDArray, pred: NDArray) -> float:
    return float(mean_absolute_error(true, pred))


def _chunks(rows: NDArray[np.int64], size: int) -> Sequence[NDArray[np.int64]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _refuse_visible_labels(store: Store, task: EntityTask) -> None:
    visible = [
        f"{table}.{column}"
        for table, column in getattr(task, "remove_columns", None) or []
        if table in store.schema.tables and any(c.name == column for c in store.schema.tables[table].columns)
    ]
    if visible:
        flags = " ".join(f"--exclude-columns {v}" for v in visible)
        raise ValueError(
            f"task {task.name!r} must not see {', '.join(visible)}, which its label is made of, but the store holds them.\n"
            f"Remedy: materialize and pretrain with {flags}"
        )
