"""The updates of one training of a task's model: loss, optimizer and the average of the weights.

Promises: the gradient of a step is that of the weighted mean of the losses of all workers' rows; after each step every worker holds the same weights
and the same statistics of batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.communicator import Communicator
from rdl_core.config import Arm, FinetuningConfig
from rdl_core.optimizer import make_optimizer
from rdl_core.tasks.model import TaskModel


class Updates:
    """A training that begins.

    Args:
        model: What is trained.
        wrapped: The same, data parallel or as it is.
        arm, config: Settings of the run.
        communicator: The workers of the run.
        is_binary: The loss is cross-entropy on logits, as it is of a model with several classes; else it is the configuration's, of standardised
            targets.
    """

    def __init__(
        self,
        model: TaskModel,
        wrapped: torch.nn.Module,
        arm: Arm,
        config: FinetuningConfig,
        communicator: Communicator,
        *,
        is_binary: bool,
    ) -> None:
        self.model, self.wrapped, self.arm, self.config = model, wrapped, arm, config
        self.communicator, self.is_binary = communicator, is_binary
        self.optimizer = make_optimizer(wrapped, config.learning_rate, config.weight_decay)
        decay = config.ema_decay
        self.average = None if decay is None else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def kept(self) -> TaskModel:
        """The model that is evaluated and kept: the average of the weights, or the trained model where none is taken."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    def set_training(self) -> None:
        """Puts the model into training mode; a frozen backbone stays in that of evaluation."""
        self.wrapped.train()
        if self.arm == "frozen":
            self.model.encoder.eval()

    def __call__(self, inputs: TreeBatch | Tensor, target: Tensor, weights: Tensor, *, total_weight: float) -> float:
        """Updates the model by a batch.

        Args:
            inputs: Trees of this worker's rows, or their vectors.
            target: float32 [rows], in the head's unit; the place of a class.
            weights: float32 [rows].
            total_weight: Sum of the weights of all workers' rows.

        Returns:
            The weighted mean of the losses of all workers' rows.
        """
        workers = self.communicator.world_size
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._losses(self.wrapped(inputs), target) * weights
        (losses.sum() / total_weight * workers).backward()
        if self.config.gradient_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.wrapped.parameters(), self.config.gradient_clip_norm)
        self.optimizer.step()
        if workers > 1:
            # Each worker's batch norm saw its own share; with their mean, all evaluate the very model that is saved.
            for buffer in self.model.head.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.communicator.sum(buffer) / workers)
        if self.average is not None:
            self.average.update_parameters(self.model)
        return float(self.communicator.sum(losses.detach().sum().double())) / total_weight

    def _losses(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self.model.num_classes:
            return torch.nn.functional.cross_entropy(prediction, target.long(), reduction="none")
        if self.is_binary:
            return torch.nn.functional.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        return (prediction - target).abs() if self.config.regression_loss == "l1" else (prediction - target).square()
