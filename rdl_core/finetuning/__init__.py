"""The parts of a training on labels, whatever the task: the order of its batches, its best weights, and the state from which it goes on.

Owns the promise that a training that was killed ends with the same weights, bit for bit.
"""

from rdl_core.finetuning.batch_order import BatchOrder
from rdl_core.finetuning.best_weights import BestWeights
from rdl_core.finetuning.callbacks import Callbacks
from rdl_core.finetuning.state import TrainingState
from rdl_core.finetuning.state_file import StateFile

__all__ = ["BatchOrder", "BestWeights", "Callbacks", "StateFile", "TrainingState"]
