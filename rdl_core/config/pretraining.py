"""All that decides a pretraining run's result."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from rdl_core.config.corruption import CorruptionConfig, Probability
from rdl_core.config.decoding import checked
from rdl_core.config.loss import LossConfig
from rdl_core.config.model import BackboneConfig
from rdl_core.config.sampling import HGSamplingConfig

Precision = Literal["float32", "bfloat16"]


@checked
class PretrainingConfig:
    """All that decides a pretraining run's result."""

    sampling: HGSamplingConfig = HGSamplingConfig()
    """Form of a sample."""
    backbone: BackboneConfig = BackboneConfig()
    """The model."""
    loss: LossConfig
    """The three levels."""
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
    """Whether torch.compile compiles the layers of message passing: minutes at the start, and again for sizes it has not seen."""
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

    @property
    def seed_of_validation(self) -> int:
        """Random seed of the samples and draws of validation."""
        return self.seed if self.validation_seed is None else self.validation_seed
