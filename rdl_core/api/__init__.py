"""The Python interface, in one process: a dataset to a store, a pretrained and a fine-tuned model, and models as PyTorch modules.

Owns what `from rdl_core import ...` gives; each function is a few lines around what the packages below do, and `rdl`'s commands do the same over
workers.
"""

from rdl_core.api.finetuning import Finetuned, finetune
from rdl_core.api.materialization import materialize
from rdl_core.api.model import FinetunedModel, PretrainedModel, load_model
from rdl_core.api.pretraining import pretrain
from rdl_core.api.progress import print_report, print_validation

__all__ = [
    "Finetuned",
    "FinetunedModel",
    "PretrainedModel",
    "finetune",
    "load_model",
    "materialize",
    "pretrain",
    "print_report",
    "print_validation",
]
