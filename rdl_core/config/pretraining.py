"""All that decides a pretraining run's result."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt

from rdl_core.config.corruption import CorruptionConfig, Probability
from rdl_core.config.decoding import checked
from rdl_core.config.future import FutureConfig
from rdl_core.config.loss import LossConfig
from rdl_core.config.model import BackboneConfig
from rdl_core.config.sampling import HGSamplingConfig

Precision = Literal["float32", "bfloat16"]
Level = Literal["row", "link", "context", "future"]
PRETRAINING_LEVELS: tuple[Level, ...] = get_args(Level)
"""All levels of the loss that there are, in the order in which they are shown."""


@checked
class PretrainingConfig:
    """All that decides a pretraining run's result."""

    sampling: HGSamplingConfig = HGSamplingConfig()
    """Form of a sample."""
    backbone: BackboneConfig = BackboneConfig()
    """The model."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = ("row", "link", "context")
    """Levels of the loss: 'row', 'link' and 'context' contrast rows, 'future' asks what follows a time. A level that is off costs nothing."""
    loss: LossConfig
    """The three levels that contrast rows."""
    future: FutureConfig = FutureConfig()
    """The future level."""
    balance: Literal["none", "gradient_norm"] = "none"
    """Weights of the levels: 'none', all 1 (paper), or 'gradient_norm', such that their gradients on the backbone are equally long."""
    balance_interval_steps: PositiveInt = 20
    """Steps between measurements of the gradients' lengths."""
    corruption: CorruptionConfig = CorruptionConfig()
    """The second view and the hidden links."""
    samples_per_step: PositiveInt = 1
    """G, samples per step over all workers."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate of Adam."""
    gradient_clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient. None: no clipping."""
    precision: Precision = "float32"
    """'bfloat16': the encoder's products have operands rounded to it (autocast); weights, Adam, norms and losses stay float32."""
    compile: bool = False
    """Compile the layers of message passing by torch.compile: minutes at the start, and again for sizes it has not seen."""
    max_steps: PositiveInt = 2000
    """Most updates."""
    max_hours: PositiveFloat | None = 4.0
    """Most hours. None: no limit."""
    validation_interval_steps: PositiveInt = 50
    """Steps between validations."""
    validation_samples: PositiveInt = 50
    """Samples per validation."""
    validation_fresh: bool = False
    """New samples at each validation (paper), or always the same."""
    validation_corruption: Probability | None = None
    """Probability that a cell is replaced in validation. None: as in training. Runs that differ in `corruption` can be compared only where this is
    the same."""
    validation_seed: int | None = None
    """Random seed of the samples and draws of validation. None: the run's. Runs that differ in `seed` are validated alike only where this is the
    same."""
    patience: PositiveInt | None = 10
    """Validations without a new best before the run ends. None: no limit."""
    stop_below: float | None = None
    """The run ends when the mean validation loss of the levels is below (authors' script: 0.05). None: no limit."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"PretrainingConfig.levels names a level twice: {', '.join(self.levels)}")

    @property
    def seed_of_validation(self) -> int:
        """Random seed of the samples and draws of validation."""
        return self.seed if self.validation_seed is None else self.validation_seed
