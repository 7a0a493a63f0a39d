"""Entity tasks on a backbone: labels and their trees, a head, and training in three arms (scratch, frozen, finetuned).

Owns the promise that a seed's tree holds rows strictly before its time, and the objective by which backbones are compared without test labels.
"""

from rdl_core.tasks.downstream import Downstream, DownstreamConfig
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.finetuning_result import FinetuningResult
from rdl_core.tasks.model import TaskModel

__all__ = ["Downstream", "DownstreamConfig", "Finetuning", "FinetuningResult", "TaskModel"]
