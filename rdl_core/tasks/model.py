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
    """

    def __init__(self, encoder: RelationalEncoder, head_channels: int, head_dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = (
            _mlp(encoder.config.channels, head_channels, head_dropout)
            if head_channels
            else _linear(encoder.config.channels, head_dropout)
        )

    def embed(self, batch: TreeBatch) -> Tensor:
        """Returns vectors of the seeds: [seeds, channels]."""
        return self.encoder.embed(batch)

    def forward(self, batch: TreeBatch | Tensor) -> Tensor:
        """Predictions in the head's unit (logit, or standardised target): [seeds]. Takes trees or vectors from `embed`."""
        h = batch if isinstance(batch, Tensor) else self.embed(batch)
        return self.head(h).squeeze(1)


def finetuning_of(checkpoint: Checkpoint) -> FinetuningConfig:
    """Returns the settings that a fine-tuned checkpoint was trained by.

    Raises:
        ValueError: They are not those of this version.
    """
    return decode(FinetuningConfig, checkpoint.about["finetuning"], "the settings of its fine-tuning")


def task_model_of(checkpoint: Checkpoint) -> TaskModel:
    """Returns backbone and head of a fine-tuned checkpoint, for evaluation."""
    config = finetuning_of(checkpoint)
    model = TaskModel(checkpoint.encoder(), config.head_channels, config.head_dropout)
    model.load_state_dict(checkpoint.weights)
    return model.eval()


def _mlp(channels: int, hidden_channels: int, dropout: float) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(channels, hidden_channels),
        torch.nn.BatchNorm1d(hidden_channels),
        torch.nn.ReLU(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(hidden_channels, 1),
    )


def _linear(channels: int, dropout: float) -> torch.nn.Sequential:
    linear = torch.nn.Linear(channels, 1)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    return torch.nn.Sequential(torch.nn.Dropout(dropout), linear)
