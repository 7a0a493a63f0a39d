"""The model of pretraining: the backbone with the loss of three levels, both views of a batch in one pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rdl_core.batches.pretraining_batch import PretrainingBatch
from rdl_core.config import PretrainingConfig
from rdl_core.contrast import ThreeLevelLoss
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.pretraining.state import TrainState


class PretrainingModel(torch.nn.Module):
    """The backbone with the loss of three levels.

    Args:
        store: Its schema and keys shape the model.
        config: Sizes, loss and precision.
    """

    def __init__(self, store: Store, config: PretrainingConfig) -> None:
        super().__init__()
        self.is_bfloat16 = config.precision == "bfloat16"
        edge_types = store.graph.edge_types
        self.encoder = RelationalEncoder(store.schema, edge_types, config.backbone)
        if config.compile:
            for layer in self.encoder.layers:
                layer.compile(dynamic=True)
        # Unused without relative time. What learns gets a gradient in every step, so DDP need not look for what does not.
        self.encoder.time_maps.requires_grad_(config.corruption.relative_time)
        self.loss = ThreeLevelLoss(list(store.schema.tables), list(edge_types), config.backbone.channels, config.loss)

    def forward(self, batch: PretrainingBatch) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Returns ({level: summed loss}, {level: count of inputs}, {table: [rows, channels], the clean view}) of this worker's samples."""
        if batch.layout is None:
            raise ValueError("this batch has no layout for the losses: make it with collate(..., loss=config.loss)")
        device = next(self.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.is_bfloat16):
            h_dict = self.encoder(batch.frames, batch.edges, batch.age_days, batch.dropout_keys)
        clean = {t: h[: len(h) // 2] for t, h in h_dict.items()}
        corrupted = {t: h[len(h) // 2 :] for t, h in h_dict.items()}
        sums = self.loss(clean, corrupted, batch.layout)
        return {level: s.total for level, s in sums.items()}, {level: s.count for level, s in sums.items()}, clean


def pretrained_checkpoint(
    weights: Mapping[str, Tensor], store: Store, config: PretrainingConfig, state: TrainState
) -> Checkpoint:
    """Returns a checkpoint of a PretrainingModel's weights, with where they come from."""
    about = {"store": store.content_hash, "seed": config.seed, "step": state.best_step}
    about |= {"validation": state.best, "first_validation": state.first}
    return Checkpoint(
        weights=dict(weights),
        backbone=config.backbone,
        schema=store.schema,
        edge_types=store.graph.edge_types,
        kind="pretrained",
        about=about,
    )
