"""Complete configurations of a run, and the two presets. A preset is a function that returns one frozen config.

`paper` reproduces the publication: its equations plus what its text leaves open as the authors' code does it, without its weak points.
`robust` follows the equations and is the default: logits that start near zero (1.00 at every level), target links hidden from message
passing, relative time in pretraining, the latest neighbours first, gradient clipping, L1 loss for regression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from rdl_core.batches.pretraining_batch import CorruptionConfig
from rdl_core.contrast.levels import LossConfig
from rdl_core.model.backbone import BackboneConfig
from rdl_core.model.row_encoder import RowEncoderConfig
from rdl_core.sampling.hg_sampling import HGSamplingConfig
from rdl_core.sampling.temporal_sampling import TemporalSamplingConfig

PresetName = Literal["robust", "paper"]
Arm = Literal["scratch", "frozen", "finetuned"]
Regime = Literal["rolling", "snapshot"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """All that decides a pretraining run's result.

    Args:
        sampling: What a sample is.
        backbone: The model.
        loss: The three levels.
        corruption: The second view and the hidden links.
        samples_per_step: G, samples of a step over all workers.
        learning_rate: Adam's.
        gradient_clip_norm: None: no clipping.
        precision: "bfloat16": the encoder's products have operands rounded to it (autocast); weights, Adam, norms and losses stay float32.
        max_steps: Updates.
        max_hours: None: no limit.
        validation_interval_steps, validation_samples: How often, on how many samples.
        validation_fresh: New samples at each validation (paper), or always the same.
        validation_corruption: Probability of a cell to be replaced in validation; None: as in training. Runs that differ in `corruption` can
            be compared only where this is the same.
        validation_seed: Of the samples and draws of validation; None: the run's. Runs that differ in `seed` are validated alike only where
            this is the same.
        patience: Validations without a new best before the run ends; None: no limit.
        stop_below: Ends when the mean validation loss of the levels is below (authors' script: 0.05).
        seed: Of everything random.
    """

    sampling: HGSamplingConfig = field(default_factory=HGSamplingConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    loss: LossConfig
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    samples_per_step: int = 1
    learning_rate: float = 1e-3
    gradient_clip_norm: float | None = None
    precision: Precision = "float32"
    max_steps: int = 2000
    max_hours: float | None = 4.0
    validation_interval_steps: int = 50
    validation_samples: int = 50
    validation_fresh: bool = False
    validation_corruption: float | None = None
    validation_seed: int | None = None
    patience: int | None = 10
    stop_below: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples_per_step", "max_steps", "validation_interval_steps", "validation_samples", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"PretrainingConfig.{name} must be at least 1, got {value}")
        _require_positive(self, "learning_rate", "gradient_clip_norm", "max_hours")
        if self.precision not in get_args(Precision):
            raise ValueError(f"PretrainingConfig.precision must be 'float32' or 'bfloat16', got {self.precision!r}")
        if self.validation_corruption is not None and not 0.0 <= self.validation_corruption <= 1.0:
            raise ValueError(
                f"PretrainingConfig.validation_corruption must be in [0, 1], got {self.validation_corruption}"
            )

    @property
    def seed_of_validation(self) -> int:
        """Of the samples and draws of validation."""
        return self.seed if self.validation_seed is None else self.validation_seed


@dataclass(frozen=True, kw_only=True)
class FinetuningConfig:
    """All that decides a fine-tuning run's result, besides the backbone that it starts from.

    Args:
        sampling: Neighbours per hop, of the past only.
        batch_size: Seeds of a step over all workers.
        learning_rate: Adam's, for head and backbone.
        regression_loss: "l1" (the metric's own) or "mse" (paper).
        max_steps, max_hours: Updates; time.
        validation_interval_steps, patience: Early stopping on the task's validation metric.
        head_channels: Hidden layer of the head.
        ema_decay: Exponential moving average of the weights, which is what is evaluated and kept; None: the weights themselves.
        gradient_clip_norm: None: no clipping.
        seed: Of everything random.
    """

    sampling: TemporalSamplingConfig = field(default_factory=TemporalSamplingConfig)
    batch_size: int = 512
    learning_rate: float = 5e-3
    regression_loss: Literal["l1", "mse"] = "l1"
    max_steps: int = 2000
    max_hours: float | None = 2.0
    validation_interval_steps: int = 100
    patience: int = 5
    head_channels: int = 128
    ema_decay: float | None = None
    gradient_clip_norm: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_steps", "validation_interval_steps", "patience", "head_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"FinetuningConfig.{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size < 2:
            raise ValueError(
                f"FinetuningConfig.batch_size must be at least 2 (the head has batch norm), got {self.batch_size}"
            )
        _require_positive(self, "learning_rate", "gradient_clip_norm", "max_hours")
        if self.regression_loss not in ("l1", "mse"):
            raise ValueError(f"FinetuningConfig.regression_loss must be 'l1' or 'mse', got {self.regression_loss!r}")
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise ValueError(f"FinetuningConfig.ema_decay must be in (0, 1), got {self.ema_decay}")


def _require_positive(config: PretrainingConfig | FinetuningConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{type(config).__name__}.{name} must be positive, got {value}")


@dataclass(frozen=True, kw_only=True)
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
                aggregation="sum", age_scale="days", rows=RowEncoderConfig(model="resnet", num_layers=4, dropout=0.2)
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


def robust() -> Preset:
    """What we recommend."""
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
            backbone=BackboneConfig(aggregation="mean", rows=RowEncoderConfig(model="linear", dropout=0.0)),
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


PRESETS: dict[str, Callable[[], Preset]] = {"robust": robust, "paper": paper}
