"""Everything in a run's folder: configuration, journal, checkpoints, status, tracking.

These names load neither torch nor Ray; checkpoint.py loads torch, and tracking.py W&B.
"""

from distributed.runs.commits import committed_checkpoint
from distributed.runs.event_log import EventLog
from distributed.runs.folder import Run, held, open_run
from distributed.runs.journal import Journal
from distributed.runs.status import run_status

__all__ = ["EventLog", "Journal", "Run", "committed_checkpoint", "held", "open_run", "run_status"]
