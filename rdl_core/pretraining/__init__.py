"""The training step, the loop around it, validation and the state of a run.

Owns what one worker does from samples to updated weights, alone or among others; knows neither Ray nor torch.distributed.
"""

from rdl_core.pretraining.continuation import require_continues, start_from
from rdl_core.pretraining.here import local_sampler, local_steps, pretrain_here
from rdl_core.pretraining.loop import Counts, Report, fit, train_step
from rdl_core.pretraining.model import PretrainingModel, future_targets, pretrained_checkpoint
from rdl_core.pretraining.state import TrainState, num_samples, with_samples
from rdl_core.pretraining.validation import VALIDATION_EPOCH, Validation

__all__ = [
    "VALIDATION_EPOCH",
    "Counts",
    "PretrainingModel",
    "Report",
    "TrainState",
    "Validation",
    "fit",
    "future_targets",
    "local_sampler",
    "local_steps",
    "num_samples",
    "pretrain_here",
    "pretrained_checkpoint",
    "require_continues",
    "start_from",
    "train_step",
    "with_samples",
]
