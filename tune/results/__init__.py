"""Results: what a sweep keeps (the ledger) and shows (W&B runs, report.md, trials.csv, pictures, the best preset).

Everything but W&B follows from sweep.json and the ledger.
"""

from tune.results.ledger import Ledger, TrialRecord
from tune.results.sweep_report import write_report
from tune.results.sweep_result import SweepResult, read_sweep
from tune.results.trial_recorder import TrialRecorder
from tune.results.wandb_runs import TrialRuns, log_sweep

__all__ = [
    "Ledger",
    "SweepResult",
    "TrialRecord",
    "TrialRecorder",
    "TrialRuns",
    "log_sweep",
    "read_sweep",
    "write_report",
]
