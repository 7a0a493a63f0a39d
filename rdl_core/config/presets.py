"""Complete configurations of a run, and the presets. A preset is a function that returns one frozen config.

`paper` reproduces the publication: its equations plus what its text leaves open as the authors' code does it, without its weak points.
`robust` is the default: contrast on the three levels and what follows a time, balanced by the norms of their gradients, on a network that reads exact
statistics of the past and columns along key paths; what won on validation (docs/log.md).
`contrast` follows the equations alone: logits that start near zero (1.00 at every level), target links hidden from message passing, relative time
in pretraining, the latest neighbours first, gradient clipping, L1 loss for regression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from rdl_core.config.corruption import CorruptionConfig
from rdl_core.config.decoding import checked
from rdl_core.config.finetuning import FinetuningConfig
from rdl_core.config.future import FutureConfig
from rdl_core.config.loss import LossConfig
from rdl_core.config.model import BackboneConfig, LinearRows, MeanAggregation, ResNetRows, SumAggregation
from rdl_core.config.pretraining import PretrainingConfig
from rdl_core.config.sampling import TemporalSamplingConfig
from rdl_core.config.statistics import ColumnsConfig, StatisticsConfig

PresetName = Literal["robust", "paper", "contrast"]


@checked
class Preset:
    """Both halves of a method."""

    pretraining: PretrainingConfig
    finetuning: FinetuningConfig


def paper() -> Preset:
    """The publication's method, with the authors' code where the text is silent."""
    loss = LossConfig(
        row_form="code",
        link_matrix="shared",
        skip_edge_type_without_negative=True,
        context_form="edge_types",
        context_bias=True,
        initial_scale=0.577,  # as torch.nn.Linear's uniform(-1, 1) / sqrt(channels), whose standard deviation this is
    )
    return Preset(
        pretraining=PretrainingConfig(
            loss=loss,
            backbone=BackboneConfig(
                aggregation=SumAggregation(), age_scale="days", rows=ResNetRows(num_layers=4, dropout=0.2)
            ),
            corruption=CorruptionConfig(probability=0.4, distribution="distinct"),
            validation_fresh=True,
            stop_below=0.05,
        ),
        finetuning=FinetuningConfig(
            sampling=TemporalSamplingConfig(num_neighbors=(128, 64), strategy="uniform"),
            regression_loss="mse",
        ),
    )


def contrast() -> Preset:
    """Contrast on three levels, as the equations have it."""
    loss = LossConfig(
        row_form="equation",
        link_matrix="per_direction",
        skip_edge_type_without_negative=False,
        context_form="neighbours",
        context_bias=False,
        initial_scale=0.01,
    )
    return Preset(
        pretraining=PretrainingConfig(
            loss=loss,
            backbone=BackboneConfig(aggregation=MeanAggregation(), rows=LinearRows()),
            corruption=CorruptionConfig(
                probability=0.4, distribution="frequency", target_link_share=0.25, relative_time=True
            ),
            gradient_clip_norm=1.0,
        ),
        finetuning=FinetuningConfig(
            sampling=TemporalSamplingConfig(num_neighbors=(24, 8), strategy="recent"),
            learning_rate=1e-3,
            ema_decay=0.95,
            gradient_clip_norm=1.0,
        ),
    )


def robust() -> Preset:
    """The method that we recommend: all four levels, read off exact statistics and columns along key paths."""
    base, alone = contrast(), TemporalSamplingConfig(num_neighbors=(), strategy="recent")
    return Preset(
        pretraining=replace(
            base.pretraining,
            levels=("row", "link", "context", "future"),
            balance="gradient_norm",
            future=FutureConfig(questions_per_sample=256, sampling=alone),
            backbone=BackboneConfig(
                channels=64,
                num_layers=0,
                aggregation=MeanAggregation(),
                rows=LinearRows(),
                statistics=StatisticsConfig(),
                columns=ColumnsConfig(),
                seed_cells=False,
            ),
            max_steps=400,
        ),
        finetuning=replace(
            base.finetuning,
            sampling=alone,
            batch_size=256,
            weight_decay=0.01,
            head_channels=0,
            head_dropout=0.2,
            unfreeze="best",
            max_steps=600,
            validation_interval_steps=10,
            patience=10,
            ema_decay=0.98,
        ),
    )


PRESETS: dict[str, Callable[[], Preset]] = {"robust": robust, "paper": paper, "contrast": contrast}
