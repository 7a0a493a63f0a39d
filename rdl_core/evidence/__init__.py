"""The trust that a figure deserves: how many labels it rests on, and between what it lies.

Owns the promise that what is said of a figure is a function of labels and predictions alone, the same in every process. Knows neither databases nor
torch.
"""

from rdl_core.evidence.bootstrap import bootstrap_interval, bootstrap_values, measured
from rdl_core.evidence.label_count import LabelCount
from rdl_core.evidence.metric import is_higher_better
from rdl_core.evidence.simultaneous import simultaneous_intervals

__all__ = [
    "LabelCount",
    "bootstrap_interval",
    "bootstrap_values",
    "is_higher_better",
    "measured",
    "simultaneous_intervals",
]
