"""Backbone and head of an entity task, fresh or as a checkpoint holds them."""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.config import FinetuningConfig, decode
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint


class TaskModel(torch.nn.Module):
    """Backbone and head: an MLP with one hidden layer, batch norm, ReLU and dropout, or one linear map behind dropout, which starts at zero.

    Args:
        encoder: The backbone.
        head_channels: Hidden channels of the head; 0 for the linear map.
        head_dropout: Probability that an input of the last map is dropped in training.
        num_classes: Outputs of a multi-class task's head; 0: one output, a logit or a number.
    """

    def __init__(
        self, encoder: RelationalEncoder, head_channels: int, head_dropout: float = 0.0, num_classes: int = 0
    ) -> None:
        super().__init__()
        self.encoder, self.num_classes = encoder, num_classes
        num_outputs = num_classes or 1
        self.head = (
            _mlp(encoder.config.channels, head_channels, head_dropout, num_outputs)
            if head_channels
            else _linear(encoder.config.channels, head_dropout, num_outputs)
        )

    def embed(self, batch: TreeBatch) -> Tensor:
        """Returns vectors of the seeds: [seeds, channels]."""
        return self.encoder.embed(batch)

    def forward(self, batch: TreeBatch | Tensor) -> Tensor:
        """Predictions in the head's unit (logit, or standardised target): [seeds], logits of several classes [seeds, classes].

        Takes trees or vectors from `embed`.
        """
        h = batch if isinstance(batch, Tensor) else self.embed(batch)
        outputs = self.head(h)
        return outputs if self.num_classes else outputs.squeeze(1)


def finetuning_of(checkpoint: Checkpoint) -> FinetuningConfig:
    """Returns the settings that a fine-tuned checkpoint was trained by.

    Raises:
        ValueError: They are not those of this version.
    """
    return decode(FinetuningConfig, checkpoint.about["finetuning"], "the settings of its fine-tuning")


def task_model_of(checkpoint: Checkpoint) -> TaskModel:
    """Returns backbone and head of a fine-tuned checkpoint, for evaluation."""
    config = finetuning_of(checkpoint)
    num_classes = len(checkpoint.about.get("target_scale", {}).get("classes", ()))
    model = TaskModel(checkpoint.encoder(), config.head_channels, config.head_dropout, num_classes)
    model.load_state_dict(checkpoint.weights)
    return model.eval()


def _mlp(channels: int, hidden_channels: int, dropout: float, num_outputs: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(channels, hidden_channels),
        torch.nn.BatchNorm1d(hidden_channels),
        torch.nn.ReLU(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(hidden_channels, num_outputs),
    )


def _linear(channels: int, dropout: float, num_outputs: int) -> torch.nn.Sequential:
    linear = torch.nn.Linear(channels, num_outputs)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    return torch.nn.Sequential(torch.nn.Dropout(dropout), linear)
