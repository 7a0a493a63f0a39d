"""Ray Train around the core's loops: pretraining and fine-tuning over workers, through failures, to the same result.

allocator.py is for processes that do not train yet, so the names below are loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.training.failures import RunFailedError, last_screen
    from distributed.training.finetune import FinetuneJob, run_data_parallel, run_job, run_side_by_side
    from distributed.training.trainer import PretrainResult, pretrain

LATER = {
    "RunFailedError": "failures",
    "last_screen": "failures",
    "FinetuneJob": "finetune",
    "run_data_parallel": "finetune",
    "run_job": "finetune",
    "run_side_by_side": "finetune",
    "PretrainResult": "trainer",
    "pretrain": "trainer",
}
"""Names by the module of this package that they are in."""

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


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(import_module(f"{__name__}.{LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
