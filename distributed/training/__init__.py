"""Ray Train around the core's loops: pretraining and fine-tuning over workers, through failures, to the same result.

A run's failures are told apart (failures.py), its checkpoints committed by rank 0, its end by Ctrl-C journaled.
"""

from distributed.training.failures import RunFailedError, last_screen
from distributed.training.finetune import FinetuneJob, run_data_parallel, run_job, run_side_by_side
from distributed.training.trainer import PretrainResult, pretrain

__all__ = [
    "FinetuneJob",
    "PretrainResult",
    "RunFailedError",
    "last_screen",
    "pretrain",
    "run_data_parallel",
    "run_job",
    "run_side_by_side",
]
