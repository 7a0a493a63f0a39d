"""All that decides a fine-tuning run's result, besides the backbone that it starts from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rdl_core.config.decoding import checked
from rdl_core.config.sampling import TemporalSamplingConfig

Arm = Literal["scratch", "frozen", "finetuned"]
Regime = Literal["rolling", "snapshot"]


@checked
class FinetuningConfig:
    """All that decides a fine-tuning run's result, besides the backbone that it starts from."""

    sampling: TemporalSamplingConfig = TemporalSamplingConfig()
    """Neighbours per hop, of the past only."""
    batch_size: Annotated[int, Field(ge=2)] = 512
    """Seeds per step over all workers (at least 2: the head has batch norm)."""
    learning_rate: PositiveFloat = 5e-3
    """Learning rate of Adam, for head and backbone."""
    regression_loss: Literal["l1", "mse"] = "l1"
    """'l1' (the metric's own) or 'mse' (paper)."""
    max_steps: PositiveInt = 2000
    """Most updates."""
    max_hours: PositiveFloat | None = 2.0
    """Most hours. None: no limit."""
    validation_interval_steps: PositiveInt = 100
    """Steps between validations."""
    patience: PositiveInt = 5
    """Validations without a new best of the task's metric before the run ends."""
    head_channels: PositiveInt = 128
    """Hidden channels of the head."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Exponential moving average of the weights, which is what is evaluated and kept. None: the weights themselves."""
    gradient_clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient. None: no clipping."""
    seed: int = 0
    """Random seed."""


def check_arm(arm: Arm, checkpoint: object) -> None:
    """Raises ValueError if an arm has a checkpoint that it must not have, or lacks one."""
    if arm == "scratch" and checkpoint is not None:
        raise ValueError("arm 'scratch' starts fresh and takes no --checkpoint")
    if arm != "scratch" and checkpoint is None:
        raise ValueError(f"arm {arm!r} needs --checkpoint: the folder that `rdl pretrain` printed as its 'checkpoint'")
