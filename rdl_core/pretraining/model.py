"""The model of pretraining: the backbone with the loss of its levels, both views of a batch in one pass, trees of questions in further ones.

Promise: what learns gets a gradient in every step, whatever tables its batch lacks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rdl_core.batches.pretraining_batch import PretrainingBatch
from rdl_core.config import PretrainingConfig
from rdl_core.contrast import LEVELS, ThreeLevelLoss
from rdl_core.future import FutureBatch, FutureLevel, FutureSource
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.model.fitting import new_encoder
from rdl_core.pretraining.balance import Balance
from rdl_core.pretraining.state import TrainState


class PretrainingModel(torch.nn.Module):
    """The backbone with the loss of its levels.

    A level that is off has no parameters and costs nothing in a pass; without any level of contrast there is no second view.

    Args:
        store: Its schema and keys shape the model.
        config: Sizes, levels, loss and precision.

    Raises:
        ValueError: The future level is on and has nothing to ask of this database.
    """

    def __init__(self, store: Store, config: PretrainingConfig) -> None:
        super().__init__()
        self.is_bfloat16 = config.precision == "bfloat16"
        edge_types = store.graph.edge_types
        self.encoder = new_encoder(store, config.backbone)
        if config.compile:
            for layer in self.encoder.layers:
                layer.compile(dynamic=True)
        # Unused without relative time. What learns gets a gradient in every step, so DDP need not look for what does not.
        self.encoder.time_maps.requires_grad_(config.corruption.relative_time or "future" in config.levels)
        for questions_read in (self.encoder.statistics, self.encoder.columns):
            questions_read.requires_grad_("future" in config.levels)
        channels, contrast = config.backbone.channels, [level for level in LEVELS if level in config.levels]
        self.has_contrast = bool(contrast)
        self.loss = ThreeLevelLoss(list(store.schema.tables), list(edge_types), channels, config.loss, contrast)
        self.future: FutureLevel | None = None
        if "future" in config.levels:
            self.future = FutureLevel(FutureSource(store, config.future, config.backbone), channels)
        self.levels = (*contrast, *(["future"] if self.future is not None else []))
        self.balance = Balance(self.levels) if config.balance == "gradient_norm" else None

    @property
    def future_targets(self) -> dict[str, Any] | None:
        """The targets of the future level, as `future_targets` says of its source; None where the level is off."""
        return None if self.future is None else future_targets(self.future.source)

    def forward(
        self, batch: PretrainingBatch | None, questions: Sequence[FutureBatch] = ()
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Returns ({level: summed loss}, {level: count of inputs}, {table: [rows, channels]}) of this worker's samples.

        The rows are the clean view's; without any level of contrast those of the questions.

        Args:
            batch: For the levels of contrast; None where all are off.
            questions: For the future level; none where it is off.
        """
        totals: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        if self.has_contrast:
            assert batch is not None
            totals, counts, rows = self._contrast(batch)
        if self.future is not None:
            vectors = self._vectors(questions)
            totals["future"], counts["future"] = self.future(vectors, questions)
            rows = rows if self.has_contrast else _by_table(vectors, questions)
        if self.levels != LEVELS:
            totals[self.levels[0]] = totals[self.levels[0]] + self._nothing()
        return totals, counts, rows

    def _contrast(self, batch: PretrainingBatch) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Returns what `forward` does, of the levels of contrast."""
        if batch.layout is None:
            raise ValueError("this batch has no layout for the losses: make it with collate(..., loss=config.loss)")
        device = next(self.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.is_bfloat16):
            h_dict = self.encoder(batch.frames, batch.edges, batch.age_days, batch.dropout_keys)
        clean = {t: h[: len(h) // 2] for t, h in h_dict.items()}
        corrupted = {t: h[len(h) // 2 :] for t, h in h_dict.items()}
        sums = self.loss(clean, corrupted, batch.layout)
        return {level: s.total for level, s in sums.items()}, {level: s.count for level, s in sums.items()}, clean

    def _vectors(self, questions: Sequence[FutureBatch]) -> list[Tensor]:
        """Returns the vectors of the questions' rows: [questions, channels] per sample."""
        device = next(self.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.is_bfloat16):
            return [self.encoder.embed(q.trees, q.dropout_keys) for q in questions]

    def _nothing(self) -> Tensor:
        """Returns 0 with a graph to all that learns: trees of one table do not reach every parameter, and DDP waits for each."""
        return torch.cat([p.flatten()[:0] for p in self.parameters() if p.requires_grad]).sum()


def _by_table(vectors: Sequence[Tensor], questions: Sequence[FutureBatch]) -> dict[str, Tensor]:
    """Returns {table: [questions, channels]} of the vectors of samples."""
    found: dict[str, list[Tensor]] = {}
    for h, of_sample in zip(vectors, questions, strict=True):
        found.setdefault(of_sample.table, []).append(h)
    return {table: torch.cat(parts) for table, parts in found.items()}


def unwrapped(model: torch.nn.Module) -> PretrainingModel:
    """Returns the PretrainingModel itself, of it or of DDP around it."""
    inner = getattr(model, "module", model)
    assert isinstance(inner, PretrainingModel)
    return inner


def future_targets(source: FutureSource) -> dict[str, Any]:
    """Returns which targets the future level's decoders answer: {"config", "targets": {table: their numbers, in the order of the decoder's rows}}."""
    targets = {table: weighing.asked.tolist() for table, weighing in source.weighing.items()}
    return {"config": json.loads(json.dumps(dataclasses.asdict(source.config))), "targets": targets}


def pretrained_checkpoint(
    weights: Mapping[str, Tensor],
    store: Store,
    config: PretrainingConfig,
    state: TrainState,
    *,
    future: dict[str, Any] | None,
    init_from: str | None = None,
) -> Checkpoint:
    """Returns a checkpoint of a PretrainingModel's weights, with where they come from.

    Args:
        future: As `future_targets` says of the run's source; None where the level is off, or nothing will go on from the checkpoint.
        init_from: Digest of the weights that the run began with; None: with fresh ones.
    """
    about = {"store": store.content_hash, "seed": config.seed, "step": state.best_step}
    about |= {"validation": state.best, "first_validation": state.first}
    about |= {} if init_from is None else {"init_from": init_from}
    about |= {} if future is None else {"future": future}
    return Checkpoint(
        weights=dict(weights),
        backbone=config.backbone,
        schema=store.schema,
        edge_types=store.graph.edge_types,
        kind="pretrained",
        about=about,
    )
