"""All that decides a fine-tuning run's result, besides the backbone that it starts from; of link tasks, LinkConfig besides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

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
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay (AdamW) of all that learns. 0: Adam."""
    regression_loss: Literal["l1", "mse"] = "l1"
    """'l1' (the metric's own) or 'mse' (paper)."""
    max_steps: PositiveInt = 2000
    """Most updates."""
    max_hours: PositiveFloat | None = 2.0
    """Most hours of training, over all restarts and without refit and folds; --time-budget on the command line. None: no limit."""
    validation_interval_steps: PositiveInt = 100
    """Steps between validations."""
    patience: PositiveInt = 5
    """Validations without a new best of the task's metric before the run ends."""
    head_channels: NonNegativeInt = 128
    """Hidden channels of the head. 0: one linear map, which starts at zero."""
    head_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability that an input of the head's last map is dropped in training."""
    unfreeze: Literal["at_once", "after_head", "best"] = "at_once"
    """The moment at which a pretrained backbone begins to learn in the arm "finetuned". 'at_once': from the first step. 'after_head': first the head
    alone learns, on the backbone as it is, until validation does not improve any more, and all learns from there (Kumar et al. 2022, "linear
    probing, then fine-tuning"); the best of both phases is kept. 'best': both ways, and what is better on validation is kept. `max_steps` holds for
    each phase."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Exponential moving average of the weights, which is what is evaluated and kept. None: the weights themselves."""
    gradient_clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient. None: no clipping."""
    label_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the train labels that is learned from, drawn from the seed; validation and test stay whole."""
    label_stride: Annotated[float, Field(ge=0.01, lt=1.0)] | None = None
    """Label replay: the task's SQL makes further train labels at seed times this share of the task's timedelta apart, at least 0.01, or there would
    be too many to ask for. None: only the task's own."""
    refit: bool = False
    """Once all is chosen on validation, train again, from the same start and for as many epochs, on every label whose window has closed by the test
    timestamp, those of validation, too."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        if self.label_share < 1.0 and self.label_stride is not None:
            raise ValueError(
                f"FinetuningConfig.label_stride is {self.label_stride}; it should be None with label_share={self.label_share}: "
                "label replay makes the labels that a run with few labels does without"
            )


@checked
class LinkConfig:
    """All that decides a link task's run, besides FinetuningConfig."""

    negatives: PositiveInt = 256
    """Destinations that are drawn per seed time and step, on average, as negatives; where no more exist, all of them are taken."""
    popular_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Share of the negatives that is drawn by popularity (past links in the first window); the others are drawn uniformly."""
    positives: PositiveInt = 8
    """Most destinations of a question that are learned from in one step; of more, others are drawn in each epoch."""
    windows: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0, 2.0, 4.0, 8.0)
    """Windows in which past links are counted, in units of the task's timedelta, beside all of the past."""
    periods: PositiveInt = 8
    """Past periods of one timedelta each of which it is counted in how many there was a link."""
    pair_channels: NonNegativeInt = 16
    """Hidden channels of the term on pair statistics. 0: a linear term."""
    pair_learning_rate: PositiveFloat = 3e-3
    """Learning rate of the pair term; that of towers and backbone is FinetuningConfig's."""
    validation_questions: PositiveInt = 256
    """Questions that validation has at least: where the split has fewer (RelBench's have one seed time), those of the newest train times are
    validated with them and not learned from."""
    towers: bool = True
    """Whether the backbone's vectors of both ends have a part in the score; without them, the pair term alone."""

    def __post_init__(self) -> None:
        if list(self.windows) != sorted(set(self.windows)):
            raise ValueError(f"LinkConfig.windows is {self.windows}; expected ascending windows, each once")


def check_arm(arm: Arm, checkpoint: object) -> None:
    """Raises ValueError if an arm has a checkpoint that it must not have, or lacks one."""
    if arm == "scratch" and checkpoint is not None:
        raise ValueError("arm 'scratch' starts fresh and takes no --checkpoint")
    if arm != "scratch" and checkpoint is None:
        raise ValueError(f"arm {arm!r} needs --checkpoint: the folder that `rdl pretrain` printed as its 'checkpoint'")
