"""Everything in a run's folder: configuration, journal, checkpoints, status, tracking.

What loads torch or W&B is loaded when it is first asked for: presets are read and a status is told without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distributed.runs.event_log import EventLog
from distributed.runs.folder import Run, held, open_run
from distributed.runs.journal import Journal
from distributed.runs.status import run_status

if TYPE_CHECKING:
    from distributed.runs.checkpoint import CheckpointPolicy, load_training, save_training
    from distributed.runs.tracking import TrackingConfig

LATER = {
    "CheckpointPolicy": "checkpoint",
    "load_training": "checkpoint",
    "save_training": "checkpoint",
    "TrackingConfig": "tracking",
}
"""Names by the module of this package that they are in."""

__all__ = [
    "CheckpointPolicy",
    "EventLog",
    "Journal",
    "Run",
    "TrackingConfig",
    "held",
    "load_training",
    "open_run",
    "run_status",
    "save_training",
]


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(import_module(f"{__name__}.{LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
