from rdl_core.api import finetune, load_model, materialize, pretrain
from rdl_core.config import register_gnn, register_row_encoder
from rdl_core.database import load_task, open_dataset
from rdl_core.explanation import Explainer
from rdl_core.prediction import Predictor

__all__ = [
    "Explainer",
    "Predictor",
    "finetune",
    "load_model",
    "load_task",
    "materialize",
    "open_dataset",
    "pretrain",
    "register_gnn",
    "register_row_encoder",
]

__version__: str
