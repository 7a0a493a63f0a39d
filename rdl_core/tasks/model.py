"""Backbone and head of an entity task."""

from __future__ import annotations

import torch
from torch import Tensor

from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.model.backbone import RelationalEncoder


class TaskModel(torch.nn.Module):
    """Backbone and head: an MLP with one hidden layer, batch norm, ReLU and dropout.

    Args:
        encoder: The backbone.
        head_channels: Hidden layer.
        head_dropout: Probability that a hidden channel is dropped in training.
    """

    def __init__(self, encoder: RelationalEncoder, head_channels: int, head_dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Sequential(
            torch.nn.Linear(encoder.config.channels, head_channels),
            torch.nn.BatchNorm1d(head_channels),
            torch.nn.ReLU(),
            torch.nn.Dropout(head_dropout),
            torch.nn.Linear(head_channels, 1),
        )

    def embed(self, batch: TreeBatch) -> Tensor:
        """Returns vectors of the seeds: [seeds, channels]."""
        return self.encoder.embed(batch)

    def forward(self, batch: TreeBatch | Tensor) -> Tensor:
        """Predictions in the head's unit (logit, or standardised target): [seeds]. Takes trees or vectors from `embed`."""
        h = batch if isinstance(batch, Tensor) else self.embed(batch)
        return self.head(h).squeeze(1)
